"""Recall over restarts: what share of own outputs is found exactly with 1, 2, 4, 8, … of them.

    python benchmarks/recall.py                        # both generators, both kinds of starts

A target's restarts run in index order up to the first that finds it, so one run with the largest
number gives the whole curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from counting import Cost, counted
from setting import Setting, common_options, load_settings, machine, start_seed, table, write

from deniability.imaging.handling import Observations
from deniability.inversion.engine import Engine
from deniability.inversion.lm import LevenbergMarquardt
from deniability.inversion.solution import Stop
from deniability.inversion.starts import Starts
from deniability.stats.binomial import upper_bound

plt.switch_backend("agg")


@dataclass(frozen=True)
class Curve:
    """After how many restarts each target was found; None for those that were not."""

    generator: str
    start: str
    restarts: int
    needed: list[int | None]
    cost: Cost

    def found(self, restarts: int) -> int:
        """How many targets the first `restarts` restarts find."""
        return sum(n is not None and n <= restarts for n in self.needed)

    def steps(self) -> list[int]:
        """1, 2, 4, … up to the number that was run."""
        powers = [2**k for k in range(20) if 2**k < self.restarts]
        return [*powers, self.restarts]


def curve(setting: Setting, targets: Observations, restarts: int, *, encoder: bool) -> Curve:
    """Search every target until it is found or the restarts are used up."""
    engine = Engine(
        generator=setting.generator,
        handling=setting.handling,
        solver=LevenbergMarquardt(setting.protocol.iterations),
        starts=Starts(setting.generator, setting.encoder if encoder else None),
        restarts=restarts,
        threshold=setting.resolution,
        resolution=setting.resolution,
    )
    with counted(setting.generator) as cost:
        traces = engine.run(targets, start_seed("benchmark-recall"))
    needed = [
        next((r.index + 1 for r in trace.restarts if r.stop is Stop.REACHED), None)
        for trace in traces
    ]
    return Curve(setting.name, "encoder" if encoder else "prior", restarts, needed, cost)


def rows_of(one: Curve) -> list[list[str]]:
    """Format a curve: recall, and the 95 % upper bound on the share that is missed."""
    total = len(one.needed)
    lines = []
    for restarts in one.steps():
        found = one.found(restarts)
        missed = float(upper_bound(total - found, total))
        lines.append(
            [
                one.start,
                str(restarts),
                f"{found} of {total}",
                f"{found / total:.1%}",
                f"{missed:.1%}",
            ]
        )
    return lines


def plot(curves: list[Curve], path: Path) -> None:
    """Draw the share still missing over restarts, both axes logarithmic."""
    figure, axes = plt.subplots(figsize=(6.4, 4.2))
    names = list(dict.fromkeys(c.generator for c in curves))
    for one in curves:
        total, steps = len(one.needed), one.steps()
        missing = [1 - one.found(n) / total for n in steps]
        # None missing cannot be drawn on a log axis: it stands at half a target, hollow.
        shown = [m or 0.5 / total for m in missing]
        style = {"color": f"C{names.index(one.generator)}"}
        style["linestyle"] = "-" if one.start == "encoder" else "--"
        axes.plot(steps, shown, label=f"{one.generator}, from the {one.start} (n {total})", **style)
        for x, y, m in zip(steps, shown, missing, strict=True):
            axes.plot(x, y, "o", color=style["color"], fillstyle="full" if m else "none")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = sorted({n for one in curves for n in one.steps()})
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.set_xlabel("restarts")
    axes.set_ylabel("share of own outputs not found")
    axes.set_title("hollow: none missing", fontsize=9)
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    """Measure the curves and write a table, the numbers and a plot."""
    parser = common_options(__doc__.splitlines()[0])
    parser.add_argument(
        "--small", type=int, default=256, help="targets on generators of at most 64 latent numbers"
    )
    parser.add_argument("--large", type=int, default=32, help="targets on the others")
    parser.add_argument("--large-prior", type=int, default=8, help="... without an encoder")
    parser.add_argument("--restarts", type=int, default=32)
    parser.add_argument("--restarts-large-prior", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    curves, text = [], f"# Recall over restarts\n\n{machine(options.device)}.\n"
    heads = ("start", "restarts", "found exactly", "recall", "missed, 95 % upper bound")
    for setting in load_settings(options):
        large = setting.generator.dimension > 64  # a Jacobian costs that many forward passes
        targets = setting.targets(options.large if large else options.small, "benchmark-recall")
        few = targets[0 : options.large_prior] if large else targets
        limit = options.restarts_large_prior if large else options.restarts
        both = [
            curve(setting, targets, options.restarts, encoder=True),
            curve(setting, few, limit, encoder=False),
        ]
        curves += both
        lines = [line for one in both for line in rows_of(one)]
        spent = "; ".join(
            f"from the {c.start} {c.cost.equivalents / len(c.needed):,.0f} forward-equivalents and "
            f"{c.cost.seconds / len(c.needed):.2f} s per picture" for c in both
        )  # fmt: skip
        text += (
            f"\n## {setting.name}\n\nEncoder trained on {setting.training.outputs:,} outputs. "
            f"Spent: {spent}.\n\n{table(heads, lines)}\n"
        )
    data = [vars(c) | {"cost": vars(c.cost)} for c in curves]
    write(options.out, f"recall-{torch.device(options.device).type}", text.rstrip(), data)
    plot(curves, options.out / f"recall-{torch.device(options.device).type}.png")


if __name__ == "__main__":
    main()
