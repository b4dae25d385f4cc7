"""One page that shows a case: the pictures side by side, and the accused among the controls."""

from __future__ import annotations

import io
import logging
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deniability.errors import InputError
from deniability.report.residual_plot import FAINT, INK, draw_residuals
from deniability.wire.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pixels = NDArray[np.uint8]

_WIDTH, _HEIGHT, _DPI = 11.0, 8.5, 150  # inches: a landscape page
_PICTURE = 2.95  # inches, side of the square that a picture is fitted into
_CAPTION = (
    "Each dot is a control: a picture that the model certainly made, saved like the accused one and"
    " searched for in the same way.\nThe further to the right, the further the nearest output found"
    " is from what the file says (mean squared distance; pixels run from −1 to 1)."
)


def case_figure(
    path: Path,
    *,
    accused: Pixels,
    reconstruction: Pixels,
    title: str,
    statistic: float | None,
    controls: Sequence[float | None],
    threshold: float,
    floor: float,
    margin: float | None,
    resolution: float,
) -> None:
    """Write the figure of a case as a PNG file, all or nothing.

    Args:
        path: the file to write.
        accused: H x W x C, C 1 or 3.
        reconstruction: H x W x C, the nearest output found.
        title: three lines of it are shown; what the font cannot show is escaped.
        statistic: the accused's residual; None if none was finite.
        controls: the controls' residuals; None counts as infinite.
        threshold: residual at or below which a picture counts as reached.
        floor: of the residual by rounding.
        margin: least residual that counts as different; None if infinite.
        resolution: residuals below it are stored as 0, and drawn there.

    Raises:
        InputError: matplotlib is not installed, or the pictures or numbers cannot be drawn.
        OutputError: the file cannot be written.

    """
    left, right = _as_pair(accused, reconstruction)
    with blank_figure() as (figure, known):
        lines = _title_lines(title, known)
        top = _HEIGHT - 0.35 - 0.29 * len(lines)
        heading = figure.text(
            0.5, top / _HEIGHT, "\n".join(lines), fontsize=13.5, fontweight="bold",
            ha="center", va="bottom", color=INK, linespacing=1.25, parse_math=False,
        )  # fmt: skip
        wide = heading.get_window_extent().width / figure.bbox.width
        heading.set_fontsize(13.5 * min(1.0, 0.97 / max(wide, 1e-9)))
        below = _draw_pictures(figure, left, right, top - 0.5)
        bottom = 1.62
        axes = figure.add_axes((0.12, bottom / _HEIGHT, 0.85, (below - bottom) / _HEIGHT))
        draw_residuals(
            axes,
            statistic=statistic,
            controls=controls,
            threshold=threshold,
            floor=floor,
            margin=margin,
            resolution=resolution,
        )
        figure.text(
            0.5, 0.25 / _HEIGHT, _CAPTION, fontsize=10, ha="center", color=FAINT, linespacing=1.4
        )
        target = io.BytesIO()
        # Without the version of the library in it, equal cases give equal files.
        figure.savefig(target, format="png", dpi=_DPI, metadata={"Software": None})
    write_atomic(path, target.getvalue())


@contextmanager
def blank_figure() -> Iterator[tuple[Figure, frozenset[int]]]:
    """Yield an empty figure and the code points its font has, whatever the user's settings are."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns where there is no home to keep a cache in
    try:
        from matplotlib import font_manager, style  # noqa: PLC0415 - slow, and only needed here
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
        from matplotlib.figure import Figure as NewFigure  # noqa: PLC0415

        # DejaVu Sans comes with matplotlib.
        with style.context(["default", {"font.family": ["DejaVu Sans"], "text.usetex": False}]):
            figure = NewFigure(figsize=(_WIDTH, _HEIGHT), facecolor="white")
            FigureCanvasAgg(figure)
            font = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
            yield figure, frozenset(font.get_charmap())
    except ImportError as cause:
        raise InputError(
            "matplotlib, which draws the figure, cannot be imported",
            found=str(cause),
            hint="Install it with: python -m pip install matplotlib.",
        ) from cause
    finally:
        logger.setLevel(level)


def _as_pair(accused: Pixels, reconstruction: Pixels) -> tuple[Pixels, Pixels]:
    """Both pictures with the same number of channels."""
    for picture in (accused, reconstruction):
        if picture.ndim != 3 or picture.shape[2] not in {1, 3} or picture.dtype != np.uint8:
            raise InputError(
                "not a picture that can be drawn",
                expected="H x W x 1 or H x W x 3 bytes",
                found=f"{picture.shape} {picture.dtype}",
            )
    if accused.shape[:2] != reconstruction.shape[:2]:
        raise InputError(
            "two pictures of different size cannot be compared",
            expected=_size(accused),
            found=_size(reconstruction),
        )
    channels = max(accused.shape[2], reconstruction.shape[2])
    shape = (*accused.shape[:2], channels)
    return np.broadcast_to(accused, shape), np.broadcast_to(reconstruction, shape)


def _size(picture: Pixels) -> str:
    return f"{picture.shape[1]} × {picture.shape[0]} pixels"


def difference(accused: Pixels, reconstruction: Pixels) -> Pixels:
    """Eight times the absolute difference, at most 255; H x W x C each."""
    larger = np.maximum(accused, reconstruction)
    apart = larger - np.minimum(accused, reconstruction)
    enlarged: Pixels = np.where(apart > 31, np.uint8(255), np.minimum(apart, 31) * np.uint8(8))
    return enlarged


def _draw_pictures(figure: Figure, accused: Pixels, output: Pixels, top: float) -> float:
    """Draw three pictures below the height `top` (inches), and return where they end."""
    largest = int(np.max(np.maximum(accused, output) - np.minimum(accused, output)))
    apart = f"largest difference: {largest} of 255" if largest else "no pixel differs"
    shown = (
        ("Accused picture", _size(accused), accused),
        ("Nearest output found", "the model's, by this search", output),
        ("Difference × 8", f"black is equal; {apart}", difference(accused, output)),
    )
    gap = (_WIDTH - 3 * _PICTURE) / 4
    for column, (name, note, pixels) in enumerate(shown):
        left = gap + column * (_PICTURE + gap)
        axes = figure.add_axes(
            (left / _WIDTH, (top - _PICTURE) / _HEIGHT, _PICTURE / _WIDTH, _PICTURE / _HEIGHT)
        )
        enlarged = max(pixels.shape[:2]) <= _PICTURE * _DPI
        axes.imshow(
            pixels[..., 0] if pixels.shape[2] == 1 else pixels,
            cmap="gray", vmin=0, vmax=255, interpolation="nearest" if enlarged else "antialiased",
        )  # fmt: skip
        axes.set(xticks=[], yticks=[], anchor="N")
        axes.spines[:].set(color=FAINT, linewidth=0.8)
        axes.set_title(name, fontsize=12.5, color=INK, pad=7)
        axes.set_xlabel(note, fontsize=10.5, color=FAINT, labelpad=5)
    rows, columns = int(accused.shape[0]), int(accused.shape[1])
    return top - _PICTURE * min(1.0, max(0.5, rows / columns)) - 0.55


def _title_lines(title: str, known: frozenset[int]) -> list[str]:
    """Title as at most three lines that the font can show, everything else escaped."""
    shown = "".join(_shown(character, known) for character in title)
    return textwrap.wrap(shown, 90, max_lines=3, placeholder=" …") or [""]


def _shown(character: str, known: frozenset[int]) -> str:
    # Categories C…, Zl, Zp: controls, bidi overrides, surrogates, line separators.
    category = unicodedata.category(character)
    hidden = category.startswith("C") or category in {"Zl", "Zp"}
    if hidden or ord(character) not in known:
        return (
            character.encode("ascii", "backslashreplace").decode()
            if ord(character) > 127
            else (f"\\x{ord(character):02x}")
        )
    return character
