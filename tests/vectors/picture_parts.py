"""Picture files written by hand, byte for byte: no encoder's version has a say in a vector."""

from __future__ import annotations

import hashlib
import struct
import zlib

#: H x W of one byte, or H x W of a triple.
Gray = list[list[int]]
Colour = list[list[tuple[int, int, int]]]

#: Lossless and lossy WebP of one pixel each, made once with libwebp.
WEBP_LOSSLESS = bytes.fromhex(
    "524946461a000000574542505650384c0d0000002f00000010071011118888fe0700"
)
WEBP_LOSSY = bytes.fromhex(
    "52494646220000005745425056503820160000003001009d012a0100010000fec0fe25a4000370000000"
)
_IEND = b"\0\0\0\0IEND\xaeB`\x82"


def stored(data: bytes) -> bytes:
    """A zlib stream that is not compressed, which all programs would write alike."""
    assert len(data) < 1 << 16
    size = struct.pack("<HH", len(data), len(data) ^ 0xFFFF)
    return b"\x78\x01\x01" + size + data + struct.pack(">I", zlib.adler32(data))


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(size: tuple[int, int], bits: int, colours: int, rows: list[bytes], *extra: bytes) -> bytes:
    """A PNG of unfiltered rows; `extra` are chunks before the pixels."""
    header = struct.pack(">IIBBBBB", *size, bits, colours, 0, 0, 0)
    pixels = stored(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(extra)
        + chunk(b"IDAT", pixels)
        + _IEND
    )


def exif(orientation: int) -> bytes:
    """A TIFF structure that states one thing."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"MM\0*\0\0\0\x08\0\x01" + entry + b"\0\0\0\0"


def icc(space: bytes, description: bytes) -> bytes:
    """An ICC profile of a header and a description."""
    text = b"desc\0\0\0\0" + struct.pack(">I", len(description) + 1) + description + b"\0"
    head = bytearray(128)
    head[:4] = struct.pack(">I", 144 + len(text))
    head[8:12], head[12:16], head[16:20], head[20:24] = b"\2\0\0\0", b"mntr", space, b"XYZ "
    head[36:40] = b"acsp"
    return bytes(head) + struct.pack(">I4sII", 1, b"desc", 144, len(text)) + text


def gif(size: tuple[int, int], palette: bytes, *frames: bytes) -> bytes:
    """A GIF of 256 colours whose codes are the pixels themselves, 9 bits each."""
    width, height = size
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF7, 0, 0) + palette
    return head + b"".join(_gif_frame(size, frame) for frame in frames) + b"\x3b"


def _gif_frame(size: tuple[int, int], pixels: bytes) -> bytes:
    # Clear before the dictionary would make the codes longer.
    codes = [code for pixel in pixels for code in (256, pixel)] + [257]
    packed = sum(code << (9 * i) for i, code in enumerate(codes))
    data = packed.to_bytes((9 * len(codes) + 7) // 8, "little")
    assert len(data) < 256
    return (
        b"\x2c"
        + struct.pack("<HHHHB", 0, 0, *size, 0)
        + b"\x08"
        + bytes([len(data)])
        + data
        + b"\0"
    )


def bmp(size: tuple[int, int], bits: int, pixels: bytes) -> bytes:
    """A BMP without a palette; `pixels` as the file has them, from the bottom up."""
    info = struct.pack("<IiiHHIIiiII", 40, *size, 1, bits, 0, len(pixels), 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) + info + pixels


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg(blocks: Gray, *, components: int = 1, app1: bytes = b"") -> bytes:
    """A baseline JPEG of 8 x 8 blocks, each of one level, the same in all components.

    Quantised by 8, so that the first coefficient is the level less 128, exactly.
    """
    height, width = len(blocks), len(blocks[0])
    names = range(1, components + 1)
    frame = struct.pack(">BHHB", 8, 8 * height, 8 * width, components)
    frame += b"".join(bytes([name, 0x11, 0]) for name in names)
    # Nine lengths of a difference, each in a code of four bits.
    first = bytes([0, 0, 0, 0, 9, *[0] * 12]) + bytes(range(9))
    rest = bytes([0x10, 1, *[0] * 15]) + b"\0"  # the end of a block is all there is
    scan = bytes([components, *(part for name in names for part in (name, 0)), 0, 63, 0])
    return (
        b"\xff\xd8"
        + (_segment(0xE1, b"Exif\0\0" + app1) if app1 else b"")
        + _segment(0xDB, b"\0" + b"\x08" * 64)
        + _segment(0xC0, frame)
        + _segment(0xC4, first)
        + _segment(0xC4, rest)
        + _segment(0xDA, scan)
        + _entropy(blocks, components)
        + b"\xff\xd9"
    )


def _entropy(blocks: Gray, components: int) -> bytes:
    bits, before = "", 0
    for level in (level - 128 for row in blocks for level in row):
        difference, before = level - before, level
        category = abs(difference).bit_length()
        coded = difference if difference > 0 else difference + (1 << category) - 1
        one = f"{category:04b}" + (f"{coded:0{category}b}" if category else "") + "0"
        bits += one * components
    bits += "1" * (-len(bits) % 8)
    data = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    return data.replace(b"\xff", b"\xff\0")


def digest(pixels: Gray | Colour) -> str:
    """The pixels' digest as DESIGN and the SPEC define it, computed without the program."""
    channels = 3 if isinstance(pixels[0][0], tuple) else 1
    head = f"deniability/pixels/v1\n{len(pixels[0])} {len(pixels)} {channels}\n"
    samples = [
        sample
        for row in pixels
        for pixel in row
        for sample in (pixel if isinstance(pixel, tuple) else (pixel,))
    ]
    return hashlib.sha256(head.encode() + bytes(samples)).hexdigest()


def turned(pixels: Gray, orientation: int) -> Gray:
    """As displayed: the EXIF table, row and column by row and column (Exif 2.32, 4.6.4)."""
    flipped = [row[::-1] for row in pixels]
    transposed = [list(column) for column in zip(*pixels, strict=True)]
    ways = {
        2: flipped,
        3: flipped[::-1],
        4: pixels[::-1],
        5: transposed,
        6: [row[::-1] for row in transposed],
        7: [row[::-1] for row in transposed[::-1]],
        8: transposed[::-1],
    }
    return ways.get(orientation, pixels)
