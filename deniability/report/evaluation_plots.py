"""Plots of an evaluation: calibration, true against false denials, residuals, and cost."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deniability.errors import OutputError
from deniability.report.figure import blank_figure
from deniability.report.residual_plot import FAINT, INK
from deniability.stats.evaluation import FamilyRule, own_of, own_p_values
from deniability.wire.evaluation import EvaluatedFamily, Evaluation, GroupResult
from deniability.wire.files import write_atomic
from deniability.wire.protocol import Protocol

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Files that are drawn.
PLOTS = ("calibration.png", "roc.png", "residuals.png", "cost.png")
_COLUMNS, _SIDE, _DPI = 3, 3.6, 110
#: Okabe and Ito's palette, which colour-blind readers can tell apart; lines differ in dashes too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", ":", "-.")
_BINS = 24


def check_plots(folder: Path) -> None:
    """Find out before hours of work that plots can be drawn and written.

    Raises:
        InputError: matplotlib is not installed.
        OutputError: the folder cannot be made or written.

    """
    with blank_figure():
        pass
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise OutputError(
            "cannot make the folder for plots", where=str(folder), found=cause.strerror
        ) from cause
    probe = folder / ".deniability.probe"
    write_atomic(probe, b"")
    probe.unlink(missing_ok=True)


def draw_evaluation(folder: Path, evaluation: Evaluation) -> list[Path]:
    """Draw all plots into a folder; return their files.

    Raises:
        InputError: matplotlib is not installed.
        OutputError: a file cannot be written.

    """
    check_plots(folder)
    families, protocol = evaluation.families, evaluation.protocol
    drawn = {
        "calibration.png": _panels(
            families,
            "Own outputs: share of p-values at or below each p (promised: the line, or below it)",
            lambda axes, family: _calibration(axes, family, protocol),
        ),
        "roc.png": _panels(
            families,
            "Strangers denied against own outputs denied, whatever the threshold",
            _roc,
        ),
        "residuals.png": _panels(
            families,
            "Smallest residuals of each group (0 at the left; dashes: counts as different)",
            lambda axes, family: _residuals(axes, family, protocol),
        ),
        "cost.png": _panels(families, "Steps of the solver for a picture, on average", _cost),
    }
    for name, contents in drawn.items():
        write_atomic(folder / name, contents)
    return [folder / name for name in drawn]


def _panels(
    families: Sequence[EvaluatedFamily],
    title: str,
    draw: Callable[[Axes, EvaluatedFamily], None],
) -> bytes:
    """Draw one panel for each family, and return the PNG."""
    columns = min(_COLUMNS, len(families))
    rows = math.ceil(len(families) / columns)
    with _page(max(columns, 2), rows) as figure:
        figure.suptitle(title, fontsize=12, color=INK)
        for number, family in enumerate(families, start=1):
            axes = figure.add_subplot(rows, max(columns, 2), number)
            axes.set_title(family.name, fontsize=10.5, color=INK)
            axes.tick_params(labelsize=8.5, colors=INK)
            axes.spines[["top", "right"]].set_visible(False)
            draw(axes, family)
        target = io.BytesIO()
        # Without the version of the library in it, equal evaluations give equal files.
        figure.savefig(target, format="png", dpi=_DPI, metadata={"Software": None})
    return target.getvalue()


@contextmanager
def _page(columns: int, rows: int) -> Iterator[Figure]:
    with blank_figure() as (figure, _):
        figure.set_size_inches(columns * _SIDE * 1.25, rows * _SIDE + 0.6)
        figure.set_layout_engine("constrained")
        yield figure


def _calibration(axes: Axes, family: EvaluatedFamily, protocol: Protocol) -> None:
    values = sorted(float(p) for p in own_p_values(family, protocol))
    shares = np.arange(1, len(values) + 1) / len(values)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--")
    axes.step([0, *values, 1], [0, *shares, 1], where="post", color=_COLOURS[0], linewidth=1.6)
    axes.axvline(float(protocol.alpha), color=_COLOURS[1], linewidth=1, linestyle=":")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("p", fontsize=9)
    axes.set_ylabel("share of own outputs", fontsize=9)
    verdict = "not too small" if family.uniform.passed else "too small"
    axes.text(
        0.97, 0.04, f"{verdict} (test: p = {family.uniform.p})", fontsize=8.5, ha="right",
        color=INK, transform=axes.transAxes,
    )  # fmt: skip


def _numbers(result: GroupResult) -> NDArray[np.float64]:
    return np.array([math.inf if t == "notFinite" else float(t) for t in result.residuals])


def _roc(axes: Axes, family: EvaluatedFamily) -> None:
    own = _numbers(own_of(family))
    for index, result in enumerate(family.groups[1:]):
        strangers = _numbers(result)
        limits = np.unique(np.concatenate([own, strangers]))[::-1]
        false = [0.0, *(np.mean(own >= limit) for limit in limits), 1.0]
        true = [0.0, *(np.mean(strangers >= limit) for limit in limits), 1.0]
        axes.plot(
            false, true, linewidth=1.5, label=f"{result.group} ({float(result.auc or 0):.2f})",
            color=_COLOURS[index % len(_COLOURS)], linestyle=_DASHES[index % len(_DASHES)],
        )  # fmt: skip
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.04)
    axes.set_xlabel("own outputs denied", fontsize=9)
    axes.set_ylabel("strangers denied", fontsize=9)
    axes.legend(fontsize=6.5, loc="lower right", title="area", title_fontsize=7)


def _residuals(axes: Axes, family: EvaluatedFamily, protocol: Protocol) -> None:
    least = math.log10(float(protocol.resolution))
    rule = FamilyRule.of(family.controls, protocol)
    everything = [_numbers(result) for result in family.groups]
    finite = [value for part in everything for value in part if math.isfinite(value)]
    most = max([least + 1, *(math.log10(value) for value in finite if value > 0)]) + 0.3
    for lane, values in enumerate(everything):
        places = [
            most + 0.4 if not math.isfinite(v) else max(least, math.log10(v)) if v > 0 else least
            for v in values
        ]
        counts, edges = np.histogram(places, bins=_BINS, range=(least - 0.2, most + 0.6))
        heights = 0.85 * counts / max(1, counts.max())
        colour = _COLOURS[0] if lane == 0 else _COLOURS[1]
        axes.bar(
            edges[:-1], heights, width=np.diff(edges), bottom=-lane, align="edge", color=colour,
            linewidth=0,
        )  # fmt: skip
    if math.isfinite(rule.margin):
        place = math.log10(max(float(rule.margin), float(protocol.resolution)))
        axes.axvline(place, color=INK, linewidth=1, linestyle="--")
    axes.set_yticks([0.3 - lane for lane in range(len(everything))])
    axes.set_yticklabels([result.group for result in family.groups], fontsize=7.5)
    axes.set_xlabel("log10 of the residual", fontsize=9)


def _cost(axes: Axes, family: EvaluatedFamily) -> None:
    names = [result.group for result in family.groups]
    steps = [result.iterations / len(result.residuals) for result in family.groups]
    places = -np.arange(len(names))
    axes.barh(places, steps, color=[_COLOURS[0], *[_COLOURS[1]] * (len(names) - 1)], height=0.7)
    axes.set_yticks(places, names, fontsize=7.5)
    axes.set_xlabel("steps", fontsize=9)
    seconds = sum(float(result.seconds) for result in family.groups)
    axes.text(
        0.97, 0.04, f"all: {seconds:.0f} s", fontsize=8.5, ha="right", color=INK,
        transform=axes.transAxes,
    )  # fmt: skip
