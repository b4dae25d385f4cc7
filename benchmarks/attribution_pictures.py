"""Pictures of the attribution benchmark: own outputs, and what was done to them.

The handling here is Pillow's and numpy's, not what the search models it by.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from attribution_search import pixel_handling, procedure_of
from PIL import Image, ImageFilter
from setting import Setting
from torch import Tensor

from deniability.crypto.seeds import derive_seed
from deniability.evidence.calibrate import own_pictures
from deniability.generators.entropy import latents_from_seed
from deniability.imaging.decode import decode_picture
from deniability.imaging.handling import Handling, Observations, Pixels
from deniability.imaging.jpeg import observe_jpeg
from deniability.imaging.observation import build_handling
from deniability.wire.edits import EditName

#: Changes a picture of Pillow's; random parts come from the stream.
Change = Callable[[Image.Image, np.random.Generator], Image.Image]


@dataclass(frozen=True)
class Drawn:
    """Own outputs of several models.

    Attributes:
        pixels: `N x C x H x W` uint8.
        truth: which model made each.
        latents: of each, `d`.

    """

    pixels: Pixels
    truth: list[int]
    latents: list[Tensor]


def drawn(settings: Sequence[Setting], role: str, start: int, stop: int) -> Drawn:
    """Make the pictures `start` to `stop` of a role; models take turns."""
    truth = [number % len(settings) for number in range(start, stop)]
    pictures, latents = [], []
    for number, model in zip(range(start, stop), truth, strict=True):
        setting = settings[model]
        seed = derive_seed(role=role, weights="0" * 64, protocol="0" * 64, index=number)
        latent = torch.from_numpy(latents_from_seed(setting.generator.spec, seed))
        latents.append(latent)
        pictures.append(own_pictures(procedure_of(setting), latent[None])[0])
    return Drawn(np.stack(pictures), truth, latents)


@dataclass(frozen=True)
class Handled:
    """A way of handling, at one strength.

    Attributes:
        family: as in the table.
        strength: in words.
        edit: the family of `deny` that is searched; None for what has a cell of its own (JPEG).
        change: what is done before the picture is stored without loss; None: nothing.
        quality: of the JPEG file in which it is stored instead.
        inside: whether the strength lies in the family's bin.

    """

    family: str
    strength: str
    edit: EditName | None
    change: Change | None = None
    quality: int | None = None
    inside: bool = True

    @property
    def name(self) -> str:
        """Of the cell of the table."""
        return f"{self.family} {self.strength}"

    def observed(self, setting: Setting, pixels: Pixels) -> tuple[Handling, Observations, Pixels]:
        """Handle pictures; return how they are searched, what they say, and how they look."""
        stream = np.random.default_rng(int.from_bytes(self.name.encode(), "big") % 2**32)
        changed = pixels
        if self.change is not None:
            images = [self.change(as_image(picture), stream) for picture in pixels]
            changed = np.stack([np.moveaxis(np.asarray(image), 2, 0) for image in images])
        if self.quality is not None:
            return _in_jpeg(changed, self.quality)
        stored = pixel_handling(setting)
        kind = stored.kind.edited(self.edit, height=stored.kind.height, width=stored.kind.width)
        handling = build_handling(kind)
        return handling, handling.shown(stored.observations(changed)), changed


def _in_jpeg(pixels: Pixels, quality: int) -> tuple[Handling, Observations, Pixels]:
    read, looks = [], []
    for picture in pixels:
        data = _encoded(as_image(picture), "JPEG", quality)
        decoded = decode_picture(data, where="picture")
        one = observe_jpeg(decoded, data, model_channels=3, where="picture", device="cpu").found
        assert one is not None, "Pillow's own JPEGs have a cell"
        read.append(one)
        looks.append(np.moveaxis(decoded.pixels, 2, 0))
    parts = [observations for _, observations in read]
    joined = Observations(
        *(torch.cat([vars(part)[name] for part in parts]) for name in vars(parts[0]))
    )
    return read[0][0], joined, np.stack(looks)


def as_image(picture: Pixels) -> Image.Image:
    """Return `3 x H x W` uint8 as Pillow takes it."""
    return Image.fromarray(np.ascontiguousarray(np.moveaxis(picture, 0, 2)))


def _encoded(image: Image.Image, form: str, quality: int, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, form, quality=quality, **options)
    return target.getvalue()


def _decoded(form: str, quality: int, **options: object) -> Change:
    def change(image: Image.Image, _: np.random.Generator) -> Image.Image:
        with Image.open(io.BytesIO(_encoded(image, form, quality, **options))) as decoded:
            return decoded.convert("RGB")

    return change


def _scaled(side: int, there: Image.Resampling, back: Image.Resampling) -> Change:
    return lambda image, _: image.resize((side, side), there).resize(image.size, back)


def _cropped(share: float) -> Change:
    def change(image: Image.Image, stream: np.random.Generator) -> Image.Image:
        cut = share * image.width
        left, top = stream.uniform(0, cut, size=2)
        box = (left, top, left + image.width - cut, top + image.height - cut)
        return image.resize(image.size, Image.Resampling.BICUBIC, box=box)

    return change


def _padded(pixels: int) -> Change:
    def change(image: Image.Image, _: np.random.Generator) -> Image.Image:
        padded = Image.new("RGB", image.size)
        box = (pixels, pixels, image.width - pixels, image.height - pixels)
        padded.paste(image.crop(box), box)
        return padded

    return change


def _shifted(pixels: int) -> Change:
    def change(image: Image.Image, stream: np.random.Generator) -> Image.Image:
        across, down = pixels * stream.choice([-1, 1], size=2)
        shifted = Image.new("RGB", image.size)
        shifted.paste(image, (int(across), int(down)))
        return shifted

    return change


def _rotated(degrees: float) -> Change:
    return lambda image, stream: image.rotate(
        degrees * float(stream.choice([-1, 1])), resample=Image.Resampling.BICUBIC
    )


def _flipped(image: Image.Image, _: np.random.Generator) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _blurred(radius: float) -> Change:
    return lambda image, _: image.filter(ImageFilter.GaussianBlur(radius))


def _pixelwise(formula: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Change:
    """Apply a formula to values in [0, 1] and round."""

    def change(image: Image.Image, stream: np.random.Generator) -> Image.Image:
        values = formula(np.asarray(image).astype(np.float64) / 255, stream)
        return Image.fromarray(np.rint(values.clip(0, 1) * 255).astype(np.uint8))

    return change


def _noisy(steps: float) -> Change:
    return _pixelwise(lambda v, stream: v + stream.normal(0, steps / 255, v.shape))


def _saturated(factor: float) -> Change:
    return _pixelwise(
        lambda v, _: (v @ (0.299, 0.587, 0.114))[..., None] * (1 - factor) + factor * v
    )


def _reduced(colours: int) -> Change:
    return lambda image, _: image.quantize(
        colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
    ).convert("RGB")


def _patched(share: float) -> Change:
    def change(image: Image.Image, stream: np.random.Generator) -> Image.Image:
        side = round(share * image.width)
        left, top = stream.integers(0, image.width - side + 1, size=2)
        colour = tuple(int(c) for c in stream.integers(0, 256, size=3))
        covered = image.copy()
        covered.paste(colour, (int(left), int(top), int(left) + side, int(top) + side))
        return covered

    return change


def _captioned(share: float) -> Change:
    def change(image: Image.Image, stream: np.random.Generator) -> Image.Image:
        high = round(share * image.height)
        dots = 255 * stream.integers(0, 2, size=(high, image.width, 1), dtype=np.uint8)
        covered = image.copy()
        covered.paste(Image.fromarray(np.repeat(dots, 3, axis=2)), (0, image.height - high))
        return covered

    return change


_SOFT, _SHARP, _FINE = (
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
)
#: Every cell of the table of handlings.
HANDLED: tuple[Handled, ...] = (
    *(Handled("JPEG file", f"quality {q}", None, quality=q) for q in (95, 75, 50, 30)),
    Handled("JPEG, decoded", "quality 90, 4:4:4", "jpeg-444-85-95",
            _decoded("JPEG", 90, subsampling="4:4:4")),
    Handled("JPEG, decoded", "quality 75", "jpeg-420-70-84", _decoded("JPEG", 75)),
    Handled("JPEG, decoded", "quality 40", "jpeg-420-30-49", _decoded("JPEG", 40)),
    Handled("WebP", "quality 80", "webp-60-95", _decoded("WEBP", 80)),
    Handled("WebP", "quality 40", "webp-30-59", _decoded("WEBP", 40)),
    Handled("scaled and back", "to 1.5", "enlarged", _scaled(48, _FINE, _SOFT)),
    Handled("scaled and back", "to three quarters", "halved", _scaled(24, _SHARP, _SHARP)),
    Handled("scaled and back", "to a half", "halved", _scaled(16, _SOFT, _SHARP)),
    Handled("cropped and enlarged", "by 0.05", "cropped", _cropped(0.05)),
    Handled("cropped and enlarged", "by 0.1", "cropped", _cropped(0.1)),
    Handled("cropped and enlarged", "by 0.2", "cropped", _cropped(0.2)),
    Handled("cropped and padded", "1 pixel", "bordered", _padded(1)),
    Handled("cropped and padded", "2 pixels", "bordered", _padded(2)),
    Handled("cropped and padded", "4 pixels", "bordered", _padded(4), inside=False),
    Handled("shifted", "1 pixel", "shifted", _shifted(1)),
    Handled("shifted", "2 pixels", "shifted", _shifted(2)),
    Handled("shifted", "4 pixels", "shifted", _shifted(4), inside=False),
    Handled("flipped", "left to right", "mirrored", _flipped),
    Handled("blurred", "radius 0.5", "blurred-box", _blurred(0.5)),
    Handled("blurred", "radius 1", "blurred-box", _blurred(1)),
    Handled("blurred", "radius 1.5", "blurred-box", _blurred(1.5)),
    Handled("noise", "2 steps", "noisy", _noisy(2)),
    Handled("noise", "4 steps", "noisy", _noisy(4)),
    Handled("noise", "12 steps", "noisy", _noisy(12), inside=False),
    Handled("noise", "24 steps", "noisy", _noisy(24), inside=False),
    Handled("brightness", "12 steps", "tone", _pixelwise(lambda v, _: v + 12 / 255)),
    Handled("brightness", "-24 steps", "tone", _pixelwise(lambda v, _: v - 24 / 255)),
    Handled("contrast", "0.8", "tone", _pixelwise(lambda v, _: 0.8 * (v - 0.5) + 0.5)),
    Handled("contrast", "1.2", "tone", _pixelwise(lambda v, _: 1.2 * (v - 0.5) + 0.5)),
    Handled("gamma", "1.25", "tone", _pixelwise(lambda v, _: v**1.25)),
    Handled("gamma", "0.8", "tone", _pixelwise(lambda v, _: v**0.8)),
    Handled("saturation", "0.7", "colour", _saturated(0.7)),
    Handled("palette", "256 colours", "palette", _reduced(256)),
    Handled("palette", "32 colours", "palette", _reduced(32), inside=False),
    Handled("patch", "sides 0.2", "patched", _patched(0.2)),
    Handled("patch", "sides 0.3", "patched", _patched(0.3)),
    Handled("caption", "height 0.1", "captioned", _captioned(0.1)),
    Handled("caption", "height 0.2", "captioned", _captioned(0.2)),
    Handled("rotated", "2 degrees", "rotated", _rotated(2)),
    Handled("rotated", "5 degrees", "rotated", _rotated(5)),
    Handled("rotated", "10 degrees", "rotated", _rotated(10), inside=False),
)  # fmt: skip


def by_turns(every: Sequence[Handled] = HANDLED) -> list[Handled]:
    """Return the cells in the order in which they are measured.

    First the strongest of each family inside its bin, then the next; what lies outside comes last.
    """
    order = []
    for one in every:
        inside = [each for each in every if each.family == one.family and each.inside]
        turn = inside[::-1].index(one) if one.inside else len(every)
        order.append((turn, one))
    return [one for _, one in sorted(order, key=lambda pair: pair[0])]
