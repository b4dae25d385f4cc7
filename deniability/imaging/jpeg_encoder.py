"""Which encoder a JPEG may come from, as far as its markers tell.

The cell is exact for encoders that round, as libjpeg and libjpeg-turbo do (DESIGN section 2).
Others move coefficients on purpose, and their own outputs miss the cell. Every trait that
libjpeg's defaults would not have produced is a caution: it forbids `excluded`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deniability.imaging.jpeg_markers import JpegHeader
from deniability.imaging.jpeg_tables import STANDARD_HUFFMAN, Table, ijg_quality

_FRAMES = {0xC0: "baseline", 0xC1: "extended sequential", 0xC2: "progressive"}
#: Sampling factors (horizontal, vertical) of the components.
_SAMPLINGS: dict[tuple[tuple[int, int], ...], Literal["ycc444", "ycc422", "ycc420"]] = {
    ((1, 1), (1, 1), (1, 1)): "ycc444",
    ((2, 1), (1, 1), (1, 1)): "ycc422",
    ((2, 2), (1, 1), (1, 1)): "ycc420",
}


@dataclass(frozen=True)
class Layout:
    """How the coefficients of a file are to be understood."""

    components: Literal["gray", "ycc444", "ycc422", "ycc420"]
    luma_table: Table
    chroma_table: Table | None
    quality: int | None


def layout_of(header: JpegHeader) -> Layout | str:
    """Return the layout, or why no operator exists for it."""
    tables = [header.tables[component.table] for component in header.components]
    problem = _unusable(header, tables)
    if problem is not None:
        return problem
    if len(tables) == 1:
        return Layout("gray", tables[0], None, ijg_quality(tables[0], None))
    components = _SAMPLINGS[_factors(header)]
    return Layout(components, tables[0], tables[1], ijg_quality(tables[0], tables[1]))


def _unusable(header: JpegHeader, tables: list[Table]) -> str | None:
    colour = len(tables) == 3 and not _colour_is_rgb(header)
    traits = (
        (header.frame not in _FRAMES, "its coding process is rare"),
        (header.precision != 8, "its samples do not have 8 bits"),
        (max(map(max, tables)) > 255, "its quantisation tables have 16-bit entries"),
        (len(tables) > 1 and not colour, "its components are not luma and two chroma"),
        (colour and _factors(header) not in _SAMPLINGS, "its chroma subsampling is unusual"),
        (colour and tables[1] != tables[-1], "its chroma components have different tables"),
    )
    return next((reason for applies, reason in traits if applies), None)


def _factors(header: JpegHeader) -> tuple[tuple[int, int], ...]:
    return tuple((c.horizontal, c.vertical) for c in header.components)


def _colour_is_rgb(header: JpegHeader) -> bool:
    """Whether a decoder takes three components as red, green, blue (libjpeg's rules)."""
    if header.jfif:
        return False
    if header.adobe is not None:
        return header.adobe == 0
    return bytes(component.identifier for component in header.components) == b"RGB"


def encoder_cautions(header: JpegHeader, layout: Layout) -> tuple[str, ...]:
    """Return what libjpeg's defaults would have done otherwise, one sentence each."""
    found = []
    if header.frame != 0xC0 or header.scans != 1:
        kind = _FRAMES.get(header.frame, "rare")
        found.append(f"coding is {kind} in {header.scans} scans, not baseline in one")
    if layout.quality is None:
        found.append("quantisation tables are not the IJG tables of any quality")
    if header.redefined:
        found.append("a quantisation table is defined twice")
    if not header.huffman or any(
        STANDARD_HUFFMAN.get(number) != table for number, table in header.huffman
    ):
        found.append("Huffman tables are not the standard ones")
    if not header.jfif:
        found.append("there is no JFIF marker")
    if header.adobe is not None:
        found.append("there is an Adobe marker")
    if header.restarts:
        found.append("there are restart intervals")
    identifiers = tuple(component.identifier for component in header.components)
    # One component alone is not interleaved, so its sampling factors mean nothing (T.81, A.2.2).
    if identifiers not in {(1,), (1, 2, 3)}:
        found.append("components are numbered unusually")
    ending = "the encoder cannot be told to be libjpeg, whose rounding the comparison assumes"
    return tuple(f"JPEG {trait}: {ending}" for trait in found)
