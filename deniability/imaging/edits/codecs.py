"""Compressed with loss, decoded, and stored again: the file shows the decoded pixels."""

from __future__ import annotations

import io
from typing import ClassVar

import numpy as np
from PIL import Image

from deniability.imaging.draws import shake256_uniform
from deniability.imaging.edits.edit import Edit, Picture8
from deniability.imaging.edits.pillow import as_image, as_picture
from deniability.imaging.jpeg_tables import ijg_tables
from deniability.imaging.jpeg_variants import encode_variant
from deniability.imaging.normal import Float64Array


class _Compressed(Edit):
    """Quality is drawn from a bin of whole numbers."""

    lowest: ClassVar[int]
    highest: ClassVar[int]

    def quality(self, seed: bytes) -> int:
        """Draw the quality."""
        (uniform,) = shake256_uniform(seed + b"/quality", 1)
        return self.lowest + int(uniform * (self.highest - self.lowest + 1))

    def apply(self, picture: Picture8, parameters: Float64Array, seed: bytes) -> Picture8:
        """Encode and decode."""
        del parameters
        file = self._encode(picture, self.quality(seed))
        with Image.open(io.BytesIO(file)) as image:
            return as_picture(image.convert("L" if picture.shape[0] == 1 else "RGB"))

    def _encode(self, picture: Picture8, quality: int) -> bytes:
        raise NotImplementedError


class JpegEdit(_Compressed):
    """By libjpeg-turbo, which Pillow uses.

    Attributes:
        subsampling: of chroma, "4:4:4" or "4:2:0".
        twice: whether the file is a JPEG as well, and both compressions are looked for in it.

    """

    subsampling: ClassVar[str]
    twice: ClassVar[bool] = False

    def _encode(self, picture: Picture8, quality: int) -> bytes:
        target = io.BytesIO()
        as_image(picture).save(target, "JPEG", quality=quality, subsampling=self.subsampling)
        return target.getvalue()


class OtherJpeg(JpegEdit):
    """By libjpeg 8 with the fast DCT, 4:2:0, quality 30 to 95."""

    lowest, highest, subsampling = 30, 95, "4:2:0"

    def _encode(self, picture: Picture8, quality: int) -> bytes:
        luma, chroma = ijg_tables(quality)
        gray = picture.shape[0] == 1
        (file,) = encode_variant(
            np.moveaxis(picture, 0, 2)[None],
            components="gray" if gray else "ycc420",
            luma=luma,
            chroma=None if gray else chroma,
        )
        return file


class OtherJpegTwice(OtherJpeg):
    """The same in front of another JPEG."""

    twice = True


class Trellis(Edit):
    """Nothing before it is stored: the difference is in how the file is encoded."""

    def apply(self, picture: Picture8, parameters: Float64Array, seed: bytes) -> Picture8:
        """Leave it alone."""
        del parameters, seed
        return picture


class _WebP(_Compressed):
    """By libwebp's lossy coder."""

    def _encode(self, picture: Picture8, quality: int) -> bytes:
        target = io.BytesIO()
        as_image(picture).convert("RGB").save(target, "WEBP", quality=quality)
        return target.getvalue()


def jpeg(subsampling: str, lowest: int, highest: int, *, twice: bool = False) -> type[JpegEdit]:
    """Return the family of JPEG with this subsampling ("4:4:4" or "4:2:0") and qualities."""
    bounds = {"lowest": lowest, "highest": highest, "subsampling": subsampling, "twice": twice}
    return type("Jpeg", (JpegEdit,), bounds)


def webp(lowest: int, highest: int) -> type[Edit]:
    """Return the family of lossy WebP with these qualities."""
    return type("WebP", (_WebP,), {"lowest": lowest, "highest": highest})
