"""What a file is, by its content, and what has to be known of it before a decoder sees it.

Pillow hides facts that matter here: that a PNG stored 16 bits, that a WebP is lossy, that a
file was cut after its last pixel. These are read from the containers themselves.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from deniability.errors import ImageError
from deniability.imaging.jpeg_markers import read_markers

#: What a user can do about a format that is not accepted.
SAVE_AS_PNG = "If the picture came as this file, save one frame as 8-bit PNG without converting it."

#: Other formats, by their first bytes, to name them in the refusal.
_NAMED = (
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"8BPS", "Photoshop document"),
    (b"%PDF", "PDF"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cjP", "JPEG 2000"),
    (b"\0\0\1\0", "icon"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML"),
    (b"PK\3\4", "ZIP archive"),
    (b"\x93NUMPY", "NumPy array"),
)

#: Most chunks of a PNG or WebP, and blocks of a GIF without pixels; no sane encoder comes near.
MAX_CHUNKS = 10_000
#: Most blocks of at most 255 bytes that a GIF's pixels may take.
MAX_PIXEL_BLOCKS = 1_000_000

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Container:
    """What the container says.

    Attributes:
        format: "PNG", "JPEG", "BMP", "GIF", "PPM" or "WEBP", as Pillow names its decoders.
        bits: bits per stored sample (of the index, for palettes).
        cautions: facts that forbid `excluded`.
        work: multiple of the pixel count that decoding costs (scans of a progressive JPEG).
        size: width and height where the container states them before a decoder has to.
        colours: entries of the palette; 256 without one.

    """

    format: str
    bits: int = 8
    cautions: tuple[str, ...] = ()
    work: int = 1
    size: tuple[int, int] | None = None
    colours: int = 256


def inspect_container(data: bytes, *, where: str) -> Container:
    """Tell the format of `data` by its content, and refuse what cannot be taken as it is."""
    if data.startswith(_PNG):
        return _png(data, where)
    if data.startswith(b"\xff\xd8\xff"):
        header = read_markers(data, where=where)
        return Container("JPEG", work=header.scans, size=(header.width, header.height))
    if data.startswith(b"BM"):
        return _bmp(data, where)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _gif(data, where)
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return _ppm(data, where)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data, where)
    raise ImageError(
        "not a picture in a format that is accepted",
        where=where,
        expected="PNG, JPEG, BMP, GIF, PGM/PPM or lossless WebP",
        found=_name(data),
        hint=SAVE_AS_PNG,
    )


def _name(data: bytes) -> str:
    if not data:
        return "an empty file"
    if data[4:8] == b"ftyp":
        return "an HEIF, AVIF or video file"
    for magic, name in _NAMED:
        if data.startswith(magic):
            return name
    return f"unknown content beginning {data[:8].hex(' ')}"


def damaged(what: str, *, where: str) -> ImageError:
    """Build the refusal of a file that is cut short or contradicts itself."""
    return ImageError(
        f"damaged picture: {what}",
        where=where,
        hint="Use the file as it was received; if it is this one, it cannot be examined.",
    )


def _too_many(what: str, parts: str, *, where: str) -> ImageError:
    return ImageError(
        f"{what} is split into too many {parts}",
        where=where,
        expected=f"at most {MAX_CHUNKS}, and {MAX_PIXEL_BLOCKS} blocks of pixels",
        hint="No ordinary program writes such a file; ask for the original.",
    )


def _png(data: bytes, where: str) -> Container:
    """Look at the chunks that matter (PNG specification, sections 5.3 and 11)."""
    chunks = list(png_chunks(data, where))
    colours = next((len(body) // 3 for name, body in chunks if name == b"PLTE"), 256)
    if chunks[0][1][9:10] != b"\3":  # A palette beside true colours is a suggestion.
        colours = 256
    names = [name for name, _ in chunks]
    header = chunks[0][1]
    if names[0] != b"IHDR" or len(header) != 13 or names.count(b"IHDR") != 1:
        raise damaged("the PNG does not begin with its one header", where=where)
    if b"acTL" in names:
        raise ImageError("the PNG is animated", where=where, expected="one frame", hint=SAVE_AS_PNG)
    bits = header[8]
    if bits not in (1, 2, 4, 8, 16):
        raise damaged(f"the PNG claims {bits} bits per sample", where=where)
    cautions: tuple[str, ...] = ()
    if b"cICP" in names:
        cautions = ("the file states a video colour space (cICP), which was not applied",)
    size = (int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big"))
    return Container("PNG", bits, cautions=cautions, size=size, colours=colours)


def png_chunks(data: bytes, where: str) -> Iterator[tuple[bytes, bytes]]:
    """Names and bodies up to IEND; lengths and the checksums of critical chunks are verified."""
    at, name = len(_PNG), b""
    for _ in range(MAX_CHUNKS):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body, stored = data[at + 8 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        if len(stored) != 4:
            raise damaged("the PNG is cut short", where=where)
        if name[:1].isupper() and zlib.crc32(body, zlib.crc32(name)) != int.from_bytes(stored):
            raise damaged("a PNG chunk does not match its checksum", where=where)
        yield name, body
        if name == b"IEND":
            return
        at += 12 + length
    raise _too_many("the PNG", "chunks", where=where)


def _bmp(data: bytes, where: str) -> Container:
    """Read the bits per pixel (BITMAPINFOHEADER or BITMAPCOREHEADER)."""
    size = int.from_bytes(data[14:18], "little")
    bits = int.from_bytes(data[24:26] if size == 12 else data[28:30], "little")
    if bits == 16:
        raise ImageError(
            "the BMP stores 5 or 6 bits per colour",
            where=where,
            expected="8 bits per colour",
            hint="Such a file cannot hold an unmodified output; ask for the original.",
        )
    used = 0 if size == 12 else int.from_bytes(data[46:50], "little")
    colours = min(used, 256) or 256
    return Container("BMP", min(bits, 8), colours=colours if bits == 8 else 256)


def _gif(data: bytes, where: str) -> Container:
    """Walk the blocks (GIF89a specification): one frame that covers the screen, and a trailer."""
    if len(data) < 13:
        raise damaged("the GIF is cut short", where=where)
    screen, frames = data[6:10], []
    palette = _gif_palette(data[10])
    at = 13 + palette
    left = {b"\x21": MAX_CHUNKS, b"\x2c": MAX_PIXEL_BLOCKS}
    while data[at : at + 1] != b"\x3b":
        introducer = data[at : at + 1]
        if introducer == b"\x21":
            at += 2
        elif introducer == b"\x2c" and at + 10 < len(data):
            frames.append(data[at + 1 : at + 9])
            local = _gif_palette(data[at + 9])
            palette = local or palette
            at += 11 + local
        else:
            raise damaged("the GIF is cut short or has an unknown block", where=where)
        left[introducer] -= 1
        while data[at : at + 1] not in (b"\0", b"") and left[introducer] > 0:
            at += 1 + data[at]
            left[introducer] -= 1
        if left[introducer] <= 0:
            raise _too_many("the GIF", "blocks", where=where)
        at += 1
    if len(frames) != 1 or frames[0] != b"\0\0\0\0" + screen:
        raise ImageError(
            "the GIF is animated, or its frame does not cover it",
            where=where,
            expected="one frame that covers the picture",
            found=f"{len(frames)} frames",
            hint=SAVE_AS_PNG,
        )
    width, height = struct.unpack("<HH", screen)
    return Container("GIF", size=(width, height), colours=palette // 3 or 256)


def _gif_palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _ppm(data: bytes, where: str) -> Container:
    """Read the maximum value of a PGM or PPM; bitmaps have none."""
    kind = data[1:2]
    if kind in b"14":
        return Container("PPM", 1)
    fields: list[bytes] = []
    for line in data[2:4096].splitlines():
        fields += line.split(b"#", 1)[0].split()
        if len(fields) >= 3:
            break
    maximum = fields[2] if len(fields) >= 3 else b"none"
    if maximum != b"255":
        raise ImageError(
            "the PGM or PPM does not store plain bytes",
            where=where,
            expected="a maximum value of 255",
            found=ascii(maximum[:12].decode("latin-1")),
            hint=SAVE_AS_PNG,
        )
    return Container("PPM")


def _webp(data: bytes, where: str) -> Container:
    """Walk the RIFF chunks (WebP container specification): only a single VP8L frame passes."""
    end = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    at, names, size = 12, [], (0, 0)
    while at + 8 <= end:
        name, length = struct.unpack_from("<4sI", data, at)
        if at + 8 + length > len(data):
            raise damaged("a WebP chunk is cut short", where=where)
        names.append(name)
        if len(names) > MAX_CHUNKS:
            raise _too_many("the WebP", "chunks", where=where)
        if name == b"VP8L":
            size = _vp8l_size(data[at + 8 : at + 8 + length], where)
        at += 8 + length + (length & 1)
    if b"ANIM" in names or b"ANMF" in names:
        raise ImageError(
            "the WebP is animated", where=where, expected="one frame", hint=SAVE_AS_PNG
        )
    if b"VP8 " in names:
        raise ImageError(
            "the WebP is lossy: its decoded pixels are not the model's",
            where=where,
            expected="lossless WebP, PNG or JPEG",
            hint="No handling for lossy WebP exists yet; ask for the file it was made from.",
        )
    if names.count(b"VP8L") != 1:
        raise damaged("the WebP holds no picture", where=where)
    return Container("WEBP", size=size)


def _vp8l_size(frame: bytes, where: str) -> tuple[int, int]:
    """Width and height in the header of a lossless frame (RFC 9649, section 3.4)."""
    if len(frame) < 5 or frame[0] != 0x2F:
        raise damaged("the WebP frame is malformed", where=where)
    packed = int.from_bytes(frame[1:5], "little")
    return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
