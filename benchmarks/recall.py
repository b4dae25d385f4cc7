"""Recall over restarts: what share of own outputs is found exactly with 1, 2, 4, 8, … of them.

    python benchmarks/recall.py                        # two generators, both kinds of starts
    python benchmarks/recall.py --generator vae --keep # put one more beside what was measured
    python benchmarks/recall.py --generator vae --keep --resume    # go on where that one stopped
    python benchmarks/recall.py --keep --targets 0 --prior-targets 0   # write them anew, run none
    python benchmarks/recall.py --generator stylegan2 --encoder-outputs 4096 --keep --targets 0
        --prior-targets 0 --staged-targets 16 --restarts 8 --block 1   # style first, then latent

A target's restarts run in index order up to the first that finds it, so one run with the largest
number gives the whole curve. Targets are searched in blocks, and blocks in order, until all are
done or the time is up: which targets count does not depend on how any of them ended. The results
are written after every block.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
import zoo
from counting import counted
from recall_report import Curve, plot, report
from setting import Setting, common_options, load_settings, machine, start_seed, write

from deniability.inversion.engine import Engine
from deniability.inversion.lm import LevenbergMarquardt
from deniability.inversion.solution import Stop
from deniability.inversion.staged import has_stages, staged_starts
from deniability.inversion.starts import Starts


def search(
    engine: Engine, setting: Setting, options: Namespace, start: str, begun: Curve | None
) -> Iterator[Curve]:
    """Search block after block; yield the curve so far after each."""
    count = wanted(options)[start]
    targets = setting.targets(count, "benchmark-recall")
    seed = start_seed("benchmark-recall")
    curve = begun or empty(setting, options, start)
    spent = 0.0
    while curve.count < count and spent < options.seconds:
        first = curve.count
        part = targets[first : first + options.block]
        with counted(engine.generator) as cost:
            traces = engine.run(part, lambda i, j, first=first: seed(first + i, j))
        needed = [
            next((r.index + 1 for r in trace.restarts if r.stop is Stop.REACHED), None)
            for trace in traces
        ]
        later = {str(first + i): n for i, n in enumerate(needed) if n != 1}
        curve = replace(
            curve,
            count=first + len(needed),
            later=curve.later | later,
            seconds=curve.seconds + cost.seconds,
            cpu_seconds=curve.cpu_seconds + cost.cpu_seconds,
            equivalents=curve.equivalents + cost.equivalents,
            machine=machine(options.device),
        )
        spent += cost.seconds
        print(f"{curve.count} of {count} in {curve.seconds:.0f} s, not found "
              f"{curve.missed(curve.restarts)}", flush=True)  # fmt: skip
        yield curve


def empty(setting: Setting, options: Namespace, start: str) -> Curve:
    """Return a curve of no targets yet."""
    return Curve(
        generator=setting.name,
        start=start,
        dimension=setting.generator.dimension,
        restarts=options.restarts,
        count=0,
        later={},
        seconds=0.0,
        cpu_seconds=0.0,
        equivalents=0,
        encoder_outputs=setting.training.outputs,
        encoder_seconds=setting.training.seconds,
        machine="",
    )


def curves(setting: Setting, options: Namespace, earlier: Sequence[Curve]) -> Iterator[Curve]:
    """Search every target until it is found or the restarts are used up, from both starts."""
    for start, count in wanted(options).items():
        solver = LevenbergMarquardt(setting.protocol.iterations)
        starts = starts_of(setting, start, solver) if count else None
        if starts is None:
            continue
        engine = Engine(
            generator=setting.generator,
            handling=setting.handling,
            solver=solver,
            starts=starts,
            restarts=options.restarts,
            threshold=setting.resolution,
            resolution=setting.resolution,
        )
        same = (setting.name, start, options.restarts, setting.training.outputs)
        begun = [
            c for c in earlier if (c.generator, c.start, c.restarts, c.encoder_outputs) == same
        ]
        yield from search(
            engine, setting, options, start, begun[0] if options.resume and begun else None
        )


def wanted(options: Namespace) -> dict[str, int]:
    """Return how many targets are searched from each kind of start."""
    return {
        "encoder": options.targets,
        "prior": options.prior_targets,
        "staged": options.staged_targets,
    }


def starts_of(setting: Setting, start: str, solver: LevenbergMarquardt) -> Starts | None:
    """Return where restarts begin; None if this generator has no stages."""
    if start == "staged":
        if not has_stages(setting.generator):
            return None
        return staged_starts(setting.generator, setting.handling, solver)
    return Starts(setting.generator, setting.encoder if start == "encoder" else None)


def read(path: Path) -> list[Curve]:
    """Read the curves of earlier runs."""
    return [Curve(**entry) for entry in json.loads(path.read_text())] if path.exists() else []


def main() -> None:
    """Measure the curves; write a table, the numbers and a plot after each generator."""
    parser = common_options(__doc__.splitlines()[0])
    parser.add_argument("--targets", type=int, default=128, help="searched from the encoder")
    parser.add_argument("--prior-targets", type=int, default=8, help="... without an encoder")
    parser.add_argument(
        "--staged-targets", type=int, default=0, help="... in two stages, style before latent"
    )
    parser.add_argument("--restarts", type=int, default=16)
    parser.add_argument("--block", type=int, default=128, help="targets in one run of the engine")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="no block begins after so many"
    )
    parser.add_argument(
        "--keep", action="store_true", help="replace only what is measured in the old results"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with a kept curve of as many restarts"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    stem = f"recall-{torch.device(options.device).type}"
    path = options.out / f"{stem}.json"
    results = {(c.generator, c.start): c for c in read(path)} if options.keep else {}
    for setting in load_settings(options):
        for one in curves(setting, options, list(results.values())):
            results[one.generator, one.start] = one
            save(options.out, stem, list(results.values()))
    save(options.out, stem, list(results.values()))


def save(out: Path, stem: str, results: Sequence[Curve]) -> None:
    """Write table, numbers and plot of everything there is."""
    order = ["builtin", "face-dcgan", *zoo.ZOO]
    ordered = sorted(results, key=lambda c: (order.index(c.generator), c.start))
    write(out, stem, report(ordered), [asdict(c) for c in ordered])
    plot(ordered, out / f"{stem}.png")


if __name__ == "__main__":
    main()
