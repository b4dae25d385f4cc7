"""Our search against the loops that are published: same targets, same process, counted calls.

    python benchmarks/peers.py                         # built-in generator and face DCGAN
    python benchmarks/peers.py --generator builtin --loops seed ronan

Targets are the generator's own 8-bit outputs, so every one of them has an answer. *Exact* means
that the output lies in the file's cell (half a step around each pixel) to within the resolution,
*near* that its mean squared distance is at most 1.5 times the rounding floor.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial

import torch
from counting import counted
from peer_loops import LOOPS, SEED, Loop, Outcome, search
from peer_report import Row, report, row
from setting import FLOOR, NEAR, Setting, common_options, load_settings, start_seed
from torch import Tensor

from deniability.imaging.handling import Observations
from deniability.inversion.engine import Engine
from deniability.inversion.jacobian import Jacobian
from deniability.inversion.lm import LevenbergMarquardt
from deniability.inversion.objective import Objective, composed
from deniability.inversion.starts import Starts


def ours(
    setting: Setting, targets: Observations, restarts: int, *, encoder: bool, one_by_one: bool
) -> Row:
    """Run the engine on all targets at once, or on one after the other."""
    engine = Engine(
        generator=setting.generator,
        handling=setting.handling,
        solver=LevenbergMarquardt(setting.protocol.iterations),
        starts=Starts(setting.generator, setting.encoder if encoder else None),
        restarts=restarts,
        threshold=setting.resolution,
        resolution=setting.resolution,
        batch_limit=1 if one_by_one else None,
    )
    count = len(targets)
    parts = [slice(i, i + 1) for i in range(count)] if one_by_one else [slice(0, count)]
    seed = start_seed("benchmark-start")
    with counted(setting.generator) as cost:
        traces = [
            trace
            for part in parts
            for trace in engine.run(targets[part], lambda t, i, p=part: seed(p.start + t, i))
        ]
    best = [trace.best for trace in traces]
    outcome = Outcome(
        torch.tensor([b.residual if b else float("inf") for b in best], dtype=torch.float64),
        torch.tensor([b.distance if b else float("inf") for b in best], dtype=torch.float64),
    )
    start = "encoder" if encoder else "prior"
    name = f"**ours**, from the {start}, ≤ {restarts} restarts"
    return row(name, 1 if one_by_one else count, outcome, cost, setting.resolution)


def theirs(setting: Setting, targets: Observations, loop: Loop, batch: int | None) -> Row:
    """Run a published loop; its starts are full-width prior draws."""
    forward = composed(setting.generator, setting.handling.operator)
    placed = targets.to(setting.generator.device)
    objective = Objective(
        forward,
        Jacobian(forward, setting.generator.dimension),
        placed.low,
        placed.high,
        placed.centre,
        setting.handling.slack,
    )

    def draw(rows: Tensor, index: int) -> Tensor:
        stream = torch.Generator().manual_seed(1_000_003 * (index + 1))
        drawn = torch.randn(len(targets), setting.generator.dimension, generator=stream)
        return drawn[rows].to(setting.generator.device)

    with counted(setting.generator) as cost:
        outcome = search(loop, objective, draw, cost, setting.resolution, NEAR * FLOOR, batch=batch)
    name = f"{loop.name}: {loop.restarts} × {loop.steps} ({loop.source})"
    size = (batch or len(targets)) if loop.batched else 1
    return row(name, size, outcome, cost, setting.resolution)


def measure(setting: Setting, options: argparse.Namespace) -> Iterator[Row]:
    """Run everything on one generator, ours from the encoder first, from the prior last."""
    pictures = {"builtin": options.builtin, "face-dcgan": options.faces}[setting.name]
    slow = {"builtin": options.slow_builtin, "face-dcgan": options.slow_faces}[setting.name]
    targets = setting.targets(pictures)
    ours(setting, targets[0:1], 1, encoder=True, one_by_one=True)  # load what torch loads lazily
    runs: list[Callable[[], Row]] = [
        partial(ours, setting, targets, options.restarts, encoder=True, one_by_one=False),
        partial(ours, setting, targets, options.restarts, encoder=True, one_by_one=True),
    ]
    for name in options.loops:
        count = slow if name == "flipad" else pictures
        runs.append(partial(theirs, setting, targets[0:count], LOOPS[name], None))
    if options.single:
        runs.append(partial(theirs, setting, targets[0 : options.single], SEED, 1))
    runs.append(partial(ours, setting, targets, options.restarts, encoder=False, one_by_one=False))
    for run in runs:
        yield run()


def main() -> None:
    """Measure, and write a table, the numbers and a plot for each generator."""
    parser = common_options(__doc__.splitlines()[0])
    parser.add_argument("--builtin", type=int, default=16, help="targets, built-in generator")
    parser.add_argument("--faces", type=int, default=8, help="targets on the face DCGAN")
    parser.add_argument("--slow-faces", type=int, default=2, help="... for FLIPAD's baseline")
    parser.add_argument("--slow-builtin", type=int, default=4, help="... for FLIPAD's baseline")
    parser.add_argument("--restarts", type=int, default=8, help="ours, at most")
    parser.add_argument("--single", type=int, default=1, help="targets of the seed paper's batch 1")
    parser.add_argument("--loops", nargs="*", choices=list(LOOPS), default=list(LOOPS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for setting in load_settings(options):
        rows: list[Row] = []
        for each in measure(setting, options):
            rows.append(each)
            print(" | ".join(each.cells()), file=sys.stderr, flush=True)
            # After each, so that an interrupted run leaves what it has measured.
            report(setting, rows, options.device, options.out)


if __name__ == "__main__":
    main()
