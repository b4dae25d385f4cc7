"""Bytes of an unknown file to canonical 8-bit pixels, or a refusal. Nothing is guessed.

Whatever is done on the way is recorded in `Picture.transforms`; whatever forbids concluding that
a model did not make the picture is in `Picture.cautions`. Content decides what a file is, never
its name. Decoding is Pillow's, after the container's own claims were checked.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, WebPImagePlugin  # noqa: F401 - the last registers its decoder

from deniability.errors import DeniabilityError, ImageError
from deniability.imaging.colour import describe_colour_space
from deniability.imaging.containers import SAVE_AS_PNG, Container, damaged, inspect_container
from deniability.imaging.png_rows import check_rows
from deniability.imaging.samples import canonical_samples

#: Default cap on width x height, checked before anything is decoded.
MAX_PIXELS = 2**26
#: Cap on pixels x scans: a progressive JPEG can ask for as many passes as it likes.
MAX_WORK = 2**31

_EXTENSIONS = {
    "png": "PNG",
    "apng": "PNG",
    "jpg": "JPEG",
    "jpeg": "JPEG",
    "jpe": "JPEG",
    "jfif": "JPEG",
    "bmp": "BMP",
    "dib": "BMP",
    "gif": "GIF",
    "pgm": "PPM",
    "ppm": "PPM",
    "pnm": "PPM",
    "pbm": "PPM",
    "webp": "WEBP",
}
_ORIENTATION_TAG = 0x0112
#: What a viewer does for EXIF orientations 2 to 8 (Exif 2.32, section 4.6.4).
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Picture:
    """A decoded file.

    Attributes:
        pixels: H x W x C uint8, C 1 or 3, as displayed.
        file_sha256: hex sha256 of the file.
        format: "PNG", "JPEG", "BMP", "GIF", "PPM" or "WEBP", by content.
        transforms: what was done to get from the file to the pixels, in order.
        canonical_digest: hex sha256 of the pixels (`canonical_digest`).
        cautions: facts that forbid the finding `excluded`.
        orientation: EXIF orientation 1..8 that was applied; 1 is none.

    """

    pixels: npt.NDArray[np.uint8]
    file_sha256: str
    format: str
    transforms: tuple[str, ...]
    canonical_digest: str
    cautions: tuple[str, ...]
    orientation: int = 1

    @property
    def height(self) -> int:
        """Rows as displayed."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns as displayed."""
        return int(self.pixels.shape[1])

    @property
    def channels(self) -> int:
        """1 (gray) or 3 (red, green, blue)."""
        return int(self.pixels.shape[2])


def canonical_digest(pixels: npt.NDArray[np.uint8]) -> str:
    r"""Digest pixels independently of the file they came from.

    sha256 over `deniability/pixels/v1\n`, then width, height and channels in decimal separated
    by single spaces and followed by `\n`, then one byte per sample: rows from top to bottom,
    columns from left to right, channels gray or red, green, blue.

    Args:
        pixels: H x W x C uint8.

    Returns:
        64 lower-case hex digits.

    """
    height, width, channels = pixels.shape
    digest = hashlib.sha256(b"deniability/pixels/v1\n")
    digest.update(f"{width} {height} {channels}\n".encode("ascii"))
    digest.update(np.ascontiguousarray(pixels).tobytes())
    return digest.hexdigest()


def decode_picture(data: bytes, *, where: str, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode one picture, or refuse it.

    Args:
        data: the whole file.
        where: name of the file, for errors and to notice a misleading extension.
        max_pixels: cap on width x height.

    Raises:
        ImageError: unknown, damaged, animated, too large, transparent, CMYK, more than 8 bits...
            Nothing else is ever raised for any bytes.

    """
    container = inspect_container(data, where=where)
    if container.size is not None:
        _check_size(container.size, container, where, max_pixels)
    if container.format == "PNG":
        check_rows(data, where=where)
    with _pillow(where) as heard:
        image = Image.open(io.BytesIO(data), formats=(container.format,))
        with image:
            _check_size(image.size, container, where, max_pixels)
            _check_frames(image, where)
            image.load()
            colour_notes, colour_cautions = describe_colour_space(image.info)
            pixels, notes, cautions = canonical_samples(image, container, data, where=where)
            orientation, orientation_notes, orientation_cautions = _orientation(image)
            pixels = displayed(pixels, orientation)
    pixels.flags.writeable = False
    return Picture(
        pixels=pixels,
        file_sha256=hashlib.sha256(data).hexdigest(),
        format=container.format,
        transforms=(
            *_name_notes(where, container.format),
            *colour_notes,
            *notes,
            *orientation_notes,
        ),
        canonical_digest=canonical_digest(pixels),
        cautions=(
            *container.cautions,
            *colour_cautions,
            *cautions,
            *orientation_cautions,
            *heard,
        ),
        orientation=orientation,
    )


@contextmanager
def _pillow(where: str) -> Iterator[list[str]]:
    """Turn everything Pillow raises into an `ImageError`, and what it warns of into cautions."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ImageError(
            "this process asked Pillow to accept truncated files",
            where=where,
            hint="Leave PIL.ImageFile.LOAD_TRUNCATED_IMAGES at False.",
        )
    heard: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield heard
        except DeniabilityError:
            raise
        except (Image.DecompressionBombError, MemoryError) as error:
            raise _too_large(where, "more than memory should be given to") from error
        except Exception as error:
            raise damaged(f"it cannot be decoded ({_plain(error)})", where=where) from error
    ignored = (Image.DecompressionBombWarning, DeprecationWarning)  # the cap is ours
    heard.extend(
        f"the decoder warned: {_plain(warning.message)}"
        for warning in caught
        if not issubclass(warning.category, ignored)
    )


def _plain(message: object) -> str:
    """Text of somebody else's message, safe to show: one line of printable ASCII."""
    text = " ".join(str(message).split()) or type(message).__name__
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:200].rstrip(".")


def _too_large(where: str, found: str, max_pixels: int = MAX_PIXELS) -> ImageError:
    return ImageError(
        "the picture is too large to be decoded safely",
        where=where,
        expected=f"at most {max_pixels} pixels",
        found=found,
        hint="No generator makes such a picture in one piece; is this the right file?",
    )


def _check_size(size: tuple[int, int], container: Container, where: str, max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise damaged("it has no pixels", where=where)
    if width * height > max_pixels:
        raise _too_large(where, f"{width} x {height}", max_pixels)
    if width * height * container.work > MAX_WORK:
        raise _too_large(where, f"{width} x {height} in {container.work} scans", max_pixels)


def _check_frames(image: Image.Image, where: str) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames != 1:
        raise ImageError(
            "the file holds several pictures",
            where=where,
            expected="one frame",
            found=f"{frames}",
            hint=SAVE_AS_PNG,
        )


def _name_notes(where: str, found: str) -> tuple[str, ...]:
    extension = where.rpartition(".")[2].lower()
    named = _EXTENSIONS.get(extension)
    if named in (None, found):
        return ()
    return (f"named .{extension}, but the content is {found} and was read as that",)


def _orientation(image: Image.Image) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    """Orientation, notes and cautions. An unreadable EXIF block is a caution, not an error."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001 - Pillow parses hostile EXIF with whatever it raises
        caution = "the EXIF block cannot be read, so how the picture is displayed is not known"
        return 1, (), (caution,)
    if value == 1:
        return 1, (), ()
    if not isinstance(value, int) or value not in _TRANSPOSE:
        return 1, ("a meaningless EXIF orientation was ignored",), ()
    note = f"EXIF orientation {value} applied"
    caution = (
        f"EXIF orientation {value}: as stored and as displayed are different pictures; "
        "only the picture as displayed was searched"
    )
    return value, (note,), (caution,)


def displayed(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Turn H x W x C as stored into H' x W' x C as displayed, for an EXIF orientation 1 to 8."""
    if orientation == 1:
        return pixels
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    turned = np.asarray(image.transpose(_TRANSPOSE[orientation]))
    return np.ascontiguousarray(turned.reshape(turned.shape[0], turned.shape[1], -1))
