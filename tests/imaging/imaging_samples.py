"""Small pictures and files for the imaging tests."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from deniability.errors import ImageError
from deniability.imaging.decode import decode_picture
from deniability.imaging.jpeg_tables import ijg_tables
from deniability.wire.observation import ObservationKind


def noise(channels=3, height=9, width=12, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, channels), dtype=np.uint8)


def smooth(count, channels, height, width, seed=0):
    """N x C x H x W float64 in [0, 1], not rounded to bytes."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(count * channels, height // 6 + 2, width // 6 + 2))
    planes = [
        np.asarray(
            Image.fromarray((128 + 45 * plane).astype(np.float32)).resize(
                (width, height), Image.Resampling.BICUBIC
            )
        )
        for plane in coarse
    ]
    stacked = np.stack(planes).reshape(count, channels, height, width)
    return np.clip(stacked.astype(np.float64) / 255, 0, 1)


def to_bytes(pictures):
    return np.rint(pictures * 255).astype(np.uint8)


def image_of(pixels):
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def encode(image, file_format, **options):
    if isinstance(image, np.ndarray):
        image = image_of(image)
    target = io.BytesIO()
    image.save(target, format=file_format, **options)
    return target.getvalue()


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width, height, bits, colour_type, rows, *extra):
    """A PNG from raw, unfiltered rows of bytes."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(extra)
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )


def jpeg_kind(height, width, components, quality, *, model_channels=None, orientation=1):
    luma, chroma = ijg_tables(quality)
    gray = components == "gray"
    return ObservationKind(
        family="jpeg",
        channels=1 if gray else 3,
        height=height,
        width=width,
        model_channels=model_channels or (1 if gray else 3),
        components=components,
        luma_table=luma,
        chroma_table=None if gray else chroma,
        quality=quality,
        orientation=orientation,
    )


def decode_or_refuse(data):
    """Decode hostile bytes; anything but a picture or an `ImageError` fails the test."""
    try:
        return decode_picture(data, where="hostile", max_pixels=2**16)
    except ImageError as error:
        if error.where != "hostile":
            raise AssertionError("the error does not name the file") from error
        return None
