"""The page of the comparison with published loops: table, ratios, what the encoder costs, plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from counting import Cost
from peer_loops import LOOPS, Outcome
from setting import FLOOR, NEAR, Setting, machine, table, write

plt.switch_backend("agg")


@dataclass(frozen=True)
class Row:
    """One solver on its targets."""

    solver: str
    batch: int
    targets: int
    exact: int
    near: int
    median_distance: float
    cost: Cost

    @property
    def equivalents(self) -> float:
        """Forward-equivalents per exact recovery; infinite if there was none."""
        return self.cost.equivalents / self.exact if self.exact else float("inf")

    @property
    def seconds(self) -> float:
        """CPU seconds per exact recovery; infinite if there was none."""
        return self.cost.cpu_seconds / self.exact if self.exact else float("inf")

    def cells(self) -> list[str]:
        """Format the row."""
        none = f"∞: 0 of {self.targets}"
        return [
            self.solver,
            str(self.batch),
            f"{self.exact} of {self.targets}",
            f"{self.near} of {self.targets}",
            f"{self.median_distance:.1e}",
            f"{self.cost.equivalents / self.targets:,.0f}",
            f"{self.equivalents:,.0f}" if self.exact else none,
            f"{self.cost.equivalents / self.near:,.0f}" if self.near else none,
            f"{self.cost.seconds / self.targets:.2f}",
            f"{self.cost.cpu_seconds / self.targets:.2f}",
            f"{self.seconds:.2f}" if self.exact else none,
            f"{self.cost.peak_mib:.0f} (+{self.cost.grown_mib:.0f})",
        ]


HEADS = (
    "loop",
    "batch",
    "exact",
    f"distance ≤ {NEAR} × floor",
    "median distance",
    "forward-equivalents per picture",
    "per exact recovery",
    "per near recovery",
    "seconds per picture",
    "CPU seconds per picture",
    "per exact recovery",
    "peak memory, MiB",
)


def row(solver: str, batch: int, outcome: Outcome, cost: Cost, resolution: float) -> Row:
    """Decide which targets were found."""
    distance = outcome.distance.numpy()
    return Row(
        solver,
        batch,
        len(distance),
        int((outcome.residual <= resolution).sum()),
        int((distance <= NEAR * FLOOR).sum()),
        float(np.median(distance)),
        cost,
    )


def pays_off(setting: Setting, rows: Sequence[Row]) -> str:
    """Say what the encoder cost, and after how many pictures that is regained."""
    training, warm = setting.training, rows[0]
    text = (
        f"The encoder is trained once, at registration: {training.outputs:,} outputs, "
        f"{training.seconds:.0f} s of wall clock on {training.threads} thread(s), "
        f"{training.equivalents:,.0f} forward-equivalents (its own arithmetic in units of this "
        "generator's). It is in none of the rows above. "
    )
    for cold in (r for r in rows if "from the prior" in r.solver and r.exact):
        saved = max(cold.equivalents - warm.equivalents, 1e-9)
        after = training.equivalents / saved
        text += (
            f"Against our own search from the prior it pays off after {after:,.0f} pictures found "
            "by forward-equivalents. "
        )
    for rival in (r for r in rows if "ours" not in r.solver and r.near):
        gap = max(rival.cost.equivalents / rival.near - warm.equivalents, 1e-9)
        text += f"Against {rival.solver}, near ones counted: {training.equivalents / gap:,.0f}. "
    count = warm.targets
    spent = training.equivalents / count + warm.equivalents
    return text + (
        f"Spread over these {count} pictures alone, encoder and search make {spent:,.0f} for each "
        "exact recovery."
    )


def goal(rows: Sequence[Row]) -> str:
    """State the ratio to each peer; where it found nothing, what is known of the ratio."""
    lines = []
    for rival in (r for r in rows if "ours" not in r.solver):
        if rival.exact:
            ratio = f"{rival.equivalents / rows[0].equivalents:,.0f} × ours"
            nearly = rival.cost.equivalents / max(rival.near, 1) / rows[0].equivalents
            ratio += f" (counting near ones as found, {nearly:,.0f} ×)"
        else:
            # Not one recovery for all that was spent: a whole one costs more, if it exists.
            least = rival.cost.equivalents / rows[0].equivalents
            ratio = (
                f"∞: it recovered 0 of {rival.targets} for {rival.cost.equivalents:,} "
                f"forward-equivalents, the price of {least:,.0f} of ours; near: {rival.near}"
            )
        lines.append(f"- {rival.solver}, batch {rival.batch}: {ratio}.")
    return "\n".join(lines)


def plot(setting: Setting, rows: Sequence[Row], path: Path) -> None:
    """Draw what each loop spends per picture, with what it recovers."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
    labels = [r.solver.replace("*", "").split(" (")[0] + f", batch {r.batch}" for r in rows]
    places = np.arange(len(rows))[::-1]
    for axes, value, title in (
        (left, [r.cost.equivalents / r.targets for r in rows], "forward-equivalents per picture"),
        (right, [r.cost.cpu_seconds / r.targets for r in rows], "CPU seconds per picture"),
    ):
        colours = ["C2" if "ours" in r.solver else "C3" for r in rows]
        axes.scatter(value, places, color=colours, zorder=2)
        axes.set_xscale("log")
        axes.grid(visible=True, axis="x", alpha=0.3)
        axes.set_xlabel(title)
        axes.set_yticks(places, labels, fontsize=8)
        axes.set_xlim(min(value) / 2, max(value) * 20)
        for place, each, r in zip(places, value, rows, strict=True):
            found = f"{r.exact} exact, {r.near} near, of {r.targets}"
            axes.text(each * 1.25, place, found, va="center", fontsize=7)
    figure.suptitle(f"{setting.name}: what is spent, and what is recovered exactly")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def report(setting: Setting, rows: Sequence[Row], device: str, out: Path) -> None:
    """Write the page, the numbers and the plot of one generator."""
    text = (
        f"# Search loops side by side: {setting.name}\n\n{machine(device)}. Own 8-bit "
        f"outputs; floor of rounding {FLOOR:.2e}. Forward 1, backward 2, a Jacobian d = "
        f"{setting.generator.dimension} and its primal passes, all counted as run. Loops on "
        "mean squared pixel error from prior draws; a picture found, exactly or "
        "nearly, gets no further restarts. Peak memory is the resident set of the whole "
        "process (interpreter, torch, weights, encoder, batch), in brackets what the run "
        "added to it.\n\n"
        f"{table(HEADS, [r.cells() for r in rows])}\n\n"
        f"Forward-equivalents per exact recovery:\n\n{goal(rows)}\n\n{pays_off(setting, rows)}"
    )
    absent = [p.name for p in LOOPS.values() if not any(r.solver.startswith(p.name) for r in rows)]
    if absent:
        text += f"\n\nNot run here: {'; '.join(absent)}."
    data = {"machine": machine(device), "training": asdict(setting.training)}
    data["rows"] = [asdict(r) | {"equivalents": r.cost.equivalents} for r in rows]
    stem = f"peers-{setting.name}-{setting.generator.device.type}"
    write(out, stem, text, data)
    plot(setting, rows, out / f"{stem}.png")
