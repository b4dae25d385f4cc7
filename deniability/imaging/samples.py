"""Decoded images of any mode to H x W x C bytes, exactly or not at all."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from deniability.errors import ImageError
from deniability.imaging.containers import SAVE_AS_PNG, Container

Samples = npt.NDArray[np.uint8]
#: Samples, notes, cautions.
Converted = tuple[Samples, tuple[str, ...], tuple[str, ...]]

_ALPHA_MODES = frozenset({"LA", "RGBA", "PA"})
#: The one palette that reduces nothing of a gray picture.
_ALL_GRAYS = [level for level in range(256) for _ in range(3)]
_REDUCED = "stored with a palette of at most 256 colours: an output would have been reduced to it"
_REDUCED_GRAYS = (
    "stored with a palette that is not the 256 grays in order: "
    "an output would have been reduced to it"
)


def canonical_samples(
    image: ImageFile.ImageFile, container: Container, data: bytes, *, where: str
) -> Converted:
    """Convert a loaded image to H x W x 1 or H x W x 3 uint8.

    Args:
        image: loaded by Pillow.
        container: what the file itself says.
        data: the whole file.
        where: name of the file, for errors.

    Returns:
        The samples, what was done, and what forbids `excluded`.

    """
    if container.bits == 16:
        return _sixteen_bits(image, data, where)
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        return _transparent(image, container, where)
    return _opaque(image, container, where)


def _opaque(image: Image.Image, container: Container, where: str) -> Converted:
    match image.mode:
        case "1":
            return _bytes(image.convert("L")), ("1-bit pixels expanded to 0 and 255",), _shallow(1)
        case "L":
            if container.bits < 8:
                note = f"{container.bits}-bit gray expanded to 8 bits"
                return _bytes(image), (note,), _shallow(container.bits)
            # Decoders show a palette of the grays 0 ... k in order as gray, not as a palette.
            return _bytes(image), (), () if container.colours == 256 else (_REDUCED_GRAYS,)
        case "P":
            return _palette(image, container)
        case "RGB":
            return _bytes(image), (), ()
        case mode:
            raise ImageError(
                "the picture is stored in a colour model that generators do not write",
                where=where,
                expected="gray or RGB, 8 bits",
                found=f"mode {mode}",
                hint="Converting it would change its numbers; ask for the original file.",
            )


def _bytes(image: Image.Image) -> Samples:
    array = np.array(image, dtype=np.uint8)
    return np.ascontiguousarray(array.reshape(image.height, image.width, -1))


def _shallow(bits: int) -> tuple[str, ...]:
    return (f"stored with {bits} bits per sample: an output would have been reduced to fit",)


def _palette(image: Image.Image, container: Container) -> Converted:
    """Expand a palette. Unless it is all grays in order, the picture was probably reduced."""
    pixels = _bytes(image.convert("RGB"))
    note = "palette expanded"
    if (pixels[..., :1] == pixels).all():
        complete = container.colours == 256 and image.getpalette("RGB") == _ALL_GRAYS
        cautions = () if complete else (_REDUCED_GRAYS,)
        return np.ascontiguousarray(pixels[..., :1]), (f"{note} to gray",), cautions
    return pixels, (note,), (_REDUCED,)


def _transparent(image: Image.Image, container: Container, where: str) -> Converted:
    """Drop an alpha channel (or transparent colour) that is opaque everywhere; refuse another."""
    alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    if alpha.min() != 255:
        raise ImageError(
            "the picture has transparent pixels, and what shows through them is not in the file",
            where=where,
            expected="every pixel opaque",
            found=f"{int((alpha != 255).sum())} pixels that are not",
            hint="Use the picture as it was received; do not flatten it.",
        )
    image.info.pop("transparency", None)
    opaque = {"LA": "L", "RGBA": "RGB", "PA": "P"}.get(image.mode)
    bare = image if opaque is None else image.convert(opaque)
    pixels, notes, cautions = _opaque(bare, container, where)
    return pixels, ("alpha channel dropped: opaque everywhere", *notes), cautions


def _sixteen_bits(image: Image.Image, data: bytes, where: str) -> Converted:
    """Convert the samples of a 16-bit PNG exactly (v = 257 b), or refuse them."""
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        raise ImageError(
            "16-bit samples with transparency are not taken",
            where=where,
            expected="8-bit gray or RGB",
            found=f"mode {image.mode}",
            hint=SAVE_AS_PNG,
        )
    if image.mode == "RGB":
        high, low = _bytes(image), _low_bytes(data)
    else:
        wide = np.asarray(image).astype(np.uint16)[..., None]
        high, low = (wide >> 8).astype(np.uint8), (wide & 255).astype(np.uint8)
    if not np.array_equal(high, low):
        raise ImageError(
            "the picture has more than 8 bits per sample, and uses them",
            where=where,
            expected="8 bits, or 16-bit samples that are all multiples of 257",
            hint="Rounding it here would be guessing; ask for the 8-bit file that was published.",
        )
    return high, ("16-bit samples, all multiples of 257, divided by 257",), ()


def _low_bytes(data: bytes) -> Samples:
    """Low bytes of a 16-bit RGB PNG, of which Pillow keeps the high ones.

    Decoded once more as if it were little-endian, the same file gives them.
    """
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
        image.load()
        return _bytes(image)
