"""The tables of ITU-T T.81, annex K, and how libjpeg scales them by "quality"."""

from __future__ import annotations

from functools import cache
from typing import Final

Table = tuple[int, ...]

#: Natural (row-major) place of the i-th coefficient in zigzag order (T.81, figure A.6).
ZIGZAG: Final[Table] = tuple(
    row * 8 + column
    for row, column in sorted(
        ((r, c) for r in range(8) for c in range(8)),
        key=lambda rc: (sum(rc), rc[0] if sum(rc) % 2 else rc[1]),
    )
)

#: T.81, table K.1, row-major.
LUMA: Final[Table] = (
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip

#: T.81, table K.2, row-major.
CHROMA: Final[Table] = (
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
)  # fmt: skip

#: T.81, tables K.3 to K.6: sixteen counts, then the symbols, by class * 16 + number.
STANDARD_HUFFMAN: Final[dict[int, bytes]] = {
    0x00: bytes.fromhex("00010501010101010100000000000000 000102030405060708090a0b"),
    0x01: bytes.fromhex("00030101010101010101010000000000 000102030405060708090a0b"),
    0x10: bytes.fromhex(
        "0002010303020403050504040000017d"
        "01020300041105122131410613516107227114328191a1082342b1c11552d1f0"
        "2433627282090a161718191a25262728292a3435363738393a43444546474849 4a"
        "535455565758595a636465666768696a737475767778797a838485868788898a"
        "92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6"
        "c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa"
    ),
    0x11: bytes.fromhex(
        "00020102040403040705040400010277"
        "0001020311040521310612415107617113223281081442 91a1b1c109233352f0"
        "156272d10a162434e125f11718191a262728292a35363738393a434445464748"
        "494a535455565758595a636465666768696a737475767778797a828384858687"
        "88898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3"
        "c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa"
    ),
}


@cache
def ijg_tables(quality: int) -> tuple[Table, Table]:
    """Luma and chroma tables that libjpeg writes at a quality of 1..100 (baseline)."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality

    def scaled(base: Table) -> Table:
        return tuple(min(max((entry * percent + 50) // 100, 1), 255) for entry in base)

    return scaled(LUMA), scaled(CHROMA)


def ijg_quality(luma: Table, chroma: Table | None) -> int | None:
    """Highest quality at which libjpeg writes exactly these tables, or None."""
    for quality in range(100, 0, -1):
        standard_luma, standard_chroma = ijg_tables(quality)
        if luma == standard_luma and chroma in (None, standard_chroma):
            return quality
    return None
