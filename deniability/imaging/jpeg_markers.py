"""What a JPEG file says about its own encoding, read without decoding it (ITU-T T.81, annex B).

Bounded and strict: every length is checked, nothing is allocated from a claim in the file, and
anything unexpected is an `ImageError`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from deniability.errors import ImageError
from deniability.imaging.jpeg_tables import ZIGZAG

#: Zigzag-independent limits: no sane encoder comes near them.
MAX_SEGMENTS = 10_000
MAX_SCANS = 1_000

_SOI, _EOI, _SOS, _DQT, _DHT, _DAC, _DRI, _DNL = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xCC, 0xDD, 0xDC
_COM, _APP0, _APP14, _APP15 = 0xFE, 0xE0, 0xEE, 0xEF
_SOF = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, _DAC}
#: The next marker in entropy-coded data: 0xFF not followed by stuffing, a restart or a fill byte.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)


@dataclass(frozen=True)
class Component:
    """One component of the frame: id, sampling factors, quantisation table."""

    identifier: int
    horizontal: int
    vertical: int
    table: int


@dataclass(frozen=True)
class JpegHeader:
    """Everything the markers of a file say, as of its end.

    Attributes:
        frame: the start-of-frame marker: 0xC0 baseline, 0xC1 extended, 0xC2 progressive, ...
        precision: bits per sample.
        height: rows as stored.
        width: columns as stored.
        components: in the order of the frame.
        tables: quantisation tables by number, in natural (row-major) order.
        huffman: (class * 16 + number, counts and symbols) as defined, in order, repeats included.
        scans: number of scans.
        jfif: whether a JFIF marker stands before the frame.
        adobe: colour transform that an Adobe marker states, or None.
        redefined: whether a quantisation table is defined twice, differently.
        restarts: whether a restart interval is set.
        bare: the file from SOI to EOI without application data and comments.

    """

    frame: int
    precision: int
    height: int
    width: int
    components: tuple[Component, ...]
    tables: dict[int, tuple[int, ...]]
    huffman: tuple[tuple[int, bytes], ...]
    scans: int
    jfif: bool
    adobe: int | None
    redefined: bool
    restarts: bool
    bare: bytes = field(repr=False)


class _Reader:
    """Walks the segments of one file; one use."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data = data
        self.where = where
        self.position = 0
        self.frame: tuple[int, int, int, int, tuple[Component, ...]] | None = None
        self.tables: dict[int, tuple[int, ...]] = {}
        self.huffman: list[tuple[int, bytes]] = []
        self.scans = 0
        self.jfif = False
        self.adobe: int | None = None
        self.redefined = False
        self.restarts = False
        self.kept: list[bytes] = [b"\xff\xd8"]

    def fail(self, what: str) -> ImageError:
        return ImageError(
            f"damaged JPEG: {what}",
            where=self.where,
            found=f"at byte {self.position} of {len(self.data)}",
            hint="Use the file as it was received; if it is this one, it cannot be examined.",
        )

    def read(self) -> JpegHeader:
        if self.data[:2] != b"\xff\xd8":
            raise self.fail("it does not begin with a start-of-image marker")
        self.position = 2
        for _ in range(MAX_SEGMENTS):
            if self.segment():
                return self.header()
        raise self.fail(f"more than {MAX_SEGMENTS} segments")

    def segment(self) -> bool:
        """Read one segment; return whether it was the end of the image."""
        marker = self.marker()
        if marker == _EOI:
            self.kept.append(b"\xff\xd9")
            return True
        if marker == _SOI or marker < 0xC0 or 0xD0 <= marker <= 0xD7:
            raise self.fail(f"marker 0x{marker:02x} where a segment should begin")
        start = self.position
        length = int.from_bytes(self.data[start : start + 2], "big")
        body = self.data[start + 2 : start + length]
        if length < 2 or len(body) != length - 2:
            raise self.fail(f"the segment of marker 0x{marker:02x} is cut short")
        self.dispatch(marker, body)
        self.position = start + length
        if marker == _SOS:
            self.entropy_coded()
        if not (_APP0 <= marker <= _APP15 or marker == _COM):
            self.kept.append(bytes((0xFF, marker)) + self.data[start : self.position])
        return False

    def marker(self) -> int:
        data, at = self.data, self.position
        if data[at : at + 1] != b"\xff":
            raise self.fail(
                "no marker where one should be" if at < len(data) else "it is cut short"
            )
        while data[at : at + 1] == b"\xff":
            at += 1
        if at >= len(data):
            raise self.fail("it is cut short")
        self.position = at + 1
        return data[at]

    def entropy_coded(self) -> None:
        found = _NEXT_MARKER.search(self.data, self.position)
        if found is None:
            raise self.fail("a scan is cut short: no end-of-image marker follows it")
        self.position = found.start()

    def dispatch(self, marker: int, body: bytes) -> None:
        if marker in _SOF:
            self.start_of_frame(marker, body)
        elif marker == _DQT:
            self.quantisation(body)
        elif marker == _DHT:
            self.huffman_tables(body)
        elif marker == _SOS:
            self.start_of_scan()
        elif marker == _DRI:
            self.restarts = self.restarts or any(body)
        elif marker == _DNL:
            raise self.fail("its height is defined after the first scan")
        elif marker == _APP0 and body[:5] == b"JFIF\0" and self.frame is None:
            self.jfif = True
        elif marker == _APP14 and body[:5] == b"Adobe" and len(body) >= 12:
            self.adobe = body[11]

    def start_of_frame(self, marker: int, body: bytes) -> None:
        if self.frame is not None:
            raise self.fail("it has two frames")
        count = body[5] if len(body) >= 6 else 0
        if not 1 <= count <= 4 or len(body) != 6 + 3 * count:
            raise self.fail("its frame header has the wrong length")
        height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
        if not height or not width:
            raise self.fail("its frame has no size")
        components = []
        for at in range(6, len(body), 3):
            identifier, factors, table = body[at : at + 3]
            horizontal, vertical = factors >> 4, factors & 15
            if not (1 <= horizontal <= 4 and 1 <= vertical <= 4 and table <= 3):
                raise self.fail("its frame header has impossible sampling factors or tables")
            components.append(Component(identifier, horizontal, vertical, table))
        self.frame = (marker, body[0], height, width, tuple(components))

    def quantisation(self, body: bytes) -> None:
        at = 0
        while at < len(body):
            wide, number = body[at] >> 4, body[at] & 15
            size = 128 if wide else 64
            raw = body[at + 1 : at + 1 + size]
            if wide > 1 or number > 3 or len(raw) != size:
                raise self.fail("a quantisation table is malformed")
            zigzag = [
                int.from_bytes(raw[i : i + 1 + wide], "big") for i in range(0, size, 1 + wide)
            ]
            if 0 in zigzag:
                raise self.fail("a quantisation table divides by zero")
            natural = [0] * 64
            for value, place in zip(zigzag, ZIGZAG, strict=True):
                natural[place] = value
            table = tuple(natural)
            self.redefined = self.redefined or self.tables.get(number, table) != table
            self.tables[number] = table
            at += 1 + size

    def huffman_tables(self, body: bytes) -> None:
        at = 0
        while at < len(body):
            size = 17 + sum(body[at + 1 : at + 17])
            table = body[at : at + size]
            if len(table) != size or table[0] >> 4 > 1 or table[0] & 15 > 3 or size > 17 + 256:
                raise self.fail("a Huffman table is malformed")
            self.huffman.append((table[0], table[1:]))
            at += size

    def start_of_scan(self) -> None:
        if self.frame is None:
            raise self.fail("a scan comes before the frame header")
        self.scans += 1
        if self.scans > MAX_SCANS:
            raise self.fail(f"more than {MAX_SCANS} scans")

    def header(self) -> JpegHeader:
        if self.frame is None or not self.scans:
            raise self.fail("it ends before its first scan")
        marker, precision, height, width, components = self.frame
        if any(component.table not in self.tables for component in components):
            raise self.fail("a quantisation table is missing")
        return JpegHeader(
            frame=marker,
            precision=precision,
            height=height,
            width=width,
            components=components,
            tables=dict(self.tables),
            huffman=tuple(self.huffman),
            scans=self.scans,
            jfif=self.jfif,
            adobe=self.adobe,
            redefined=self.redefined,
            restarts=self.restarts,
            bare=b"".join(self.kept),
        )


def read_markers(data: bytes, *, where: str) -> JpegHeader:
    """Read the markers of a JPEG up to the end of its first image.

    Args:
        data: the file; bytes after the end-of-image marker are not looked at.
        where: name of the file, for errors.

    """
    return _Reader(data, where).read()
