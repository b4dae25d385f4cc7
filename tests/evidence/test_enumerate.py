"""Every seed of a range, compared: nothing is left out, whoever does it and whatever stops it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_evidence as toy
import toy_labels as labels
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deniability.cli.app import run as deny
from deniability.enumeration import compare
from deniability.enumeration.compare import Compared, ComparisonTask, Near, seed_space
from deniability.errors import DeniabilityError, GeneratorError, ImageError, InputError
from deniability.evidence import enumerate as driver
from deniability.evidence import enumeration_log
from deniability.evidence.enumerate import Answer, enumerate_seeds, latent_of
from deniability.generators.entropy import entropy_source
from deniability.generators.load import load_generator
from deniability.inversion.executor import LocalExecutor
from deniability.wire.generator import EntropySpec


@pytest.fixture(scope="module")
def generator():
    return toy.make_generator(toy.Smooth())


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of seven seeds, in batches of three."""
    monkeypatch.setattr(driver, "CHUNK", 7)
    monkeypatch.setattr(compare, "lanes_that_fit", lambda _: 3)


def picture_of(folder, generator, seed, name="own.png"):
    latent = torch.from_numpy(entropy_source(generator.spec).latent(seed))[None]
    return toy.save_picture(folder / name, toy.own_pictures(generator, latent)[0])


def residuals(generator, image, seeds):
    """Mean squared distances beyond half a step, by numpy alone."""
    file = np.asarray(Image.open(image), dtype=np.float64)
    found = {}
    for seed in seeds:
        latent = torch.from_numpy(entropy_source(generator.spec).latent(seed))[None]
        with torch.no_grad():
            output = 255 * generator(latent)[0, 0].double().numpy()
        beyond = np.maximum(np.abs(output - file) - 0.51, 0) / 127.5
        found[seed] = float((beyond**2).mean())
    return found


def test_it_is_what_comparing_one_by_one_shows(generator, tmp_path, small_chunks):  # noqa: ARG001
    image = picture_of(tmp_path, generator, 41)
    done = enumerate_seeds(image, generator, range(10, 60), nearest=4)
    expected = sorted(residuals(generator, image, range(10, 60)).items(), key=lambda item: item[1])
    assert [near.seed for near in done.compared.nearest] == [seed for seed, _ in expected[:4]]
    for near, (_, residual) in zip(done.compared.nearest, expected, strict=False):
        assert near.residual == pytest.approx(residual, rel=1e-3, abs=1e-9)
    assert (done.compared.seeds, done.compared.reached, done.compared.not_finite) == (50, 1, 0)
    assert done.exact
    assert not done.complete


def test_a_seed_outside_the_range_is_not_found(generator, tmp_path):
    image = picture_of(tmp_path, generator, 41)
    for seeds in (range(41), range(42, 80)):
        done = enumerate_seeds(image, generator, seeds)
        assert done.compared.reached == 0
        assert not done.exact
    assert enumerate_seeds(image, generator, range(41, 42)).compared.reached == 1


def test_a_jpeg_is_compared_by_its_cell(generator, tmp_path):
    latent = torch.from_numpy(entropy_source(generator.spec).latent(5))[None]
    image = toy.save_picture(
        tmp_path / "own.jpg", toy.own_pictures(generator, latent)[0], quality=60
    )
    done = enumerate_seeds(image, generator, range(30))
    assert done.compared.nearest[0].seed == 5
    assert done.compared.reached == 1
    assert done.exact
    assert 1e-9 <= done.threshold <= 1 / 195075


def test_an_output_that_is_computed_otherwise_is_close_and_not_reached(generator, tmp_path):
    latent = torch.from_numpy(entropy_source(generator.spec).latent(41))[None]
    with torch.no_grad():
        truncated = (255 * generator(latent)[0, 0]).floor().to(torch.uint8).numpy()
    image = toy.save_picture(tmp_path / "truncated.png", truncated)
    done = enumerate_seeds(image, generator, range(60), nearest=1)
    assert (done.answer, done.compared.reached, done.exact) == (Answer.CLOSE, 0, False)
    assert done.compared.nearest[0].seed == 41
    assert len(done.compared.nearest) == 2
    alone = enumerate_seeds(image, generator, range(41, 42))
    assert alone.answer is Answer.CLOSE
    assert enumerate_seeds(image, generator, range(41)).answer is Answer.NONE


@pytest.mark.parametrize("quality", [None, 70])
def test_batches_and_chunks_do_not_matter(generator, tmp_path, monkeypatch, quality):
    latent = torch.from_numpy(entropy_source(generator.spec).latent(41))[None]
    name = "own.png" if quality is None else "own.jpg"
    options = {} if quality is None else {"quality": quality}
    image = toy.save_picture(tmp_path / name, toy.own_pictures(generator, latent)[0], **options)
    whole = enumerate_seeds(image, generator, range(10, 200))
    for rows, chunk in ((1, 64), (7, 11), (190, 190)):
        monkeypatch.setattr(driver, "CHUNK", chunk)
        monkeypatch.setattr(compare, "lanes_that_fit", lambda _, rows=rows: rows)
        assert enumerate_seeds(image, generator, range(10, 200)) == whole


def test_every_label_is_tried_with_every_seed(tmp_path, small_chunks):  # noqa: ARG001
    generator = labels.scripted(
        tmp_path, labels.Conditional(), labels.DESCRIPTION.format(encoding="index")
    )
    near = Near(0.0, 17, 3)
    latent = latent_of(generator, near)
    image = toy.save_picture(tmp_path / "own.png", toy.own_pictures(generator, latent[None])[0])
    done = enumerate_seeds(image, generator, range(40))
    assert (done.labels, done.compared.seeds, done.compared.reached) == (5, 40, 1)
    assert (done.compared.nearest[0].seed, done.compared.nearest[0].label) == (17, 3)
    assert done.exact


@pytest.mark.parametrize("stop", [1, 4, 9])
def test_an_interruption_loses_nothing(generator, tmp_path, small_chunks, stop):  # noqa: ARG001
    image = picture_of(tmp_path, generator, 41)
    state, compared = tmp_path / "state", []

    class Interrupting(toy.Notes):
        def advance(self, done, **_):
            compared.append(done)
            if len(compared) > stop:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        enumerate_seeds(
            image, generator, range(60), state=state, progress=Interrupting(),
            executor=LocalExecutor(seconds=0.0),
        )  # fmt: skip
    seen = []

    class Watching(toy.Notes):
        def advance(self, done, **_):
            seen.append(done)

    resumed = enumerate_seeds(
        image, generator, range(60), state=state, resume=True, progress=Watching()
    )
    assert resumed == enumerate_seeds(image, generator, range(60))
    assert seen[0] >= compared[-2]
    assert not state.exists()


def test_what_another_run_left_is_not_taken_over(generator, tmp_path, small_chunks):  # noqa: ARG001
    image = picture_of(tmp_path, generator, 41)
    state = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        enumerate_seeds(
            image, generator, range(60), state=state,
            progress=toy.Interruption("generating", 3), executor=LocalExecutor(seconds=0.0),
        )  # fmt: skip
    with pytest.raises(InputError, match="something else"):
        enumerate_seeds(image, generator, range(61), state=state, resume=True)


def test_outputs_that_are_not_finite_are_counted(tmp_path, generator):
    image = picture_of(tmp_path, generator, 1)
    done = enumerate_seeds(image, toy.make_generator(toy.NaN()), range(20))
    assert (done.compared.seeds, done.compared.not_finite) == (20, 20)
    assert (done.compared.nearest, done.exact, done.answer) == ((), False, Answer.INCOMPLETE)


def test_a_chunk_that_is_left_out_is_noticed(generator, tmp_path, small_chunks):  # noqa: ARG001
    class Forgetful(LocalExecutor):
        def run(self, generator, task, chunks, receiver):
            super().run(generator, task, (c for c in chunks if c.number != 2), receiver)

    with pytest.raises(DeniabilityError, match="not every seed"):
        enumerate_seeds(
            picture_of(tmp_path, generator, 1), generator, range(60), executor=Forgetful()
        )


def test_a_decoder_has_no_seeds(generator, tmp_path):
    decoder = toy.make_generator(toy.Smooth())
    decoder.spec = decoder.spec.model_copy(update={"format": "diffusers"})
    with pytest.raises(GeneratorError, match="no seeds to enumerate"):
        enumerate_seeds(picture_of(tmp_path, generator, 1), decoder, range(9))


def test_a_range_may_be_larger_than_a_machine_word(generator, tmp_path):
    image = picture_of(tmp_path, generator, 1)
    with pytest.raises(KeyboardInterrupt):
        enumerate_seeds(
            image, generator, range(2**64), state=tmp_path / "state",
            progress=toy.Interruption("generating", 3), executor=LocalExecutor(seconds=0.0),
        )  # fmt: skip
    top = 2**64 - 1
    image = picture_of(tmp_path, generator, top, "top.png")
    assert enumerate_seeds(image, generator, range(top - 20, top + 1)).compared.reached == 1


class Slow(toy.Smooth):
    """Takes its time."""

    def forward(self, z):
        time.sleep(0.01)
        return super().forward(z)


def child(image, state):
    """Enumerate in a process of its own, writing all the time."""
    enumeration_log.SLICE_SECONDS, driver.CHUNK = 0.0, 7
    compare.lanes_that_fit = lambda _: 3

    class Telling(toy.Notes):
        def advance(self, done, **_):
            sys.stdout.write(f"{done}\n")
            sys.stdout.flush()

    enumerate_seeds(
        Path(image), toy.make_generator(Slow()), range(400), state=Path(state), resume=True,
        progress=Telling(), executor=LocalExecutor(seconds=0.0),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_killed_it_goes_on_where_it_was(generator, tmp_path, small_chunks):  # noqa: ARG001
    image, state = picture_of(tmp_path, generator, 41), tmp_path / "state"
    command = f"import test_enumerate as t; t.child({str(image)!r}, {str(state)!r})"
    here = Path(__file__).resolve().parent
    paths = os.pathsep.join([str(here), str(here.parents[1])])
    firsts, lasts = [], []
    for _ in range(2):
        running = subprocess.Popen(
            [sys.executable, "-c", command],
            env={**os.environ, "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
        )
        with running:
            seen = [int(running.stdout.readline()) for _ in range(30)]
            running.send_signal(signal.SIGKILL)
        assert running.returncode == -signal.SIGKILL
        firsts.append(seen[0])
        lasts.append(seen[-1])
    assert firsts[0] == 0
    assert firsts[1] >= lasts[0] - 2 * 3  # no more than the batches since the last write
    resumed = enumerate_seeds(image, generator, range(400), state=state, resume=True)
    assert resumed == enumerate_seeds(image, generator, range(400))
    assert resumed.compared.reached == 1


def test_wrong_ranges_and_pictures_are_refused(generator, tmp_path):
    image = picture_of(tmp_path, generator, 1)
    for seeds in (range(0), range(-1, 3), range(0, 9, 2), range(2**64, 2**64 + 1)):
        with pytest.raises(InputError, match="not a range of seeds"):
            enumerate_seeds(image, generator, seeds)
    large = toy.save_picture(tmp_path / "large.png", np.zeros((9, 9), np.uint8))
    with pytest.raises(ImageError):
        enumerate_seeds(large, generator, range(3))


def test_memory_that_runs_out_makes_batches_smaller(generator, tmp_path):
    image = picture_of(tmp_path, generator, 41)

    class Greedy(toy.Smooth):
        def forward(self, z):
            if len(z) > 5:
                raise torch.OutOfMemoryError("out of memory")
            return super().forward(z)

    small = toy.make_generator(Greedy())
    assert enumerate_seeds(image, small, range(50)).compared.nearest[0].seed == 41

    class Broken(toy.Smooth):
        def forward(self, _):
            raise torch.OutOfMemoryError("out of memory")

    with pytest.raises((torch.OutOfMemoryError, GeneratorError)):
        enumerate_seeds(image, toy.make_generator(Broken()), range(50))


@pytest.mark.parametrize(
    ("source", "bits", "space"),
    [("torch-cpu", 64, 2**32), ("torch-cpu", 16, 2**16), ("shake256", 64, 2**64)],
)
def test_the_seed_space_is_that_of_different_latents(source, bits, space):
    assert seed_space(EntropySpec(source=source, seed_bits=bits)) == space


nears = st.builds(Near, st.floats(0, 10, allow_nan=False), st.integers(0, 2**40), st.integers(0, 9))
parts = st.lists(
    st.builds(
        Compared,
        st.integers(0, 99),
        st.integers(0, 9),
        st.integers(0, 9),
        st.lists(nears, max_size=6).map(lambda found: tuple(sorted(set(found))[:3])),
    ),
    max_size=6,
)


@given(parts, st.randoms())
def test_the_order_in_which_parts_come_does_not_matter(found, random):
    def joined(some):
        total = Compared()
        for one in some:
            total = total.joined(one, 3)
        return total

    before = joined(found)
    shuffled = list(found)
    random.shuffle(shuffled)
    assert joined(shuffled) == before
    everything = sorted({near for part in found for near in part.nearest})
    assert list(before.nearest) == everything[:3]


def test_a_task_travels_without_its_generator(generator, tmp_path):
    import pickle

    image = picture_of(tmp_path, generator, 3)
    file = driver.read_exhibit(image, generator).families[0]
    task = ComparisonTask(*file, 5e-6, 2)
    again = pickle.loads(pickle.dumps(task))
    run = again.begin(generator, range(8), None)
    while run.step():
        pass
    (result,) = run.found()
    assert result.nearest[0].seed == 3
    assert run.found() == []


# --- the command


def test_the_command_tells_which_seed_and_that_nothing_is_signed(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    image = str(tmp_path / "own.png")
    assert deny(["generate", "builtin", "--seed", "77", "-o", image]) == 0
    arguments = ["enumerate", image, "--model", "builtin", "--nearest", "2"]
    capsys.readouterr()
    assert deny([*arguments, "--seeds", "60:90"]) == 10
    text = capsys.readouterr().out
    assert text.startswith("Not evidence: nothing is signed")
    assert "every seed from 60 to 90 was generated and compared: 31, of 18,446" in text
    assert "Seed 77 makes the picture pixel for pixel." in text
    assert deny([*arguments, "--seeds", "0:50"]) == 0
    assert "None makes the picture." in capsys.readouterr().out
    assert deny([*arguments, "--seeds", "77"]) == 10
    assert list((tmp_path / "cache").rglob("*.safetensors")) == []


def test_the_command_refuses_what_would_never_end(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    image = str(tmp_path / "own.png")
    assert deny(["generate", "builtin", "--seed", "77", "-o", image]) == 0
    capsys.readouterr()
    assert deny(["enumerate", image, "--model", "builtin"]) == 2
    assert "years on this device" in capsys.readouterr().err
    for wrong in ("9:1", "a", "-1:3", "1:2:3", f"0:{2**64}"):
        assert deny(["enumerate", image, "--model", "builtin", f"--seeds={wrong}"]) == 2
        assert "not a range of seeds" in capsys.readouterr().err


def test_a_picture_that_is_nearly_one_is_shown(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    generator = load_generator("builtin", device=torch.device("cpu"))
    latent = torch.from_numpy(entropy_source(generator.spec).latent(7))[None]
    pixels = toy.own_pictures(generator, latent)[0].astype(int)
    pixels[::2] += np.where(pixels[::2] < 250, 1, -1)
    image = toy.save_picture(tmp_path / "near.png", pixels.astype(np.uint8))
    arguments = ["enumerate", str(image), "--model", "builtin", "--seeds", "0:60"]
    assert deny([*arguments, "--nearest", "1"]) == 11
    text = capsys.readouterr().out
    assert "Close: seed 7 has residual" in text
    assert text.count("nearest  ") == 1
    assert deny([*arguments[:-1], "7"]) == 11
    assert "the nearest of fresh outputs" in capsys.readouterr().out
    assert deny([*arguments[:-1], "8"]) == 0
    capsys.readouterr()
    assert deny([*arguments, "--json"]) == 11
    assert json.loads(capsys.readouterr().out)["answer"] == "close"
