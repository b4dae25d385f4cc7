"""A PNG that was a JPEG before says so; own outputs and photos that were none do not."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from deniability.generators.entropy import latents_from_seed
from deniability.generators.load import load_generator
from deniability.imaging.decode import decode_picture
from deniability.imaging.jpeg_traces import jpeg_quality_before
from deniability.imaging.observation import observe


@pytest.fixture(scope="module")
def outputs():
    """100 outputs of the built-in generator, N x 28 x 28 x 1."""
    generator = load_generator("builtin", device=torch.device("cpu"))
    seeds = [b"trace %d" % index for index in range(100)]
    latents = torch.from_numpy(np.stack([latents_from_seed(generator.spec, s) for s in seeds]))
    with torch.no_grad():
        pictures = generator(latents)
    return (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def through_jpeg(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, format="JPEG", **options)
    return np.asarray(Image.open(buffer)).reshape(pixels.shape)


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, format="PNG")
    return buffer.getvalue()


def colourful(seed):
    """A smooth colour picture without any grid, 64 x 64 x 3."""
    coarse = np.random.default_rng(seed).integers(0, 256, (13, 13, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC))


def test_own_outputs_show_no_traces(outputs):
    assert [jpeg_quality_before(pixels) for pixels in outputs] == [None] * len(outputs)


@pytest.mark.parametrize("quality", [50, 60, 75, 85, 90, 95])
def test_own_outputs_decoded_from_jpeg_show_them(outputs, quality):
    found = [jpeg_quality_before(through_jpeg(pixels, quality=quality)) for pixels in outputs]
    shown = [value for value in found if value is not None]
    assert len(shown) >= 95  # a nearly flat garment has too few coefficients
    assert abs(np.median(shown) - quality) <= 2


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
@pytest.mark.parametrize("quality", [50, 75, 92])
def test_colour_pictures_too(quality, subsampling):
    for seed in range(10):
        pixels = colourful(seed)
        assert jpeg_quality_before(pixels) is None
        saved = through_jpeg(pixels, quality=quality, subsampling=subsampling)
        assert jpeg_quality_before(saved) is not None


def test_pictures_that_cannot_show_any():
    for shape in [(7, 30, 1), (8, 8, 3), (64, 64, 3)]:
        assert jpeg_quality_before(np.full(shape, 77, dtype=np.uint8)) is None


def test_traces_forbid_a_denial(outputs):
    def cautions(pixels):
        data = png(pixels)
        picture = decode_picture(data, where="a.png")
        return observe(picture, data, channels=1, height=28, width=28, where="a.png").cautions

    assert cautions(outputs[0]) == ()
    (caution,) = cautions(through_jpeg(outputs[0], quality=75))
    assert "saved as JPEG before (quality about 7" in caution
