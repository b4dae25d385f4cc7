"""Table and plot of recall curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from setting import table

from deniability.stats.binomial import upper_bound

plt.switch_backend("agg")

_HEADS = ("start", "restarts", "found exactly", "recall", "at least (95 %)", "not found")
_EIGHT = 8  # restarts in the overview
_MARKERS = "os^Dv*"
_PANELS = {
    "encoder": "from the encoder's guess",
    "staged": "in two stages, style before latent",
    "prior": "from the prior alone",
}
_FROM = {"encoder": "From the encoder", "staged": "In two stages", "prior": "From the prior"}


@dataclass(frozen=True)
class Curve:
    """How many restarts the targets of one generator needed.

    Attributes:
        generator, start: name, and "encoder", "prior" or "staged".
        dimension: of the latent.
        restarts: most of a target.
        count: n, targets searched.
        later: by number of the target, which restart found it, None for none; those that are not
            here were found by the first.
        seconds, cpu_seconds, equivalents: what all searches together took.
        encoder_outputs, encoder_seconds: what the encoder was trained on, and how long.
        machine: where.

    """

    generator: str
    start: str
    dimension: int
    restarts: int
    count: int
    later: dict[str, int | None]
    seconds: float
    cpu_seconds: float
    equivalents: int
    encoder_outputs: int
    encoder_seconds: float
    machine: str

    def missed(self, restarts: int) -> int:
        """How many targets the first `restarts` restarts do not find."""
        return sum(n is None or n > restarts for n in self.later.values())

    def steps(self) -> list[int]:
        """1, 2, 4, … up to the number that was run."""
        powers = [2**k for k in range(20) if 2**k < self.restarts]
        return [*powers, self.restarts]

    def least(self, restarts: int) -> str:
        """One-sided 95 % lower bound of recall (Clopper and Pearson 1934), rounded down."""
        return f"{100 - 100 * float(upper_bound(self.missed(restarts), self.count, digits=4)):.2f}%"


def _percent(share: float) -> str:
    return f"{share:.2%}" if share < 1 else "100 %"


def _rows(one: Curve) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for restarts in one.steps():
        missed = one.missed(restarts)
        share = missed / one.count
        rows.append(
            (
                one.start,
                str(restarts),
                f"{one.count - missed:,} of {one.count:,}",
                _percent(1 - share),
                one.least(restarts),
                f"{share:.2%}",
            )
        )
    return rows


def _spent(one: Curve) -> str:
    return (
        f"{_FROM[one.start]}: {one.equivalents / one.count:,.0f} forward-equivalents, "
        f"{one.seconds / one.count:.2f} s ({one.cpu_seconds / one.count:.2f} s of CPU) per "
        f"picture, all its restarts together; {one.machine}."
    )


def _overview(curves: Sequence[Curve]) -> str:
    heads = ("generator", "start", "latent", "n", "1 restart", "8 restarts", "at least (95 %)",
             "all (restarts)", "not found", "forward-equivalents", "CPU s")  # fmt: skip
    rows = []
    for one in curves:
        if one.start == "prior":
            continue
        recall = [_percent(1 - one.missed(n) / one.count) for n in (1, _EIGHT, one.restarts)]
        run = one.restarts >= _EIGHT
        rows.append(
            (
                one.generator,
                one.start,
                one.dimension,
                f"{one.count:,}",
                recall[0],
                recall[1] if run else "not run",
                one.least(_EIGHT) if run else "not run",
                f"{recall[2]} ({one.restarts})",
                one.missed(one.restarts),
                f"{one.equivalents / one.count:,.0f}",
                f"{one.cpu_seconds / one.count:.2f}",
            )
        )
    return table(heads, rows)


def report(curves: Sequence[Curve]) -> str:
    """Write the whole text."""
    text = (
        "# Recall over restarts\n\nOwn 8-bit outputs, found exactly: every pixel rounds to the "
        "target's. Bounds are one-sided, Clopper-Pearson; n is how many targets, in order, the "
        "time allowed. From the encoder's guess; staged: the style first, then the latent:\n\n"
        f"{_overview(curves)}\n"
    )
    for name in dict.fromkeys(c.generator for c in curves):
        mine = [c for c in curves if c.generator == name]
        lines = [row for one in mine for row in _rows(one)]
        text += (
            f"\n## {name}\n\nEncoder trained on {mine[0].encoder_outputs:,} outputs in "
            f"{mine[0].encoder_seconds:.0f} s. " + " ".join(map(_spent, mine))
        ) + f"\n\n{table(_HEADS, lines)}\n"
    return text.rstrip()


def plot(curves: Sequence[Curve], path: Path) -> None:
    """Draw the share still missing over restarts, both axes logarithmic, a panel for each start."""
    starts = [s for s in _PANELS if any(c.start == s for c in curves)]
    names = list(dict.fromkeys(c.generator for c in curves))
    figure, row = plt.subplots(
        1, len(starts), figsize=(5.2 * len(starts), 4.2), sharey=True, squeeze=False
    )
    for axes, start in zip(row[0], starts, strict=True):
        for one in curves:
            if one.start == start:
                _draw(axes, one, names.index(one.generator))
        ticks = sorted({n for c in curves if c.start == start for n in c.steps()})
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(ticks, [str(n) for n in ticks])
        axes.set_xlabel("restarts")
        axes.set_title(_PANELS[start], fontsize=10)
        axes.grid(visible=True, which="both", alpha=0.2)
        axes.legend(fontsize=8)
    row[0][0].set_ylabel("share of own outputs not found\n(hollow: none missing)")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw(axes: Axes, one: Curve, number: int) -> None:
    steps = one.steps()
    missing = [one.missed(n) / one.count for n in steps]
    # None missing cannot be drawn on a log axis: it stands at half a target, hollow.
    shown = [m or 0.5 / one.count for m in missing]
    style = {"color": f"C{number}", "marker": _MARKERS[number % len(_MARKERS)]}
    beside = [
        n * 2 ** (0.05 * number) for n in steps
    ]  # curves lie on each other where all is found
    axes.plot(beside, shown, color=style["color"], alpha=0.7)
    for x, y, m in zip(beside, shown, missing, strict=True):
        axes.plot(x, y, fillstyle="full" if m else "none", **style)
    label = f"{one.generator} (n {one.count:,})"
    axes.plot([], [], fillstyle="none", label=label, **style)
