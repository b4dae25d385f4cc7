"""Coefficients by rate and distortion: the cheapest there are, and as mozjpeg's own."""

import itertools
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from imaging_samples import jpeg_kind

from deniability.generators.entropy import latents_from_seed
from deniability.generators.load import load_generator
from deniability.imaging.handling import STEPS
from deniability.imaging.jpeg_encoder import layout_of
from deniability.imaging.jpeg_markers import read_markers
from deniability.imaging.jpeg_read import read_own
from deniability.imaging.jpeg_tables import STANDARD_HUFFMAN, ZIGZAG, ijg_tables
from deniability.imaging.jpeg_trellis import trellis
from deniability.imaging.observation import build_handling
from deniability.imaging.residual import cell_residual, mean_squared
from deniability.imaging.trellis_jpeg import TrellisJpegHandling

MOZJPEG = Path(__file__).parent / "mozjpeg"
COUNT = 40


def lengths(*, chroma):
    """Code lengths of annex K by symbol, written down once more."""
    table = STANDARD_HUFFMAN[0x11 if chroma else 0x10]
    symbols, found = iter(table[16:]), {}
    for length, count in enumerate(table[:16], start=1):
        for _ in range(count):
            found[next(symbols)] = length
    return found


def bits_of(levels, codes):
    """Bits of a block's levels in zigzag order, but the first (T.81, F.1.2.2)."""
    total, run = 0, 0
    for level in levels[1:]:
        if not level:
            run += 1
            continue
        total += run // 16 * codes[0xF0] + codes[run % 16 * 16 + int(level).bit_length()]
        total += int(level).bit_length()
        run = 0
    return total + (codes[0x00] if run else 0)


def price(levels, heights, weight, codes):
    wrong = sum(
        (level - height) ** 2 for level, height in zip(levels[1:], heights[1:], strict=True)
    )
    return weight * wrong + bits_of(levels, codes)


@settings(max_examples=60, deadline=None)
@given(
    places=st.lists(st.integers(1, 63), min_size=1, max_size=4, unique=True),
    heights=st.lists(st.floats(-6, 6), min_size=4, max_size=4),
    step=st.integers(2, 60),
    chroma=st.booleans(),
)
def test_no_other_choice_is_cheaper(places, heights, step, chroma):
    """All that the rule allows, tried one by one."""
    block = np.zeros((1, 64))
    block[0, 0] = 41.3
    for place, height in zip(places, heights, strict=False):
        block[0, ZIGZAG[place]] = height * step
    steps = np.full(64, float(step))
    chosen = trellis(block, steps, chroma=chroma)[0]
    weight = 2**14.75 / (2**10.5 + np.mean(block[0, 1:] ** 2))
    codes = lengths(chroma=chroma)
    ordered = np.abs(block[0] / step)[list(ZIGZAG)]
    allowed = []
    for place in places:
        nearest = round(float(ordered[place]))
        allowed.append({0, *(min(2**b - 1, nearest) for b in range(1, nearest.bit_length() + 1))})
    cheapest = np.inf
    for choice in itertools.product(*allowed):
        levels = np.zeros(64, int)
        levels[places] = choice
        cheapest = min(cheapest, price(levels, ordered, weight, codes))
    found = np.abs(chosen)[list(ZIGZAG)]
    assert price(found, ordered, weight, codes) == pytest.approx(cheapest, abs=1e-9)
    assert chosen[0] == round(41.3 / step)


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1, 400))
@settings(max_examples=30, deadline=None)
def test_it_only_moves_towards_zero_and_never_the_first(seed, scale):
    values = np.random.default_rng(seed).laplace(0, scale, (5, 64))
    steps = np.array(ijg_tables(60)[0], float)
    chosen, nearest = trellis(values, steps, chroma=False), np.rint(values / steps)
    assert (np.abs(chosen) <= np.abs(nearest)).all()
    assert (chosen * nearest >= 0).all()
    assert (chosen[:, 0] == nearest[:, 0]).all()


@pytest.fixture(scope="module")
def outputs():
    """Own outputs of the built-in generator, as they are and as bytes: N x 1 x 28 x 28."""
    generator = load_generator("builtin", device=torch.device("cpu"))
    seeds = [b"trellis %d" % index for index in range(COUNT)]
    latents = torch.from_numpy(np.stack([latents_from_seed(generator.spec, s) for s in seeds]))
    with torch.no_grad():
        pictures = generator(latents)
        return pictures, generator.quantise(pictures).numpy()


def handling_of(quality, edit="jpeg-trellis", components="gray", side=28):
    kind = jpeg_kind(side, side, components, quality)
    return build_handling(kind.model_copy(update={"edit": edit}))


def missed(handling, pictures, observed):
    values = handling.operator(pictures)
    return mean_squared(cell_residual(values, observed.low, observed.high, handling.slack)).numpy()


@pytest.mark.parametrize("quality", [50, 75, 90])
def test_own_outputs_miss_the_cell_by_much_more_than_those_of_libjpeg(outputs, quality):
    handling = handling_of(quality)
    assert isinstance(handling, TrellisJpegHandling)
    pictures, pixels = outputs
    controls = handling.controls(pixels, [b""] * COUNT)
    plain = handling_of(quality, edit=None)
    rounded = missed(plain, pictures, plain.save(pixels))
    assert np.median(missed(handling, pictures, controls)) > 300 * np.median(rounded)
    # The file is read as any other is: only how it was made differs.
    assert torch.equal(handling.shown(controls).low, controls.low)


@pytest.mark.parametrize("components", ["gray", "ycc444", "ycc422", "ycc420"])
def test_the_file_holds_what_was_chosen(components):
    side, channels = 20, 1 if components == "gray" else 3
    handling = handling_of(75, components=components, side=side)
    coarse = np.random.default_rng(1).integers(0, 256, (3, channels, 5, 5), dtype=np.uint8)
    pixels = coarse.repeat(4, axis=2).repeat(4, axis=3)
    steps = handling._stored.quantisers()
    saved = handling.save(pixels)
    multiples = saved.centre.double() * STEPS / steps
    torch.testing.assert_close(multiples, multiples.round(), rtol=0, atol=1e-3)
    plain = handling._stored.save(pixels).centre.double() * STEPS / steps
    moved = (multiples.round() - plain.round()).abs()
    assert 0 < float((moved > 0).double().mean()) < 0.5
    assert saved.pixels.shape == (3, channels, side, side)
    assert float((saved.pixels - torch.from_numpy(pixels / 255.0)).abs().mean()) < 0.1


@pytest.fixture(scope="module")
def mozjpeg(tmp_path_factory, outputs):
    """Save the outputs by mozjpeg itself, compiled for the web, from npm."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node.js: apt-get install nodejs npm")
    if not (MOZJPEG / "node_modules").is_dir():
        pytest.skip(f"needs npm ci --ignore-scripts in {MOZJPEG.name}/ (.ci/run does it)")
    folder = tmp_path_factory.mktemp("mozjpeg")
    _, pixels = outputs
    opaque = np.full((COUNT, 28, 28, 1), 255, np.uint8)
    pixels = np.concatenate([np.moveaxis(pixels.repeat(3, axis=1), 1, 3), opaque], axis=3)
    (folder / "pixels").write_bytes(np.ascontiguousarray(pixels).tobytes())

    def save(quality):
        options = {"quality": quality, "quant_table": 0, "color_space": 1}  # annex K, gray
        options |= {"baseline": True, "progressive": False}
        arguments = [folder / "pixels", "28", "28", str(COUNT), folder / "moz", json.dumps(options)]
        subprocess.run([node, MOZJPEG / "encode.mjs", *arguments], check=True)
        return [(folder / f"moz{i}.jpg").read_bytes() for i in range(COUNT)]

    return save


@pytest.mark.parametrize("quality", [30, 50, 75, 90])
def test_it_chooses_as_mozjpeg_does(mozjpeg, outputs, quality):
    """What controls miss by is what mozjpeg's own files of the same outputs do."""
    pictures, pixels = outputs
    handling = handling_of(quality)
    files = mozjpeg(quality)
    layout = layout_of(read_markers(files[0], where="moz0.jpg"))
    assert (layout.components, layout.quality) == ("gray", quality)
    theirs = np.stack(read_own(files)).astype(int)
    ours = handling.save(pixels)
    steps = handling._stored.quantisers()
    multiples = (ours.centre.double() * STEPS / steps).round().numpy().astype(int)
    assert np.mean(theirs == multiples) > 0.97
    rounded = handling._stored.save(pixels).centre.double() * STEPS / steps
    moved = theirs != rounded.round().numpy()
    assert np.mean((multiples != rounded.round().numpy())[moved]) > 0.85
    observed = handling._stored.observations(
        list(theirs), [np.moveaxis(one, 0, 2) for one in pixels]
    )
    residuals = missed(handling, pictures, ours), missed(handling, pictures, observed)
    assert 0.75 < np.median(residuals[0]) / np.median(residuals[1]) < 1.33
    assert 0.6 < np.quantile(residuals[0], 0.95) / np.quantile(residuals[1], 0.95) < 1.67
