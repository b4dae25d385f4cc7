"""The accused's residual among the controls', on a logarithmic axis that has a place for 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
from numpy.typing import NDArray

from deniability.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Okabe and Ito's palette, which colour-blind readers can tell apart; marks differ in shape too.
_ACCUSED, _CONTROL = "#D55E00", "#0072B2"
INK, FAINT = "#1A1A1A", "#5F5F5F"
_PAPER, _GRID = "#F1F1F1", "#DDDDDD"
_LANES = {"accused": 1.0, "controls": 0.0}
_BEHIND_TEXT = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}


def draw_residuals(
    axes: Axes,
    *,
    statistic: float | None,
    controls: Sequence[float | None],
    threshold: float,
    floor: float,
    margin: float | None,
    resolution: float,
) -> None:
    """Draw the residuals and the limits they are held against; arguments as `case_figure`.

    Raises:
        InputError: the resolution is not a positive number.

    """
    scale = _Scale.around(
        [statistic, *controls], [threshold, floor, margin or 0.0], resolution=resolution
    )
    _draw_lanes(axes, scale, statistic, controls)
    _draw_limits(axes, scale, threshold=threshold, floor=floor, margin=margin)


@dataclass(frozen=True)
class _Scale:
    """Positions on the axis: log10 of residuals, with a place for 0 and one for infinity."""

    zero: float
    infinity: float
    end: float
    has_infinite: bool

    @classmethod
    def around(
        cls, residuals: Sequence[float | None], limits: Sequence[float], *, resolution: float
    ) -> _Scale:
        if not (math.isfinite(resolution) and resolution > 0):
            raise InputError("a resolution that cannot be drawn", found=repr(resolution))
        finite = [value for value in (*residuals, *limits) if _is_finite(value)]
        zero = math.log10(resolution)
        end = max(zero + 3, *(math.log10(max(value, resolution)) for value in finite)) + 0.45
        has_infinite = not all(_is_finite(value) for value in residuals)
        infinity = math.floor(end) + 1.1
        return cls(zero, infinity, infinity + 0.5 if has_infinite else end, has_infinite)

    def at(self, value: float | None) -> float:
        """Position of a residual; None and values that are not finite lie at infinity."""
        if not _is_finite(value):
            return self.infinity
        return max(math.log10(value), self.zero) if value > 0 else self.zero

    def ticks(self, controls: Sequence[float | None]) -> tuple[list[float], list[str]]:
        """Places and labels along the axis; the two ends say how many controls they hold."""
        last = math.floor(self.infinity - 0.6 if self.has_infinite else self.end)
        first = math.floor(self.zero) + 1
        step = 1 + (last - first) // 14
        decades = [place for place in range(first, last + 1, step) if place - self.zero > 0.4]
        places, labels = (
            [self.zero],
            [f"0\n{_counted(sum(self.at(value) == self.zero for value in controls))}"],
        )
        places += decades
        labels += [_power(decade) for decade in decades]
        if self.has_infinite:
            places.append(self.infinity)
            lost = sum(not _is_finite(value) for value in controls)
            labels.append(f"not finite\n{_counted(lost)}")
        return places, labels


def _counted(controls: int) -> str:
    return f"{controls} control" + ("s" if controls != 1 else "")


def _is_finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _draw_lanes(
    axes: Axes, scale: _Scale, statistic: float | None, controls: Sequence[float | None]
) -> None:
    axes.set_xlim(scale.zero - 0.5, scale.end)
    axes.set_ylim(-0.62, 2.42)
    places, labels = scale.ticks(controls)
    axes.set_xticks(places, labels, fontsize=11, color=INK)
    axes.set_yticks(
        list(_LANES.values()), ["accused\npicture", f"{len(controls)}\ncontrols"], fontsize=12
    )
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(
        "residual (each step is ten times the one before it)", fontsize=11, color=INK, labelpad=2
    )
    axes.spines[["left", "top", "right"]].set_visible(False)
    axes.grid(axis="x", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.axvspan(scale.zero - 0.28, scale.zero + 0.28, color=_PAPER, zorder=0)
    if scale.has_infinite:
        axes.axvspan(scale.infinity - 0.4, scale.infinity + 0.4, color=_PAPER, zorder=0)

    if controls:
        xs = np.sort([scale.at(value) for value in controls])
        axes.scatter(
            xs, _LANES["controls"] + _swarm(xs), s=26 if len(controls) <= 150 else 12,
            color=_CONTROL, alpha=0.55, linewidths=0, zorder=3,
        )  # fmt: skip
    _draw_accused(axes, scale, statistic)


def _draw_accused(axes: Axes, scale: _Scale, statistic: float | None) -> None:
    x, y = scale.at(statistic), _LANES["accused"]
    finite = _is_finite(statistic)
    axes.plot([x, x], [-0.62, y], color=_ACCUSED, linewidth=1.6, zorder=4)
    axes.plot(
        [x], [y], marker="D", markersize=13, color=_ACCUSED, zorder=6,
        markerfacecolor=_ACCUSED if finite else "white", markeredgewidth=2,
    )  # fmt: skip
    on_the_left = x > (axes.get_xlim()[0] + axes.get_xlim()[1]) / 2
    axes.annotate(
        _number(statistic), (x, y), xytext=(-14 if on_the_left else 14, 0),
        textcoords="offset points", ha="right" if on_the_left else "left", va="center",
        fontsize=13, fontweight="bold", color=_ACCUSED, zorder=6,
        bbox=_BEHIND_TEXT,
    )  # fmt: skip


def _swarm(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Offsets within ±0.42 that spread dots at nearly the same place."""
    mixed = np.random.default_rng(0)  # for the look only: without it the dots form stripes
    offsets = np.zeros(len(places))
    cells = np.round(places / 0.06)
    crowd = max(np.unique(cells, return_counts=True)[1])
    step = min(0.07, 0.84 / crowd)
    for cell in np.unique(cells):
        members = np.flatnonzero(cells == cell)
        offsets[members] = (mixed.permutation(len(members)) - (len(members) - 1) / 2) * step
    return offsets


def _draw_limits(
    axes: Axes, scale: _Scale, *, threshold: float, floor: float, margin: float | None
) -> None:
    """Draw the three limits, each with its words on a line of its own so that none collide."""
    limits = [
        ("reached: up to", threshold, "-", 1.58),
        ("rounding floor:", floor, ":", 1.9),
    ]
    if _is_finite(margin):
        limits.append(("margin: counts as different from", margin, "--", 2.22))
        axes.axvspan(scale.at(margin), scale.end, ymax=0.93, color=_ACCUSED, alpha=0.07, zorder=0)
    else:
        axes.text(
            0.5, 2.22, "the margin is not finite: no residual counts as different", fontsize=10.5,
            ha="center", va="center", color=INK, transform=axes.get_yaxis_transform(),
        )  # fmt: skip
    start, end = axes.get_xlim()
    for words, value, line, height in limits:
        x = scale.at(value)
        axes.plot([x, x], [-0.62, height + 0.12], color=INK, linestyle=line, linewidth=1.5)
        leftwards = x - start > 0.55 * (end - start)
        axes.annotate(
            f"{words} {_number(value)}", (x, height), xytext=(-6 if leftwards else 6, 0),
            textcoords="offset points", ha="right" if leftwards else "left", va="center",
            fontsize=10.5, color=INK, zorder=5,
            bbox=_BEHIND_TEXT,
        )  # fmt: skip


def _power(exponent: int) -> str:
    digits = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return "1" if exponent == 0 else f"10{digits}"


def _number(value: float | None) -> str:
    """Write a residual for reading: "0", "4.4 × 10⁻²", "0.52"."""
    if value is None or not math.isfinite(value):
        return "none was finite"
    if value == 0:
        return "0"
    if 0.1 <= value < 100:
        return f"{value:.2g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa} × {_power(int(exponent))}"
