"""Cells of lossless files, residuals, kinds, and what does not fit a model."""

import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from imaging_samples import encode, jpeg_kind, noise, smooth, to_bytes
from pydantic import ValidationError

from deniability.errors import ImageError
from deniability.imaging.decode import decode_picture
from deniability.imaging.observation import (
    build_handling,
    cell_residual,
    lossless_kind,
    mean_squared,
    observe,
)
from deniability.wire.observation import ObservationKind


def observed(pixels, *, channels=3, file_format="PNG", **options):
    data = encode(pixels, file_format)
    picture = decode_picture(data, where="x.png")
    height, width = pixels.shape[:2]
    return observe(
        picture, data, channels=channels, height=height, width=width, where="x.png", **options
    )


def missed(read, pictures):
    values = read.handling.operator(torch.from_numpy(pictures).float())
    observations, slack = read.observations, read.handling.slack
    return cell_residual(values, observations.low, observations.high, slack)


@pytest.mark.parametrize("channels", [1, 3])
def test_own_outputs_are_in_their_cell(channels):
    pictures = np.random.default_rng(0).random((1, channels, 16, 16))
    pictures[0, 0, 0, :2] = 0, 1
    pixels = to_bytes(pictures)[0].transpose(1, 2, 0)
    read = observed(pixels, channels=channels)
    assert (missed(read, pictures) == 0).all()
    assert read.cautions == read.transforms == ()
    truncated = np.floor(pictures * 255).astype(np.uint8)[0].transpose(1, 2, 0)
    read = observed(truncated, channels=channels, rounding="truncate")
    assert (missed(read, pictures) == 0).all()
    wrong = observed(truncated, channels=channels)
    assert (missed(wrong, pictures) != 0).double().mean() > 0.4


@pytest.mark.parametrize(("rounding", "low", "high"), [("round", -0.5, 0.5), ("truncate", 0, 1)])
def test_cells_in_steps(rounding, low, high):
    pixels = np.array([[[0], [1], [130], [255]]], np.uint8)
    read = observed(pixels, channels=1, rounding=rounding).observations
    steps = torch.tensor([0.0, 1, 130, 255])
    assert torch.allclose((read.low[0, 1:] + 1) * 127.5, steps[1:] + low, atol=1e-4)
    assert torch.allclose((read.high[0, :-1] + 1) * 127.5, steps[:-1] + high, atol=1e-4)
    assert read.low[0, 0] == -torch.inf
    assert read.high[0, -1] == torch.inf
    assert read.centre.isfinite().all()
    assert torch.allclose(read.pixels.flatten(), steps / 255)


def test_base_floor_is_the_variance_of_rounding():
    read = observed(noise(3, 64, 64))
    pictures = np.random.default_rng(1).random((64, 3, 16, 16))
    handling = build_handling(lossless_kind(channels=3, height=16, width=16, rounding="round"))
    saved = handling.save(to_bytes(pictures))
    error = handling.operator(torch.from_numpy(pictures).float()) - saved.centre
    assert mean_squared(error).mean().item() == pytest.approx(float(handling.base_floor), rel=0.02)
    assert read.handling.base_floor == Fraction(1, 12) / Fraction(255, 2) ** 2


def test_a_wrong_size_is_refused_and_nothing_is_resized():
    data = encode(noise(), "PNG")
    picture = decode_picture(data, where="x.png")
    with pytest.raises(ImageError, match=re.escape("64 x 48 pixels, the model's")) as caught:
        observe(picture, data, channels=3, height=48, width=64, where="x.png")
    assert caught.value.found == "12 x 9"
    assert "Nothing is resized silently" in str(caught.value)


def test_gray_file_and_colour_model():
    with pytest.raises(ImageError, match="cannot be an unmodified output of a colour model"):
        observed(noise(1), channels=3)


def test_colour_file_and_gray_model():
    read = observed(noise(3), channels=1)
    assert read.handling.kind.channels == 3
    assert read.handling.kind.model_channels == 1
    gray = smooth(1, 1, 9, 12)
    assert read.handling.operator(torch.from_numpy(gray).float()).shape == (1, 9 * 12 * 3)
    assert mean_squared(missed(read, gray)) > 1e-2
    assert read.observations.pixels.shape == (1, 1, 9, 12)
    expected = torch.from_numpy(noise(3)).double().mean(dim=2) / 255
    assert torch.allclose(read.observations.pixels[0, 0].double(), expected, atol=1e-6)
    own = read.handling.save(to_bytes(gray))
    assert own.low.shape == read.observations.low.shape
    values = read.handling.operator(torch.from_numpy(gray).float())
    assert (cell_residual(values, own.low, own.high, read.handling.slack) == 0).all()


def test_colour_file_without_colour_is_gray_to_a_gray_model():
    read = observed(np.repeat(noise(1), 3, axis=2), channels=1)
    plain = observed(noise(1), channels=1)
    assert read.transforms == ("three equal channels taken as one gray channel",)
    assert read.handling.kind == plain.handling.kind
    assert torch.equal(read.observations.low, plain.observations.low)
    colour = observed(np.repeat(noise(1), 3, axis=2), channels=3)
    assert colour.transforms == ()
    assert colour.handling.kind.channels == 3


def test_lossless_operator_under_forward_mode():
    read = observed(noise(3), channels=1)
    point = torch.rand(2, 1, 9, 12)

    def push(direction):
        return torch.func.jvp(read.handling.operator, (point,), (direction,))[1]

    directions = torch.randn(4, 2, 1, 9, 12)
    expected = 2 * directions.expand(-1, -1, 3, -1, -1).flatten(2)
    assert torch.allclose(torch.func.vmap(push)(directions), expected)


def test_residual_by_hand():
    low = torch.tensor([-torch.inf, -1.0, 0.0, 2.0])
    high = torch.tensor([0.0, 1.0, 0.0, torch.inf])
    values = torch.tensor([[-9.0, 1.5, 0.25, 1.0], [0.5, -3.0, 0.0, 7.0]])
    assert cell_residual(values, low, high).tolist() == [[0, 0.5, 0.25, -1.0], [0.5, -2.0, 0, 0]]
    slack = cell_residual(values, low, high, 0.5).tolist()
    assert slack == [[0, 0, 0, -0.5], [0, -1.5, 0, 0]]
    squares = mean_squared(cell_residual(values, low, high))
    assert squares.dtype == torch.float64
    assert squares.tolist() == [(0.25 + 0.0625 + 1) / 4, (0.25 + 4) / 4]


def test_residual_of_nan_is_nan():
    assert cell_residual(torch.tensor([torch.nan]), torch.zeros(1), torch.ones(1)).isnan().all()


def test_residual_has_clean_derivatives():
    low, high = torch.tensor([-torch.inf, 0.0, 0.0]), torch.tensor([0.0, 1.0, torch.inf])
    values = torch.tensor([5.0, 0.5, -2.0])

    def residual(v):
        return cell_residual(v, low, high)

    assert torch.func.jacfwd(residual)(values).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert torch.func.jacrev(residual)(values).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_observations_move_and_slice():
    handling = build_handling(lossless_kind(channels=3, height=4, width=4, rounding="round"))
    saved = handling.save(to_bytes(smooth(5, 3, 4, 4)))
    assert len(saved) == 5
    assert len(saved[torch.tensor([0, 3])]) == 2
    assert saved.to("cpu").low.shape == (5, 48)
    assert handling.to("meta").device.type == "meta"
    assert handling.device.type == "cpu"
    jpeg = build_handling(jpeg_kind(8, 8, "gray", 75)).to("meta")
    assert jpeg.operator(torch.rand(1, 1, 8, 8, device="meta")).shape == (1, 64)
    assert handling.indistinguishable(to_bytes(smooth(1, 3, 4, 4))) == {}


def test_kinds_survive_the_wire():
    for kind in (
        lossless_kind(channels=1, height=28, width=28, rounding="truncate", file_channels=3),
        jpeg_kind(28, 30, "gray", 75),
        jpeg_kind(28, 30, "ycc422", 20, orientation=6),
    ):
        wire = kind.to_wire()
        assert ObservationKind.model_validate_json(kind.model_dump_json(exclude_none=True)) == kind
        assert ("lumaTable" in wire) == (kind.family == "jpeg")
        assert re.fullmatch("[0-9a-f]{64}", kind.digest())
    assert jpeg_kind(28, 28, "gray", 75).digest() != jpeg_kind(28, 28, "gray", 76).digest()


LOSSLESS = {
    "family": "lossless",
    "channels": 3,
    "height": 8,
    "width": 8,
    "model_channels": 3,
    "rounding": "round",
}


@pytest.mark.parametrize(
    "change",
    [
        {"rounding": None},
        {"channels": 1},
        {"channels": 4},
        {"height": 0},
        {"components": "gray"},
        {"quality": 75},
        {"orientation": 1},
        {"family": "jpeg"},
        {"surplus": 1},
    ],
)
def test_contradictory_kinds(change):
    ObservationKind.model_validate(LOSSLESS)
    with pytest.raises(ValidationError):
        ObservationKind.model_validate({**LOSSLESS, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"luma_table": (1,) * 63},
        {"luma_table": (0,) * 64},
        {"luma_table": (256,) * 64},
        {"chroma_table": None},
        {"components": "gray"},
        {"orientation": None},
        {"orientation": 9},
        {"rounding": "round"},
    ],
)
def test_contradictory_jpeg_kinds(change):
    good = jpeg_kind(8, 8, "ycc420", 75).model_dump()
    ObservationKind.model_validate(good)
    with pytest.raises(ValidationError):
        ObservationKind.model_validate({**good, **change})
