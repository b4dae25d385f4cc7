"""The ways in which a serving stack may differ: each makes other pictures, and leaves no trace."""

import hashlib

import numpy as np
import pytest
import torch
import toy_evidence as toy

from deniability.evidence.mismatch import other_pictures
from deniability.wire.protocol import mismatch_ways

WAYS = mismatch_ways("lossless")
COUNT = 40


@pytest.fixture(scope="module")
def generator():
    return toy.make_generator(toy.Smooth())


def seeds():
    return [hashlib.sha256(f"mismatch {i}".encode()).digest() for i in range(COUNT)]


def pictures(generator, way):
    return other_pictures(generator, toy.drawn(generator, COUNT), way, seeds()).astype(int)


def registered(generator):
    with torch.no_grad():
        outputs = generator(toy.drawn(generator, COUNT))
    return outputs, generator.quantise(outputs).numpy().astype(int)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_pictures_that_follow_from_latents_and_seeds(generator, way):
    found = pictures(generator, way)
    assert found.shape == (COUNT, 1, toy.SIDE, toy.SIDE)
    assert np.array_equal(found, pictures(generator, way))
    _, usual = registered(generator)
    assert np.abs(found - usual).max() <= 4  # an own output, to the eye


def test_the_other_rounding_truncates(generator):
    outputs, usual = registered(generator)
    found = pictures(generator, "other-rounding")
    assert np.array_equal(found, torch.floor(outputs * 255).int().numpy())
    assert 0.3 < (found != usual).mean() < 0.7
    truncating = toy.make_generator(toy.Smooth(), rounding="truncate")
    assert np.array_equal(pictures(truncating, "other-rounding"), usual)


def test_one_step_up_or_down(generator):
    _, usual = registered(generator)
    steps = pictures(generator, "plus-minus-one-step") - usual
    assert set(np.unique(steps)) == {-1, 0, 1}
    for step in (-1, 0, 1):
        assert (steps == step).mean() == pytest.approx(1 / 3, abs=0.04)
    assert not np.array_equal(steps[0], steps[1])


@pytest.mark.parametrize(("way", "most"), [("bfloat16", 0.9), ("float16", 0.2), ("tf32", 0.2)])
def test_less_precision_moves_some_pixels(generator, way, most):
    _, usual = registered(generator)
    share = (pictures(generator, way) != usual).mean()
    assert 0 < share < most


def test_less_precision_moves_fewer_pixels_the_more_bits_there_are(generator):
    _, usual = registered(generator)
    moved = {w: np.abs(pictures(generator, w) - usual).sum() for w in ("bfloat16", "float16")}
    assert moved["bfloat16"] > 2 * moved["float16"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [1, 2])
def test_nothing_of_it_stays(generator, way, count):
    before = {name: t.clone() for name, t in generator.module.state_dict().items()}
    with toy.threads(count):
        pictures(generator, way)
        assert torch.get_num_threads() == count
    assert all(torch.equal(before[n], t) for n, t in generator.module.state_dict().items())
    _, usual = registered(generator)
    assert np.array_equal(registered(generator)[1], usual)


def test_other_threads_really_are_others_and_come_back_after_a_failure():
    seen = []

    class Watching(toy.Smooth):
        def forward(self, z):
            seen.append(torch.get_num_threads())
            if len(seen) > 2:
                raise RuntimeError("no more")
            return super().forward(z)

    generator = toy.make_generator(Watching())
    with toy.threads(1):
        pictures(generator, "other-threads")
    with toy.threads(2):
        pictures(generator, "other-threads")
    assert seen == [2, 1]
    with toy.threads(2):
        with pytest.raises(Exception, match="no more"):
            pictures(generator, "other-threads")
        assert torch.get_num_threads() == 2
