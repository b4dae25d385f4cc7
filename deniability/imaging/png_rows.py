"""Whether all rows of a PNG are there.

Pillow shows rows for which the compressed stream has no bytes as black, without a word, if the
stream ends properly where they should begin. What is missing was not recorded by anybody: such a
picture must not be examined as if its black were the sender's.
"""

from __future__ import annotations

import zlib

from deniability.imaging.containers import damaged, png_chunks

#: Samples per pixel by colour type (PNG specification, section 11.2.2).
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
#: First column, first row and their steps in each pass of an interlaced PNG (section 8.2).
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_PIECE = 1 << 20


def check_rows(data: bytes, *, where: str) -> None:
    """Refuse a PNG whose compressed pixels are fewer than its header states.

    Args:
        data: a file that passed `inspect_container`, and of which the size was found acceptable.
        where: its name, for errors.

    Raises ImageError.

    """
    chunks = list(png_chunks(data, where))
    header = chunks[0][1]
    wanted = _bytes_of(header)
    if wanted is None:
        raise damaged("the PNG's header states what no PNG has", where=where)
    inflater, found = zlib.decompressobj(), 0
    try:
        for name, body in chunks:
            if name != b"IDAT":
                continue
            rest = body
            # In pieces: a stream can be a thousand times as large as it looks.
            while rest and not inflater.eof and found < wanted:
                found += len(inflater.decompress(rest, _PIECE))
                rest = inflater.unconsumed_tail
        found += len(inflater.decompress(b"", _PIECE)) if found < wanted else 0
    except zlib.error as error:
        raise damaged("the PNG's pixels cannot be decompressed", where=where) from error
    if found < wanted:
        raise damaged("rows of the PNG are missing", where=where)


def _bytes_of(header: bytes) -> int | None:
    """Return how many bytes all rows take, each with the number of its filter before it."""
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    bits, samples, interlaced = header[8], _SAMPLES.get(header[9]), header[12]
    if samples is None or interlaced > 1:
        return None
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = -((left - width) // across), -((top - height) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits * samples + 7) // 8)
    return total
