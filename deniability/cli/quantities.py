"""Numbers for people: sizes, times, and tables of them."""

from __future__ import annotations

from collections.abc import Sequence

_WIDEST = 48  # characters of a table's cell


def big(number: float) -> str:
    """Write a large count in three digits with its prefix: `3.71 M`; a unit may follow."""
    for power, prefix in ((15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if abs(number) >= 0.9995 * 10**power:
            return f"{_three(number / 10**power)} {prefix}"
    return f"{_three(number)} "


def _three(number: float) -> str:
    """Write a number below a thousand in three digits."""
    for limit, digits in ((9.995, 2), (99.95, 1)):
        if abs(number) < limit:
            return f"{number:.{digits}f}"
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """Write a time in two digits or so and the unit that suits it."""
    for limit, unit, name in (
        (1e-3, 1e-6, "µs"),
        (1.0, 1e-3, "ms"),
        (100.0, 1.0, "s"),
        (6000.0, 60.0, "min"),
        (172_800.0, 3600.0, "h"),
    ):
        if seconds < limit:
            return f"{_two(seconds / unit)} {name}"
    return f"{_two(seconds / 86400)} days"


def _two(number: float) -> str:
    return f"{number:.1f}" if number < 9.95 else f"{number:.0f}"


def span(seconds: tuple[float, float]) -> str:
    """Write a range of times; one unit is enough where both have it."""
    low, high = (duration(end) for end in seconds)
    number, _, unit = low.partition(" ")
    return f"{number if high.endswith(f' {unit}') else low} to {high}"


def memory(count: int) -> str:
    """Write bytes with a binary prefix."""
    for power, prefix in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 1 << power:
            return f"{_three(count / (1 << power))} {prefix}"
    return f"{count} bytes"


def shape(axes: Sequence[int]) -> str:
    """Write a shape: `64 x 7 x 7`."""
    return " x ".join(map(str, axes)) or "1"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out a table in columns; what is too wide is cut, and shows it."""
    cells = [[_cut(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _cut(cell: str) -> str:
    return cell if len(cell) <= _WIDEST else f"{cell[: _WIDEST - 3]}..."
