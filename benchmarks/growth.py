"""How time and memory grow, and what the engine adds to its solver's bare loop.

    python benchmarks/growth.py

Restarts × 10 on a picture that no restart can find; latent × 4 and picture × 4 on a seeded,
untrained transposed-convolution network; the same search on one worker and on two, each a process
of one thread. For the overhead, the same batch of starts takes the same
number of steps once by hand and once in `Engine.run`, by turns; the least CPU time of
each counts.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from counting import Cost, counted
from setting import (
    Setting,
    common_options,
    load_setting,
    load_settings,
    machine,
    start_seed,
    table,
    write,
)
from torch import Tensor, nn
from workers import Workers, by_workers

from deniability.crypto.digest import FileDigest
from deniability.evidence.register import standard_kind
from deniability.generators.base import Generator
from deniability.imaging.handling import Handling, Observations
from deniability.imaging.observation import build_handling
from deniability.inversion.engine import Engine
from deniability.inversion.jacobian import Jacobian
from deniability.inversion.lm import LevenbergMarquardt
from deniability.inversion.objective import Objective, composed
from deniability.inversion.starts import Starts
from deniability.wire.generator import GeneratorSpec

plt.switch_backend("agg")

_NEVER = -1.0  # a threshold that no residual reaches
_WIDTH = 32  # channels of the synthetic network


@dataclass(frozen=True)
class Point:
    """One size and what a run at it took."""

    axis: str
    size: int
    cost: Cost


def synthetic(dimension: int, side: int) -> Generator:
    """Build a seeded network `R x d` to `R x 1 x side x side`, side 4 times a power of two."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layers: list[nn.Module] = [nn.Linear(dimension, _WIDTH * 16), nn.Unflatten(1, (-1, 4, 4))]
        for _ in range((side // 4).bit_length() - 2):
            layers += [nn.LeakyReLU(0.2), nn.ConvTranspose2d(_WIDTH, _WIDTH, 4, 2, 1)]
        layers += [nn.LeakyReLU(0.2), nn.ConvTranspose2d(_WIDTH, 1, 4, 2, 1), nn.Tanh()]
        module = nn.Sequential(*layers).eval().requires_grad_(False)
    spec = GeneratorSpec.model_validate(
        {
            "latent": [{"name": "z", "shape": (dimension,), "prior": "normal"}],
            "channels": 1,
            "height": side,
            "width": side,
            "output_range": ("-1", "1"),
            "rounding": "round",
            "entropy": {"source": "shake256", "seed_bits": 64},
            "format": "torchscript",
        }
    )
    files = (FileDigest(path="synthetic", size=1, sha256="0" * 64),)
    cpu = torch.device("cpu")
    return Generator(module=module, forward=module, spec=spec, device=cpu, files=files)


def foreign(generator: Generator, handling: Handling, count: int) -> Observations:
    """Make pictures of noise, which no generator here can make."""
    spec = generator.spec
    shape = (count, spec.channels, spec.height, spec.width)
    return handling.save(np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8))


def fixed_steps(
    generator: Generator, handling: Handling, starts: Starts, restarts: int, steps: int
) -> Engine:
    """Return an engine in which every restart takes exactly `steps` steps."""
    solver = LevenbergMarquardt(steps, patience=1 << 30)
    return Engine(generator, handling, solver, starts, restarts, _NEVER, 0.0)


def grown(generator: Generator, axis: str, size: int, restarts: int, steps: int) -> Point:
    """Search one foreign picture from the prior."""
    handling = build_handling(standard_kind(generator.spec), device=generator.device)
    engine = fixed_steps(generator, handling, Starts(generator, None), restarts, steps)
    target = foreign(generator, handling, 1)
    with counted(generator) as cost:
        engine.run(target, start_seed("benchmark-growth"))
    return Point(axis, size, cost)


def growth(builtin: Generator, restarts: int, steps: int) -> list[Point]:
    """Measure along the three axes."""
    grown(builtin, "warm-up", 1, 4, 2)
    points = [grown(builtin, "restarts", n, n, steps) for n in (restarts, 10 * restarts)]
    points += [grown(synthetic(d, 32), "latent", d, 8, steps) for d in (16, 64, 256)]
    points += [grown(synthetic(64, s), "picture", s * s, 8, steps) for s in (16, 32, 64)]
    return points


def spread(builtin: Generator, counts: list[int], pictures: int, rounds: int) -> list[Workers]:
    """Search foreign pictures on clusters of these numbers of workers."""
    handling = build_handling(standard_kind(builtin.spec), device=builtin.device)
    engine = fixed_steps(builtin, handling, Starts(builtin, None), 1, 10)
    targets = foreign(builtin, handling, pictures)
    return by_workers("builtin", engine, targets, start_seed("benchmark-growth"), counts, rounds)


def workers_table(measured: list[Workers]) -> str:
    """Format what workers took; the ratio is to the first row."""
    heads = ("workers", "seconds", "speed", "load average", "same bits")
    return table(
        heads,
        [
            (w.workers, f"{w.seconds:.2f}", f"× {measured[0].seconds / w.seconds:.2f}",
             f"{w.load:.1f}", "yes" if w.same else "no")
            for w in measured
        ],
    )  # fmt: skip


def bare_loop(
    engine: Engine, targets: Observations, latents: Tensor, steps: int
) -> tuple[float, Tensor]:
    """Take the steps by hand; return CPU seconds and the statistics reached."""
    start = time.process_time()
    forward = composed(engine.generator, engine.handling.operator)
    jacobian = Jacobian(forward, engine.generator.dimension)
    placed = targets.to(engine.generator.device)
    objective = Objective(
        forward, jacobian, placed.low, placed.high, placed.centre, engine.handling.slack
    )
    state = engine.solver.init(objective, latents)
    for _ in range(steps):
        state = engine.solver.step(objective, state)
    return time.process_time() - start, state.statistic


def overhead(setting: Setting, pictures: int, steps: int, rounds: int) -> dict[str, float]:
    """Compare the engine with the bare loop on the same starts."""
    targets = setting.targets(pictures)
    starts = Starts(setting.generator, setting.encoder)
    engine = fixed_steps(setting.generator, setting.handling, starts, 1, steps)
    seed = start_seed("benchmark-overhead")
    guesses = starts.guesses(targets.pixels)
    assert guesses is not None, "the setting has an encoder"
    latents = torch.stack([starts.latent(0, seed(i, 0), guesses[i]) for i in range(pictures)])
    by_hand, by_engine = [], []
    for _ in range(rounds):
        seconds, statistic = bare_loop(engine, targets, latents, steps)
        by_hand.append(seconds)
        start = time.process_time()
        traces = engine.run(targets, seed)
        by_engine.append(time.process_time() - start)
        reached = torch.tensor([t.restarts[0].residual for t in traces], dtype=torch.float64)
        assert torch.allclose(reached, statistic, rtol=1e-4, atol=1e-12), "not the same steps"
    bare, full = min(by_hand), min(by_engine)
    return {"pictures": pictures, "steps": steps, "bare": bare, "engine": full,
            "overhead": full / bare - 1}  # fmt: skip


def plot(points: list[Point], path: Path) -> None:
    """Draw seconds and added memory over size, all axes logarithmic."""
    axes_names = list(dict.fromkeys(p.axis for p in points))
    figure, panels = plt.subplots(1, len(axes_names), figsize=(11, 3.8))
    for panel, axis in zip(panels, axes_names, strict=True):
        mine = [p for p in points if p.axis == axis]
        sizes = [p.size for p in mine]
        panel.loglog(sizes, [p.cost.cpu_seconds for p in mine], "o-", label="CPU seconds")
        grown_by = [max(p.cost.grown_mib, 1.0) for p in mine]
        panel.loglog(sizes, grown_by, "s--", label="MiB added by the run (at least 1)")
        panel.set_xticks(sizes, [f"{n:,}" for n in sizes])
        panel.minorticks_off()
        panel.set_xlabel({"picture": "pixels", "latent": "latent numbers"}.get(axis, axis))
        panel.grid(visible=True, which="both", alpha=0.2)
    panels[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    """Measure, and write tables, numbers and a plot."""
    parser = common_options(__doc__.splitlines()[0])
    parser.add_argument("--restarts", type=int, default=48)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--workers-pictures", type=int, default=512)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = list(load_settings(options))
    builtin = load_setting("builtin", options.encoder_outputs).generator
    points = growth(builtin, options.restarts, options.steps)
    rows = []
    for before, point in zip([None, *points], points, strict=False):
        same = before is not None and before.axis == point.axis
        ratio = (
            f"× {point.cost.cpu_seconds / before.cost.cpu_seconds:.1f}" if before and same else ""
        )
        more = f"× {point.size / before.size:g}" if before and same else ""
        rows.append((point.axis, f"{point.size:,}", more, f"{point.cost.cpu_seconds:.2f}", ratio,
                     f"{point.cost.equivalents:,}", f"{point.cost.peak_mib:.0f}",
                     f"{point.cost.grown_mib:+.0f}"))  # fmt: skip
    heads = ("axis", "size", "", "CPU seconds", "", "forward-equivalents", "peak MiB", "added MiB")
    added = {}
    for setting in settings:
        face = setting.name == "face-dcgan"
        pictures, steps = (8, 4) if face else (32, 12)
        added[setting.name] = overhead(setting, pictures, steps, options.rounds)
    lines = [
        (name, o["pictures"], o["steps"], f"{o['bare']:.3f}", f"{o['engine']:.3f}",
         f"{o['overhead']:+.1%}")
        for name, o in added.items()
    ]  # fmt: skip
    text = (
        f"# Growth and overhead\n\n{machine('cpu')}. Every restart takes {options.steps} steps. "
        "Restarts on the built-in generator; latent (at 32 × 32) and picture (at 64 latent "
        "numbers) on a seeded network, 8 restarts. Memory is the resident set of the whole "
        f"process, and what the run added to it.\n\n{table(heads, rows)}\n\n## The engine over the "
        "bare loop\n\nSame starts, same steps, by turns, least of "
        f"{options.rounds} rounds.\n\n"
        + table(("generator", "batch", "steps", "bare s", "engine s", "overhead"), lines)
    )
    measured = spread(builtin, options.workers, options.workers_pictures, options.rounds)
    if measured:
        text += (
            f"\n\n## Workers\n\n{options.workers_pictures} pictures, one restart of 10 steps each, "
            "on a local Ray cluster; a worker is a process with one thread, and the process that "
            f"asks takes its share of the same {os.cpu_count()} cores. Least of "
            f"{options.rounds} rounds.\n\n{workers_table(measured)}"
        )
    data = {"points": [vars(p) | {"cost": vars(p.cost)} for p in points], "overhead": added,
            "workers": [vars(w) for w in measured]}  # fmt: skip
    write(options.out, "growth-cpu", text, data)
    plot(points, options.out / "growth-cpu.png")


if __name__ == "__main__":
    main()
