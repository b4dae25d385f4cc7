"""An interrupted run goes on where it stopped; foreign or damaged state is refused."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import toy_evidence as toy
from hypothesis import given, settings
from hypothesis import strategies as st

from deniability.errors import DeniabilityError, InputError, OutputError
from deniability.evidence.register import check_writable, register, state_folder
from deniability.evidence.restarts import RestartLog
from deniability.evidence.state import RunState, discard
from deniability.inversion.solution import Restart, Stop

IDENTITY = "a" * 64
SEGMENT = "search-restarts-000000"


class Counting(toy.Smooth):
    """Counts forward passes, row by row."""

    def __init__(self):
        super().__init__()
        self.rows = 0

    def forward(self, z):
        self.rows += len(z)
        return super().forward(z)


def same_controls(left, right):
    """Equal to within what another batch rounds otherwise."""
    assert left.kind == right.kind
    assert len(left.controls) == len(right.controls)
    for a, b in zip(left.controls, right.controls, strict=True):
        assert (a.index, a.seed, a.truth, a.best, a.restarts) == (
            b.index,
            b.seed,
            b.truth,
            b.best,
            b.restarts,
        )
        assert float(a.residual) == pytest.approx(float(b.residual), rel=1e-2, abs=2e-9)
    assert [m.seed for m in left.mismatches] == [m.seed for m in right.mismatches]


@pytest.mark.parametrize("events", [12, 30, 55])
def test_interrupted_controls_go_on_to_the_same_set(smooth, tmp_path, events):
    _, whole = smooth
    generator = toy.make_generator(Counting())
    with pytest.raises(KeyboardInterrupt):
        toy.register_toy(
            generator,
            tmp_path,
            progress=toy.Interruption("inverting controls", events),
            batch_limit=8,
        )
    first, generator.module.rows = generator.module.rows, 0
    assert not (tmp_path / "registration.json").exists()
    assert state_folder(tmp_path / "registration.json").is_dir()
    opened = toy.register_toy(generator, tmp_path, resume=True, batch_limit=8)
    (resumed,), (fresh,) = opened.sets.values(), whole.sets.values()
    same_controls(resumed.controls, fresh.controls)
    assert resumed.latents.shape == fresh.latents.shape
    assert not state_folder(tmp_path / "registration.json").exists()
    generator.module.rows, again = 0, generator.module.rows
    toy.register_toy(generator, tmp_path, batch_limit=8)
    assert again < generator.module.rows  # what was done is not done again
    assert first > 0


@pytest.mark.parametrize("phase", ["training the encoder", "inverting controls"])
def test_an_interrupted_registration_has_the_same_encoder(tmp_path, phase):
    def encoder(folder, **options):
        folder.mkdir(exist_ok=True)
        generator = toy.make_generator(toy.Smooth())
        opened = toy.register_toy(generator, folder, toy.ENCODED, **options)
        return opened.verified.registration.encoder

    with pytest.raises(KeyboardInterrupt):
        encoder(tmp_path / "cut", progress=toy.Interruption(phase, 11))
    resumed = toy.Notes()
    digest = encoder(tmp_path / "cut", resume=True, progress=resumed)
    assert digest == encoder(tmp_path / "whole")
    trained_again = any("encoder" in name for name in resumed.phases)
    assert trained_again == (phase == "training the encoder")


def test_an_interrupted_accusation_keeps_its_restarts(smooth, tmp_path):
    generator, opened = smooth
    image = toy.stranger(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        toy.prove_toy(
            image,
            opened,
            tmp_path,
            progress=toy.Interruption("accused picture", 12),
            batch_limit=1,
        )
    with _existing(state_folder(tmp_path / f"{image.name}.bundle.json")) as state:
        kept = RestartLog(state, "accused").known
    assert kept
    proof = toy.prove_toy(image, opened, tmp_path, resume=True, batch_limit=1)
    whole = toy.prove_toy(image, opened, tmp_path, batch_limit=1)
    assert toy.finding(proof) == toy.finding(whole)
    assert proof.verified.exclusion.restarts == whole.verified.exclusion.restarts
    for (_, index), restart in kept.items():
        assert torch.equal(proof.trace.restarts[index].latent, restart.latent)
    assert generator.dimension == len(proof.trace.best.latent)


def _existing(folder):
    return RunState(folder, (folder / "identity").read_text(), resume=True)


def test_the_state_of_another_computation_is_refused(tmp_path):
    generator = toy.make_generator(toy.Smooth())
    with pytest.raises(KeyboardInterrupt):
        toy.register_toy(generator, tmp_path, progress=toy.Interruption("inverting controls", 20))
    other = toy.make_generator(toy.Smooth(seed=1), name="other.pt")
    for changed, protocol in ((other, toy.TINY), (generator, toy.ENCODED)):
        with pytest.raises(InputError, match="about something else") as caught:
            toy.register_toy(changed, tmp_path, protocol, resume=True)
        assert "--resume" in caught.value.hint
    folder = state_folder(tmp_path / "registration.json")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InputError, match="about something else") as caught:  # nor deleted unasked
        toy.register_toy(other, tmp_path)
    assert caught.value.where == str(folder)
    assert "another -o" in caught.value.hint
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    discard(folder)
    toy.register_toy(other, tmp_path)


def test_a_fresh_run_of_the_same_says_what_it_discards(tmp_path):
    logged(tmp_path / "state")
    notes = []
    with RunState(tmp_path / "state", IDENTITY, resume=False, note=notes.append) as state:
        assert RestartLog(state, "search").known == {}
    (note,) = notes
    assert "without --resume it is discarded now" in note
    assert not (tmp_path / "state").exists()


def test_a_run_that_kept_nothing_stands_in_nobodys_way(tmp_path):
    for identity in (IDENTITY, "b" * 64):
        folder = tmp_path / "state"
        folder.mkdir(exist_ok=True)
        (folder / "identity").write_text(identity)  # killed before its first write
        (folder / "lock").touch()
        with RunState(folder, "c" * 64, resume=False) as state:
            state.save("search", {"a": torch.zeros(1)}, {})
        with RunState(folder, "c" * 64, resume=True) as state:
            assert state.tensors("search") is not None
            state.remove()
        assert not folder.exists()


# Two runs at once

needs_locks = pytest.mark.skipif(os.name != "posix", reason="no locks here")


@needs_locks
@pytest.mark.parametrize("resume", [False, True])
def test_a_state_belongs_to_one_run_at_a_time(tmp_path, resume):
    folder = tmp_path / "state"
    with RunState(folder, IDENTITY, resume=False) as state:
        state.save("search", {"a": torch.zeros(1)}, {})
        for identity in (IDENTITY, "b" * 64):
            with pytest.raises(InputError, match="another run is writing this output") as caught:
                RunState(folder, identity, resume=resume)
            assert caught.value.where == str(folder)
            with pytest.raises(InputError, match="another run"):
                discard(folder)
        assert state.tensors("search") is not None
    with RunState(folder, IDENTITY, resume=True) as state:
        assert state.tensors("search") is not None
        state.remove()
        assert not folder.exists()
        with RunState(folder, IDENTITY, resume=False):
            pass


@needs_locks
def test_another_process_is_refused_while_a_run_lasts(tmp_path):
    folder = tmp_path / "state"
    code = (
        "import sys\nfrom pathlib import Path\nfrom deniability.evidence.state import RunState\n"
        "RunState(Path(sys.argv[1]), sys.argv[2], resume=False)"
    )
    command = [sys.executable, "-c", code, str(folder), IDENTITY]
    with RunState(folder, IDENTITY, resume=False):
        ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert "another run is writing this output" in ran.stderr
    assert subprocess.run(command, check=False).returncode == 0


@needs_locks
def test_a_second_registration_of_the_same_output_is_refused(tmp_path):
    generator = toy.make_generator(toy.Smooth())
    folder = state_folder(tmp_path / "registration.json")
    with (
        RunState(folder, IDENTITY, resume=False),
        pytest.raises(InputError, match="another run is writing this output"),
    ):
        toy.register_toy(generator, tmp_path)
    with pytest.raises(KeyboardInterrupt) as kept:  # its frames live on; its lock does not
        toy.register_toy(generator, tmp_path, progress=toy.Interruption("inverting controls", 20))
    toy.register_toy(generator, tmp_path, resume=True)
    assert kept.value is not None


# Names of results


@pytest.mark.parametrize(
    "name", ["w\x1b[31m\n.json", os.fsdecode(b"o\xff.json"), "\u202egnp.json", "n\0.json"]
)
def test_a_name_that_cannot_be_signed_is_refused_before_the_work(tmp_path, name):
    with pytest.raises(OutputError, match="not a name that can be signed"):
        check_writable(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["n" * 300, "n" * 250 + ".json", "n" * 240])
def test_a_name_too_long_for_what_goes_beside_it_is_refused(tmp_path, name):
    with pytest.raises(OutputError, match=r"Choose a shorter name with -o\.") as caught:
        check_writable(tmp_path / name)
    assert caught.value.where == str(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_name_of_a_result(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (".", str(tmp_path)):
        with pytest.raises(OutputError, match="is a folder"):
            check_writable(Path(name))


def test_an_unusual_name_is_fine(tmp_path):
    check_writable(tmp_path / "Beweis \N{LATIN SMALL LETTER U WITH DIAERESIS} 写真.json")
    assert not list(tmp_path.iterdir())


def test_resuming_what_was_never_begun_is_a_fresh_run(tmp_path):
    toy.register_toy(toy.make_generator(toy.Smooth()), tmp_path, resume=True)


# The log of restarts


def restarts(count):
    return [
        Restart(i, "prior", Stop.STALLED, 0.1 * i, 0.2, i, torch.full((4,), float(i)))
        for i in range(count)
    ]


def logged(folder, count=5):
    with RunState(folder, IDENTITY, resume=False) as state:
        log = RestartLog(state, "search")
        for target, restart in enumerate(restarts(count)):
            log.add(target, restart)
        log.add(count, Restart(0, "encoder", Stop.NON_FINITE, None, None, 3, torch.zeros(4)))
        log.flush()
    return log


def reopened(folder):
    with RunState(folder, IDENTITY, resume=True) as state:
        return RestartLog(state, "search").known


def test_a_log_gives_back_what_was_added(tmp_path):
    log = logged(tmp_path / "state")
    back = reopened(tmp_path / "state")
    assert back.keys() == log.known.keys()
    for key, restart in log.known.items():
        assert torch.equal(back[key].latent, restart.latent)
        assert back[key].stop is restart.stop
        assert (back[key].residual, back[key].distance) == (restart.residual, restart.distance)
        assert (back[key].index, back[key].iterations) == (restart.index, restart.iterations)


def test_a_log_without_a_state_keeps_nothing_on_disk(tmp_path):
    log = RestartLog(None, "search")
    log.add(0, restarts(1)[0])
    log.flush()
    assert log.known
    assert not list(tmp_path.iterdir())


def test_a_log_only_ever_appends(tmp_path):
    folder = tmp_path / "state"
    log = logged(folder)
    (first,) = folder.glob("search*.safetensors")
    before = first.read_bytes()
    with RunState(folder, IDENTITY, resume=True) as state:
        again = RestartLog(state, "search")
        again.add(9, restarts(3)[2])
        again.flush()
        again.flush()  # nothing new: nothing is written
    assert first.read_bytes() == before
    assert len(list(folder.glob("search*.safetensors"))) == 2
    back = reopened(folder)
    assert back.keys() == log.known.keys() | {(9, 2)}


def cut(raw):
    return raw[: len(raw) // 2]


BYTES = {"cut": cut, "empty": lambda _: b"", "binary": lambda _: b"\xff\x00\xfe" * 20}
RECORDS = {
    "no-target": lambda r: r.pop("target"),
    "unknown-field": lambda r: r.update(surprise=1),
    "unknown-stop": lambda r: r.update(stop="bored"),
    "missing-field": lambda r: r.pop("iterations"),
    "negative-index": lambda r: r.update(index=-1),
    "text-residual": lambda r: r.update(residual="small"),
    "infinite-residual": lambda r: r.update(residual=float("inf")),
}


def rewritten(folder, change):
    """Change tensors or metadata of the first segment, and write it again."""
    with RunState(folder, IDENTITY, resume=True) as state:
        tensors, about = state.tensors(SEGMENT)
        change(tensors, about)
        state.save(SEGMENT, tensors, about)


def check_refused(folder):
    with pytest.raises(InputError, match=r"damaged|about something else") as caught:
        reopened(folder)
    assert caught.value.where
    return caught.value


@pytest.mark.parametrize("how", RECORDS)
def test_damaged_records_are_refused(tmp_path, how):
    folder = tmp_path / "state"
    logged(folder)
    rewritten(folder, lambda _, about: RECORDS[how](about["records"][0]))
    assert "--resume" in check_refused(folder).hint


@pytest.mark.parametrize("about", [[1, 2], {}, {"records": 3}, {"records": ["x"]}, None])
def test_records_of_another_form_are_refused(tmp_path, about):
    folder = tmp_path / "state"
    logged(folder)
    with RunState(folder, IDENTITY, resume=True) as state:
        state.save(SEGMENT, state.tensors(SEGMENT)[0], about)
    assert "--resume" in check_refused(folder).hint


@pytest.mark.parametrize("how", BYTES)
def test_damaged_files_are_refused(tmp_path, how):
    folder = tmp_path / "state"
    logged(folder)
    path = folder / f"{SEGMENT}.safetensors"
    path.write_bytes(BYTES[how](path.read_bytes()))
    assert "--resume" in check_refused(folder).hint


@pytest.mark.parametrize(
    "tensors",
    [{}, {"latents": torch.zeros(2, 4)}, {"latents": torch.zeros(6)}],
    ids=["none", "too-few", "flat"],
)
def test_tensors_that_do_not_fit_the_records_are_refused(tmp_path, tensors):
    folder = tmp_path / "state"
    logged(folder)
    with RunState(folder, IDENTITY, resume=True) as state:
        state.save(SEGMENT, tensors, state.tensors(SEGMENT)[1])
    check_refused(folder)


def test_a_state_that_does_not_say_what_it_is_of_is_refused(tmp_path):
    folder = tmp_path / "state"
    logged(folder)
    (folder / "identity").unlink()
    check_refused(folder)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_damage_ends_in_another_kind_of_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz") / "state"
    logged(folder, count=2)
    path = folder / f"{SEGMENT}.safetensors"
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    with contextlib.suppress(InputError):
        reopened(folder)


@pytest.mark.parametrize("how", ["cut", "empty", "another"])
def test_a_damaged_encoder_is_refused(tmp_path, how):
    generator = toy.make_generator(toy.Smooth())
    with pytest.raises(KeyboardInterrupt):
        toy.register_toy(
            generator,
            tmp_path,
            toy.ENCODED,
            progress=toy.Interruption("training the encoder", 11),
        )
    folder = state_folder(tmp_path / "registration.json")
    path = folder / "encoder-training.safetensors"
    if how == "another":
        with _existing(folder) as state:
            state.save("encoder-training", {"network.x": torch.zeros(3)}, {})
    else:
        path.write_bytes(BYTES[how](path.read_bytes()))
    with pytest.raises(InputError, match="damaged") as caught:
        toy.register_toy(generator, tmp_path, toy.ENCODED, resume=True)
    assert "--resume" in caught.value.hint


def test_a_state_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot keep the state"):
        RunState(tmp_path / "file" / "state", IDENTITY, resume=False)


def test_registering_into_a_missing_folder_fails_before_the_work(tmp_path):
    notes = toy.Notes()
    with pytest.raises(DeniabilityError):
        register(
            toy.make_generator(toy.Smooth()),
            protocol=toy.TINY,
            key=toy.KEY,
            output=tmp_path / "missing" / "registration.json",
            progress=notes,
        )
    assert notes.phases == []
