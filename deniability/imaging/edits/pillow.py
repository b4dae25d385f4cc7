"""Between our arrays and Pillow's images."""

from __future__ import annotations

import numpy as np
from PIL import Image

from deniability.imaging.edits.edit import Picture8


def as_image(picture: Picture8) -> Image.Image:
    """Return `C x H x W` uint8 as Pillow takes it."""
    if picture.shape[0] == 1:
        return Image.fromarray(picture[0])
    return Image.fromarray(np.ascontiguousarray(np.moveaxis(picture, 0, 2)))


def as_picture(image: Image.Image) -> Picture8:
    """Return a Pillow image (L or RGB) as `C x H x W` uint8."""
    pixels = np.asarray(image)
    return np.array(pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0), order="C")
