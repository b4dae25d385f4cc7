"""JPEGs saved twice: the output lies in the hull of what the first compression can have been."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from imaging_samples import encode, jpeg_kind, smooth, to_bytes

from deniability.imaging.decode import decode_picture
from deniability.imaging.decoded_jpeg import ijg_steps
from deniability.imaging.edited import EditedHandling
from deniability.imaging.jpeg_tables import ijg_tables
from deniability.imaging.observation import build_handling, observe
from deniability.imaging.residual import cell_residual, mean_squared
from deniability.imaging.twice_jpeg import TwiceJpegHandling
from deniability.wire.edits import EDITS, TWICE
from deniability.wire.protocol import PRESETS

NAMES = [name for name in EDITS if name in TWICE.values()]
SHAPES = [
    ((1, 28, 28), "gray"),
    ((3, 32, 32), "ycc444"),
    ((3, 24, 40), "ycc422"),
    ((3, 32, 32), "ycc420"),
]
COUNT = 20
SEEDS = [hashlib.sha256(b"twice %d" % i).digest() for i in range(COUNT)]
STEPS = 127.5


def grainy(shape, count=COUNT):
    """Smooth pictures with some grain; hardly a pixel of them is at an end of the range."""
    grain = np.random.default_rng(3).normal(0, 12, (count, *shape))
    return np.clip(to_bytes(smooth(count, *shape, seed=4)) + grain, 4, 251).astype(np.uint8)


def handling_of(name, shape, components, quality):
    kind = jpeg_kind(shape[1], shape[2], components, quality)
    return build_handling(kind.model_copy(update={"edit": name}))


def outside(handling, pictures, observed, *, of=None):
    """By how much the outputs themselves, or others, miss the cells: N x m."""
    shown = torch.from_numpy((pictures if of is None else of) / 255.0).float()
    values = handling.operator(shown)
    return cell_residual(values, observed.low, observed.high, handling.slack)


def applicable(name, components):
    return components != "gray" or "420" not in name


CASES = [(n, s, c) for n in NAMES for s, c in SHAPES if applicable(n, c)]


@pytest.mark.parametrize("quality", [50, 75, 85, 95])
@pytest.mark.parametrize(("name", "shape", "components"), CASES)
def test_own_outputs_lie_in_the_hull(name, shape, components, quality):
    """All but 3 % of the coefficients, and those by little; other pictures are far from it."""
    handling = handling_of(name, shape, components, quality)
    assert isinstance(handling, TwiceJpegHandling)
    pictures = grainy(shape)
    observed = handling.controls(pictures, SEEDS)
    missed = outside(handling, pictures, observed)
    assert float((missed != 0).double().mean()) <= 0.03
    assert float(mean_squared(missed).max()) <= 3e-5
    others = outside(handling, pictures, observed, of=pictures[::-1])
    assert float(mean_squared(others).min()) > 1e-2


@pytest.mark.parametrize(("name", "shape", "components"), CASES)
def test_the_hull_is_nearer_than_the_cell_of_the_file(name, shape, components):
    if "85" in name:
        pytest.skip("its steps are no larger than the file's")
    pictures = grainy(shape)
    (before,) = (old for old, new in TWICE.items() if new == name)
    largest = []
    for one in (before, name):
        handling = handling_of(one, shape, components, 85)
        missed = outside(handling, pictures, handling.controls(pictures, SEEDS))
        largest.append(float(mean_squared(missed).max()))
    assert largest[1] < largest[0] / 50


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("name", NAMES)
def test_the_first_quality_is_plausible_and_few_others_are(name, quality):
    shape = (3, 32, 32)
    handling = handling_of(name, shape, "ycc420", quality)
    pictures = grainy(shape)
    done = handling._stored.save(handling.edited(pictures, SEEDS))
    places = handling._coordinates()[: 64 * 16]
    second = handling._stored.quantisers()[places].reshape(-1, 64)[0]
    values = done.centre[:, places].double().reshape(COUNT, -1, 64) * STEPS
    found = handling._plausible((values / second).round(), second)
    drawn = [handling.edit.quality(seed) - handling.edit.lowest for seed in SEEDS]
    assert found[range(COUNT), drawn].double().mean() >= 0.9
    if quality == 95:
        assert found.double().sum(dim=1).mean() < 2


@given(
    k=st.integers(-60, 60),
    first=st.integers(1, 120),
    second=st.integers(1, 120),
    error=st.floats(-0.89, 0.89),
    within=st.floats(-0.5, 0.5),
)
def test_whatever_a_coefficient_was_its_hull_holds_it(k, first, second, error, within):
    """First k = round(value/first), then pixels are rounded, then it is divided by the second."""
    handling = handling_of("jpeg-twice-444-30-49", (1, 8, 8), "gray", 75)
    value = (k + within) * first
    multiple = round((k * first + error) / second)
    steps = torch.full((1, 1, 1, 64), float(second), dtype=torch.float64)
    low, high = handling._hull(
        torch.full((1, 1, 1, 64), float(multiple), dtype=torch.float64),
        steps,
        torch.full((1, 1, 1, 64), float(first), dtype=torch.float64),
        torch.full((1, 1, 8, 8), 0.5),
    )
    assert float(low.max()) <= value + 1e-9
    assert float(high.min()) >= value - 1e-9
    # It is no more than the interval, the rounding, and half a first step: on either side.
    assert float(high.max() - low.min()) <= second + 2 * 0.9 + first + 1e-9


def test_where_the_decoder_clipped_nothing_is_taken_for_known():
    handling = handling_of("jpeg-twice-444-30-49", (1, 8, 16), "gray", 75)
    multiples = torch.zeros(1, 1, 2, 64, dtype=torch.float64)
    gray = torch.full((1, 1, 8, 16), 0.5)
    ended = gray.clone()
    ended[..., 3, 12] = 1.0  # in the second block
    second = torch.full((1, 1, 1, 64), 10.0, dtype=torch.float64)
    first = torch.full((1, 1, 1, 64), 40.0, dtype=torch.float64)
    first[..., 40:] = 120.0
    spread = 2 * np.sqrt((40 * 40**2 + 24 * 120**2) / 64 / 12)
    assert 20 < spread < 60
    low, high = handling._hull(multiples, second, first, ended)
    assert (low[0, 0, 0, :40] == -20).all()  # the multiple 0 alone, half a step on either side
    assert (low[0, 0, 0, 40:] == -60).all()
    # What coarse steps were off by is spread over all frequencies.
    assert low[0, 0, 1, :40].numpy() == pytest.approx(-5 - spread)
    assert high[0, 0, 1, :40].numpy() == pytest.approx(5 + spread)
    assert (low[0, 0, 1, 40:] == -5 - 60).all()
    multiples[0, 0, 0, 5] = 2  # 15 to 25, where there is no multiple of 40
    low, _ = handling._hull(multiples, second, first, gray)
    assert low[0, 0, 0, 5].item() == pytest.approx(15 - spread)
    assert low[0, 0, 0, :5].numpy() == pytest.approx(-5 - spread)
    assert (low[0, 0, 1, :40] == -20).all()


@pytest.mark.parametrize(("name", "shape", "components"), CASES[:4] + CASES[-2:])
def test_a_file_is_judged_the_same_alone_and_among_others(name, shape, components):
    handling = handling_of(name, shape, components, 75)
    pictures = grainy(shape, 5)
    together = handling.controls(pictures, SEEDS[:5])
    for row in range(5):
        alone = handling.controls(pictures[row : row + 1], SEEDS[row : row + 1])
        for field in ("low", "high", "centre", "pixels"):
            assert torch.equal(getattr(alone, field)[0], getattr(together, field)[row])


@pytest.mark.parametrize(
    ("name", "components", "blocks"),
    [
        ("jpeg-twice-444-70-84", "gray", 6),
        ("jpeg-twice-444-70-84", "ycc444", 18),
        ("jpeg-twice-420-70-84", "ycc444", 6),
        ("jpeg-twice-444-70-84", "ycc420", 6),
        ("jpeg-twice-other-encoder", "ycc444", 6),
    ],
)
def test_whole_blocks_count_and_chroma_where_it_was_never_subsampled(name, components, blocks):
    shape = (1 if components == "gray" else 3, 20, 31)  # 2 x 3 whole blocks of 3 x 4
    handling = handling_of(name, shape, components, 60)
    observed = handling.controls(grainy(shape, 2), SEEDS[:2])
    assert observed.low.shape == (2, 64 * blocks)
    assert handling.operator(torch.rand(2, *shape)).shape == (2, 64 * blocks)
    assert (observed.low < observed.high).all()


def test_of_a_picture_without_a_whole_block_the_cell_is_the_files():
    handling = handling_of("jpeg-twice-444-70-84", (1, 7, 30), "gray", 60)
    assert type(handling) is EditedHandling


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_files_that_are_displayed_turned(orientation):
    kind = jpeg_kind(16, 24, "gray", 85, orientation=orientation)
    handling = build_handling(kind.model_copy(update={"edit": "jpeg-twice-444-50-69"}))
    pictures = grainy((1, 16, 24), 6)
    missed = outside(handling, pictures, handling.controls(pictures, SEEDS[:6]))
    assert float(mean_squared(missed).max()) < 1e-4


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_an_accused_file_is_taken_as_controls_are(version):
    shape = (3, 32, 32)
    picture = grainy(shape, 1)
    plain = handling_of(None, shape, "ycc420", 75)
    edited = handling_of("jpeg-twice-420-50-69", shape, "ycc420", 75).edited(picture, SEEDS[:1])
    data = encode(np.moveaxis(edited[0], 0, 2), "JPEG", quality=75, subsampling="4:2:0")
    found = observe(
        decode_picture(data, where="x"),
        data,
        channels=3,
        height=32,
        width=32,
        where="x",
        protocol=PRESETS[f"handled-quick-{version}"],
    )
    assert found.cautions == ()
    assert found.handling.kind == plain.kind
    seen = {handling.kind.edit: (handling, observed) for handling, observed in found.further}
    old, new = set(TWICE), {*TWICE.values(), "jpeg-trellis"}
    kept, gone = (old, new) if version == "v1" else (new, old)
    assert kept <= set(seen)
    assert not gone & set(seen)
    name = "jpeg-420-50-69" if version == "v1" else "jpeg-twice-420-50-69"
    handling, observed = seen[name]
    control = handling.controls(picture, SEEDS[:1])
    for field in ("low", "high", "centre", "pixels"):
        assert torch.equal(getattr(observed, field), getattr(control, field))


def test_steps_are_libjpegs():
    luma, chroma = ijg_tables(37)
    assert ijg_steps(37, colour=True).tolist() == [list(luma), list(chroma), list(chroma)]
    assert ijg_steps(37, colour=False).tolist() == [list(luma)]
