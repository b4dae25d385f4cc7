"""Pictures that are not plain 8-bit pixels: taken by a recorded transform, or refused."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from typing import Any

import picture_parts as p
from file_cases import FileCase, add_file, refused

#: Three wide, two high, no symmetry: each of the eight orientations is another picture.
LEVELS = [[10, 60, 110], [160, 200, 240]]
ROWS = [bytes(row) for row in LEVELS]
COLOURS: p.Colour = [[(1, 2, 3), (40, 50, 60)], [(200, 100, 0), (7, 255, 9)]]
COLOUR_ROWS = [bytes(sample for pixel in row for sample in pixel) for row in COLOURS]
ALL_GRAYS = bytes(level for level in range(256) for _ in range(3))

no = functools.partial(refused, "image")


def taken(
    name: str,
    about: str,
    file: str,
    build: Callable[[], bytes],
    pixels: p.Gray | p.Colour,
    **more: Any,
) -> None:
    """Register a picture that is taken, and what is recorded of it."""
    expect = {"outcome": "taken", "pixels": p.digest(pixels), "transforms": [], "cautions": []}
    add_file(FileCase("image", name, about, file, build, expect | more))


def spread(levels: p.Gray) -> p.Gray:
    """The pixels of a JPEG of one level a block."""
    return [[level for level in row for _ in range(8)] for row in levels for _ in range(8)]


taken("gray", "A plain PNG.", "a.png", lambda: p.png((3, 2), 8, 0, ROWS), LEVELS, format="PNG")
taken(
    "colour", "A plain PNG.", "a.png", lambda: p.png((2, 2), 8, 2, COLOUR_ROWS), COLOURS,
    format="PNG",
)  # fmt: skip
taken("gray-jpeg", "A plain JPEG.", "a.jpg", lambda: p.jpeg(LEVELS), spread(LEVELS), format="JPEG")

for turn in range(1, 9):
    known: dict[str, Any] = {"orientation": turn}
    if turn > 1:
        known["transforms"] = [f"EXIF orientation {turn} applied"]
        known["cautions"] = [
            f"EXIF orientation {turn}: as stored and as displayed are different pictures; "
            "only the picture as displayed was searched"
        ]
    taken(
        f"orientation-{turn}-jpeg",
        "The camera's orientation is applied; another than 1 forbids the finding `excluded`.",
        "a.jpg",
        lambda turn=turn: p.jpeg(LEVELS, app1=p.exif(turn)),  # type: ignore[misc]
        p.turned(spread(LEVELS), turn),
        **known,
    )
    taken(
        f"orientation-{turn}-png",
        "As in a JPEG.",
        "a.png",
        lambda turn=turn: p.png((3, 2), 8, 0, ROWS, p.chunk(b"eXIf", p.exif(turn))),  # type: ignore[misc]
        p.turned(LEVELS, turn),
        **known,
    )
taken(
    "orientation-9",
    "An orientation that does not exist is ignored, and that is recorded.",
    "a.png",
    lambda: p.png((3, 2), 8, 0, ROWS, p.chunk(b"eXIf", p.exif(9))),
    LEVELS,
    transforms=["a meaningless EXIF orientation was ignored"],
)


def with_profile(space: bytes, name: bytes) -> bytes:
    profile = b"x\0\0" + p.stored(p.icc(space, name))
    if space == b"GRAY":
        return p.png((3, 2), 8, 0, ROWS, p.chunk(b"iCCP", profile))
    return p.png((2, 2), 8, 2, COLOUR_ROWS, p.chunk(b"iCCP", profile))


def recorded(family: str, profile: bytes) -> list[str]:
    digest = p.hashlib.sha256(profile).hexdigest()[:16]
    return [f"ICC profile ({family}, sha256 {digest}...) recorded, not applied"]


taken(
    "icc-srgb", "A profile is recorded and never applied.", "a.png",
    lambda: with_profile(b"RGB ", b"sRGB IEC61966-2.1"), COLOURS,
    transforms=recorded("sRGB", p.icc(b"RGB ", b"sRGB IEC61966-2.1")),
)  # fmt: skip
taken(
    "icc-gray", "A gray profile leaves the numbers alone.", "a.png",
    lambda: with_profile(b"GRAY", b"Dot Gain 20%"), LEVELS,
    transforms=recorded("gray", p.icc(b"GRAY", b"Dot Gain 20%")),
)  # fmt: skip
taken(
    "icc-other", "Numbers may have been converted to another space: never `excluded`.", "a.png",
    lambda: with_profile(b"RGB ", b"Display P3"), COLOURS,
    transforms=recorded("other", p.icc(b"RGB ", b"Display P3")),
    cautions=[
        "the file carries a colour profile that is neither sRGB nor gray; "
        "its numbers may have been converted to it"
    ],
)  # fmt: skip


def with_alpha(last: int) -> bytes:
    rows = [b"".join(bytes((*pixel, 255)) for pixel in row) for row in COLOURS]
    rows[-1] = rows[-1][:-1] + bytes([last])
    return p.png((2, 2), 8, 6, rows)


taken(
    "alpha-opaque", "An alpha channel that says nothing is dropped.", "a.png",
    lambda: with_alpha(255), COLOURS, transforms=["alpha channel dropped: opaque everywhere"],
)  # fmt: skip
no(
    "alpha-used", "One pixel in four lets through what is not in the file.", "a.png",
    lambda: with_alpha(254), says="1 pixels that are not",
)  # fmt: skip
no(
    "transparent-colour", "A colour that occurs is called transparent.", "a.png",
    lambda: p.png((2, 2), 8, 2, COLOUR_ROWS, p.chunk(b"tRNS", b"\0\1\0\2\0\3")),
    says="transparent",
)  # fmt: skip


def sixteen(low: int) -> bytes:
    rows = [b"".join(bytes((level, level)) for level in row) for row in LEVELS]
    rows[-1] = rows[-1][:-1] + bytes([low])
    return p.png((3, 2), 16, 0, rows)


taken(
    "sixteen-bits-exact", "Multiples of 257 are bytes written twice.", "a.png",
    lambda: sixteen(240), LEVELS,
    transforms=["16-bit samples, all multiples of 257, divided by 257"],
)  # fmt: skip
no(
    "sixteen-bits-used", "One sample is no byte written twice.", "a.png", lambda: sixteen(241),
    says="more than 8 bits per sample",
)  # fmt: skip


def with_palette(colours: bytes, indices: list[bytes]) -> bytes:
    return p.png((2, 2), 8, 3, indices, p.chunk(b"PLTE", colours))


INDICES = [b"\0\1", b"\2\3"]
taken(
    "palette-colour", "Expanded; an output would have been reduced to it: never `excluded`.",
    "a.png", lambda: with_palette(b"".join(COLOUR_ROWS), INDICES), COLOURS,
    transforms=["palette expanded"],
    cautions=[
        "stored with a palette of at most 256 colours: an output would have been reduced to it"
    ],
)  # fmt: skip
taken(
    "palette-of-all-grays", "The 256 grays in order reduce nothing.", "a.png",
    lambda: with_palette(ALL_GRAYS, INDICES), [[0, 1], [2, 3]],
    transforms=["palette expanded to gray"],
)  # fmt: skip
REDUCED_GRAYS = (
    "stored with a palette that is not the 256 grays in order: "
    "an output would have been reduced to it"
)
taken(
    "palette-of-some-grays", "A gray picture reduced to three levels: never `excluded`.", "a.png",
    lambda: with_palette(b"\0\0\0\x80\x80\x80\xff\xff\xff", [b"\0\1", b"\2\1"]),
    [[0, 128], [255, 128]],
    transforms=["palette expanded to gray"], cautions=[REDUCED_GRAYS],
)  # fmt: skip
taken(
    "gif-of-all-grays", "A GIF that lost nothing.", "a.gif",
    lambda: p.gif((3, 2), ALL_GRAYS, b"".join(ROWS)), LEVELS, format="GIF",
)  # fmt: skip
taken(
    "shallow", "Four bits per sample: an output would have been reduced to fit.", "a.png",
    lambda: p.png((2, 1), 4, 0, [b"\x0f"]), [[0, 255]],
    transforms=["4-bit gray expanded to 8 bits"],
    cautions=["stored with 4 bits per sample: an output would have been reduced to fit"],
)  # fmt: skip
no(
    "cmyk", "Four inks; any conversion would be a guess.", "a.jpg",
    lambda: p.jpeg(LEVELS, components=4), says="CMYK",
)  # fmt: skip
no(
    "bmp-16-bits-a-pixel", "Five bits per colour.", "a.bmp",
    lambda: p.bmp((2, 1), 16, b"\1\2\3\4"), says="5 or 6 bits",
)  # fmt: skip
no(
    "webp-lossy", "Its decoded pixels are not the model's.", "a.webp", lambda: p.WEBP_LOSSY,
    says="lossy",
)  # fmt: skip


# --- more than one frame


def animated_png() -> bytes:
    control = p.chunk(b"acTL", struct.pack(">II", 2, 0))
    first = p.chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 3, 2, 0, 0, 1, 10, 0, 0))
    whole = p.png((3, 2), 8, 0, ROWS, control, first)
    second = p.chunk(b"fcTL", struct.pack(">IIIIIHHBB", 1, 3, 2, 0, 0, 1, 10, 0, 0))
    data = p.chunk(b"fdAT", struct.pack(">I", 2) + p.stored(b"\0\0\0\0" * 2))
    return whole[:-12] + second + data + whole[-12:]


def animated_webp() -> bytes:
    frame = p.WEBP_LOSSLESS[12:]
    frames = b"".join(_riff(b"ANMF", b"\0" * 16 + frame) for _ in range(2))
    extended = _riff(b"VP8X", b"\x02\0\0\0" + b"\0" * 6)
    return _riff(b"RIFF", b"WEBP" + extended + _riff(b"ANIM", b"\0" * 6) + frames)


def _riff(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


no("animated-png", "Two frames, of which most viewers show both.", "a.png", animated_png,
   says="animated")  # fmt: skip
no("animated-gif", "Two frames.", "a.gif",
   lambda: p.gif((3, 2), ALL_GRAYS, b"".join(ROWS), b"".join(ROWS)[::-1]),
   says="animated")  # fmt: skip
no("animated-webp", "Two frames.", "a.webp", animated_webp, says="animated")


# --- cut, changed and lying


no("truncated-png", "Without its last chunk.", "a.png",
   lambda: p.png((3, 2), 8, 0, ROWS)[:-12], says="cut short")  # fmt: skip
no("truncated-png-rows", "The stream ends properly where the last row should begin.", "a.png",
   lambda: p.png((3, 3), 8, 0, ROWS), says="rows of the PNG are missing")  # fmt: skip
no("truncated-jpeg", "Without the end of its scan.", "a.jpg",
   lambda: p.jpeg(LEVELS)[:-4], says="damaged")  # fmt: skip
no("truncated-gif", "Without its trailer.", "a.gif",
   lambda: p.gif((3, 2), ALL_GRAYS, b"".join(ROWS))[:-1], says="cut short")  # fmt: skip
no("png-checksum", "A pixel was changed after the checksum.", "a.png",
   lambda: p.png((3, 2), 8, 0, ROWS).replace(ROWS[0], bytes(3)), says="checksum")  # fmt: skip
taken(
    "mislabelled-png-as-jpg", "The content counts, and the name is recorded.", "a.jpg",
    lambda: p.png((3, 2), 8, 0, ROWS), LEVELS, format="PNG",
    transforms=["named .jpg, but the content is PNG and was read as that"],
)  # fmt: skip
no("mislabelled-tiff-as-png", "A format that is not taken, whatever its name.", "a.png",
   lambda: b"II*\0\x08\0\0\0" + bytes(64), says="TIFF")  # fmt: skip
no("mislabelled-html-as-jpg", "A web page saved as a picture.", "a.jpg",
   lambda: b"<!doctype html><title>Not found</title>", says="unknown content")  # fmt: skip
no("bomb-png-header", "A header of 60000 x 60000 before a few bytes.", "a.png",
   lambda: p.png((60000, 60000), 8, 0, ROWS), says="too large")  # fmt: skip
no("bomb-jpeg-header", "The largest size that a JPEG can state.", "a.jpg",
   lambda: p.jpeg(LEVELS).replace(struct.pack(">BHH", 8, 16, 24), b"\x08\xff\xff\xff\xff"),
   says="too large")  # fmt: skip
no("bomb-gif-header", "A screen of 65535 x 65535.", "a.gif",
   lambda: p.gif((3, 2), ALL_GRAYS, b"".join(ROWS)).replace(
       struct.pack("<HH", 3, 2), b"\xff\xff\xff\xff"), says="too large")  # fmt: skip
no("bomb-bmp-header", "A picture of 100000 x 100000.", "a.bmp",
   lambda: p.bmp((100000, 100000), 24, bytes(16)), says="too large")  # fmt: skip
