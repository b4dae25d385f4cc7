"""An interrupted run goes on where it stopped; foreign or damaged state is refused."""

import contextlib
import json

import pytest
import torch
import toy_evidence as toy
from hypothesis import given, settings
from hypothesis import strategies as st

from deniability.errors import DeniabilityError, InputError
from deniability.evidence.register import register, state_folder
from deniability.evidence.state import RestartLog, RunState
from deniability.inversion.solution import Restart, Stop

IDENTITY = "a" * 64


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
    kept = RestartLog(
        _existing(state_folder(tmp_path / f"{image.name}.bundle.json")), "accused"
    ).known
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
    # Without --resume it is replaced.
    toy.register_toy(other, tmp_path)


def test_resuming_what_was_never_begun_is_a_fresh_run(tmp_path):
    toy.register_toy(toy.make_generator(toy.Smooth()), tmp_path, resume=True)


# The log of restarts


def restarts(count):
    return [
        Restart(i, "prior", Stop.STALLED, 0.1 * i, 0.2, i, torch.full((4,), float(i)))
        for i in range(count)
    ]


def logged(folder, count=5):
    log = RestartLog(RunState(folder, IDENTITY, resume=False), "search")
    for target, restart in enumerate(restarts(count)):
        log.add(target, restart)
    log.add(count, Restart(0, "encoder", Stop.NON_FINITE, None, None, 3, torch.zeros(4)))
    log.flush()
    return log


def test_a_log_gives_back_what_was_added(tmp_path):
    log = logged(tmp_path / "state")
    back = RestartLog(RunState(tmp_path / "state", IDENTITY, resume=True), "search").known
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


def test_a_log_whose_records_are_older_than_its_tensors_gives_the_older(tmp_path):
    """As after a crash between the two writes."""
    folder = tmp_path / "state"
    log = logged(folder)
    older = (folder / "search.json").read_bytes()
    log.add(9, restarts(3)[2])
    log.flush()
    (folder / "search.json").write_bytes(older)
    back = RestartLog(RunState(folder, IDENTITY, resume=True), "search").known
    assert (9, 2) not in back
    assert len(back) == 6
    assert all(torch.equal(back[k].latent, log.known[k].latent) for k in back)


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


def check_refused(folder):
    with pytest.raises(InputError, match=r"damaged|about something else") as caught:
        RestartLog(RunState(folder, IDENTITY, resume=True), "search")
    assert caught.value.where
    return caught.value


@pytest.mark.parametrize("how", RECORDS)
def test_damaged_records_are_refused(tmp_path, how):
    folder = tmp_path / "state"
    logged(folder)
    path = folder / "search.json"
    document = json.loads(path.read_bytes())
    RECORDS[how](document["records"][0])
    path.write_text(json.dumps(document))
    assert "--resume" in check_refused(folder).hint


@pytest.mark.parametrize("text", ["[1, 2]", "{}", '{"records": 3}', '{"records": ["x"]}', "null"])
def test_records_of_another_form_are_refused(tmp_path, text):
    folder = tmp_path / "state"
    logged(folder)
    (folder / "search.json").write_text(text)
    assert "--resume" in check_refused(folder).hint


@pytest.mark.parametrize("name", ["search.json", "search.safetensors"])
@pytest.mark.parametrize("how", BYTES)
def test_damaged_files_are_refused(tmp_path, name, how):
    folder = tmp_path / "state"
    logged(folder)
    path = folder / name
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
    records = (folder / "search.json").read_bytes()
    RunState(folder, IDENTITY, resume=True).save("search", tensors, {})
    (folder / "search.json").write_bytes(records)
    check_refused(folder)


def test_a_crash_within_the_first_write_leaves_nothing_to_resume(tmp_path):
    folder = tmp_path / "state"
    logged(folder)
    (folder / "search.json").unlink()
    assert RestartLog(RunState(folder, IDENTITY, resume=True), "search").known == {}


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
    path = folder / data.draw(st.sampled_from(["search.json", "search.safetensors"]))
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    with contextlib.suppress(InputError):
        RestartLog(RunState(folder, IDENTITY, resume=True), "search")


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
        RunState(folder, (folder / "identity").read_text(), resume=True).save(
            "encoder-training", {"network.x": torch.zeros(3)}, {}
        )
    else:
        path.write_bytes(BYTES[how](path.read_bytes()))
    with pytest.raises(InputError, match="damaged") as caught:
        toy.register_toy(generator, tmp_path, toy.ENCODED, resume=True)
    assert "--resume" in caught.value.hint


def test_a_state_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    state = RunState(tmp_path / "file" / "state", IDENTITY, resume=False)
    with pytest.raises(DeniabilityError, match="cannot keep the state"):
        state.save("search", {"a": torch.zeros(1)}, {})


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
