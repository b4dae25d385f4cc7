"""Recall over restarts: what share of own outputs is found exactly with 1, 2, 4, 8, … of them.

    python benchmarks/recall.py                        # two generators, both kinds of starts
    python benchmarks/recall.py --generator vae --keep # put one more beside what was measured
    python benchmarks/recall.py --keep --targets 0 --prior-targets 0   # write them anew, run none

A target's restarts run in index order up to the first that finds it, so one run with the largest
number gives the whole curve. Targets are searched in blocks, and blocks in order, until all are
done or the time is up: which targets count does not depend on how any of them ended.
"""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

import torch
import zoo
from counting import Cost, counted
from recall_report import Curve, plot, report
from setting import Setting, common_options, load_settings, machine, start_seed, write

from deniability.imaging.handling import Observations
from deniability.inversion.engine import Engine
from deniability.inversion.lm import LevenbergMarquardt
from deniability.inversion.solution import Stop
from deniability.inversion.starts import Starts


def search(
    engine: Engine, targets: Observations, block: int, limit: float
) -> tuple[list[int | None], Cost]:
    """Search block after block; return which restart found each target, and what it took."""
    needed: list[int | None] = []
    total = Cost()
    seed = start_seed("benchmark-recall")
    while len(needed) < len(targets) and total.seconds < limit:
        first = len(needed)
        part = targets[first : first + block]
        with counted(engine.generator) as cost:
            traces = engine.run(part, lambda i, j, first=first: seed(first + i, j))
        needed += [
            next((r.index + 1 for r in trace.restarts if r.stop is Stop.REACHED), None)
            for trace in traces
        ]
        for name in ("forwards", "tangents", "primals", "seconds", "cpu_seconds"):
            setattr(total, name, getattr(total, name) + getattr(cost, name))
        print(f"{len(needed)} of {len(targets)} in {total.seconds:.0f} s, not found "
              f"{needed.count(None)}", flush=True)  # fmt: skip
    return needed, total


def curve(setting: Setting, options: Namespace, *, encoder: bool) -> Curve:
    """Search every target until it is found or the restarts are used up."""
    engine = Engine(
        generator=setting.generator,
        handling=setting.handling,
        solver=LevenbergMarquardt(setting.protocol.iterations),
        starts=Starts(setting.generator, setting.encoder if encoder else None),
        restarts=options.restarts,
        threshold=setting.resolution,
        resolution=setting.resolution,
    )
    count = options.targets if encoder else options.prior_targets
    targets = setting.targets(count, "benchmark-recall")
    needed, cost = search(engine, targets, options.block, options.seconds)
    return Curve(
        generator=setting.name,
        start="encoder" if encoder else "prior",
        dimension=setting.generator.dimension,
        restarts=options.restarts,
        count=len(needed),
        later={str(i): n for i, n in enumerate(needed) if n != 1},
        seconds=cost.seconds,
        cpu_seconds=cost.cpu_seconds,
        equivalents=cost.equivalents,
        encoder_outputs=setting.training.outputs,
        encoder_seconds=setting.training.seconds,
        machine=machine(options.device),
    )


def kept(path: Path, replaced: list[Curve]) -> list[Curve]:
    """Read the curves of earlier runs whose generator and start were not measured anew."""
    if not path.exists():
        return []
    again = {(c.generator, c.start) for c in replaced}
    earlier = [Curve(**entry) for entry in json.loads(path.read_text())]
    return [c for c in earlier if (c.generator, c.start) not in again]


def main() -> None:
    """Measure the curves; write a table, the numbers and a plot after each generator."""
    parser = common_options(__doc__.splitlines()[0])
    parser.add_argument("--targets", type=int, default=128, help="searched from the encoder")
    parser.add_argument("--prior-targets", type=int, default=8, help="... without an encoder")
    parser.add_argument("--restarts", type=int, default=16)
    parser.add_argument("--block", type=int, default=128, help="targets in one run of the engine")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="no block begins after so many"
    )
    parser.add_argument(
        "--keep", action="store_true", help="replace only what is measured in the old results"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    stem = f"recall-{torch.device(options.device).type}"
    path = options.out / f"{stem}.json"
    order = ["builtin", "face-dcgan", *zoo.ZOO]
    measured: list[Curve] = []
    for setting in load_settings(options):
        counts = {True: options.targets, False: options.prior_targets}
        measured += [curve(setting, options, encoder=e) for e, n in counts.items() if n]
        keep = kept(path, measured) if options.keep else []
        curves = sorted([*keep, *measured], key=lambda c: (order.index(c.generator), c.start))
        write(options.out, stem, report(curves), [asdict(c) for c in curves])
        plot(curves, options.out / f"{stem}.png")


if __name__ == "__main__":
    main()
