"""Exact recovery of own 8-bit outputs: Levenberg-Marquardt on the cell, and Adam on equal budget.

    python benchmarks/recovery.py                      # built-in generator
    python benchmarks/recovery.py --face faces         # face DCGAN, see examples/face_dcgan.py

Both solvers get the same targets and the same starts (the encoder's guess) in one process. A
forward-equivalent is one picture through the generator: a Jacobian counts d + 1 of them, the trial
steps with it 16 (their most), and a gradient step of Adam 4 (forward, backward twice as much, and
the new residual). Adam gets as many as Levenberg-Marquardt used on average, or as many times more
as --budgets says.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from deniability.crypto.seeds import derive_seed
from deniability.evidence.calibrate import own_pictures
from deniability.evidence.procedure import Procedure, train_encoder
from deniability.evidence.progress import Silent
from deniability.evidence.register import standard_kind
from deniability.evidence.subject import describe_environment, describe_model
from deniability.generators.base import Generator
from deniability.generators.entropy import latents_from_seed
from deniability.generators.load import load_generator
from deniability.imaging.handling import Observations
from deniability.imaging.observation import build_handling
from deniability.inversion.adam import Adam
from deniability.inversion.engine import Engine
from deniability.inversion.lm import LevenbergMarquardt
from deniability.inversion.solution import Restart
from deniability.inversion.solver import Solver
from deniability.inversion.starts import Starts
from deniability.wire.protocol import preset

RESULTS = Path(__file__).parent / "results"
FLOOR = 1 / 195075  # rounding noise of 8-bit pixels on [-1, 1]
TRIALS = 16  # forward passes per step of Levenberg-Marquardt at most: 4 dampings, 4 moves


@dataclass(frozen=True)
class Row:
    """One solver's results on all targets."""

    solver: str
    found: int
    near: int
    targets: int
    median_distance: float
    iterations: float
    forwards: float
    seconds: float


def run(
    name: str, solver: Solver, engine: Engine, observations: Observations, per_step: int
) -> Row:
    """Run one restart on every target."""
    ended: list[Restart] = []
    bare = Engine(**{**vars(engine), "solver": solver})
    start = time.perf_counter()
    bare.run(
        observations,
        lambda target, index: derive_seed(
            role="benchmark", weights="0" * 64, protocol="0" * 64, index=target * 1000 + index
        ),
        on_restart=lambda _, restart: ended.append(restart),
    )
    seconds = time.perf_counter() - start
    distances = np.array([r.distance if r.distance is not None else np.inf for r in ended])
    iterations = float(np.mean([r.iterations for r in ended]))
    return Row(
        solver=name,
        found=sum(r.residual == 0 for r in ended),
        near=int((distances <= 1.5 * FLOOR).sum()),
        targets=len(ended),
        median_distance=float(np.median(distances)),
        iterations=iterations,
        forwards=iterations * per_step + 1,
        seconds=seconds,
    )


def table(rows: list[Row]) -> str:
    """Format the rows as Markdown."""
    lines = [
        "| solver | found exactly, first try | distance <= 1.5 x floor | median distance | "
        "iterations | forward-equivalents per picture | per exact recovery | seconds per picture |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        each = f"{r.forwards * r.targets / r.found:.0f}" if r.found else "none recovered"
        lines.append(
            f"| {r.solver} | {r.found} of {r.targets} | {r.near} of {r.targets} | "
            f"{r.median_distance:.2e} | {r.iterations:.1f} | {r.forwards:.0f} | {each} | "
            f"{r.seconds / r.targets:.2f} |"
        )
    return "\n".join(lines)


def measure(
    generator: Generator, pictures: int, outputs: int, iterations: int, budgets: list[float]
) -> list[Row]:
    """Train the encoder and run all solvers on `pictures` own outputs."""
    protocol = preset("pristine-standard-v1").model_copy(update={"encoder_outputs": outputs})
    model = describe_model(generator)
    start = time.perf_counter()
    encoder = train_encoder(generator, model, protocol, state=None, progress=Silent())
    print(f"encoder: {outputs} outputs in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    procedure = Procedure(generator, model, protocol, encoder)
    handling = build_handling(standard_kind(generator.spec), device=generator.device)
    seeds = [
        derive_seed(role="benchmark-target", weights=model.weights, protocol="0" * 64, index=i)
        for i in range(pictures)
    ]
    latents = np.stack([latents_from_seed(generator.spec, seed) for seed in seeds])
    observations = handling.save(own_pictures(procedure, torch.from_numpy(latents)))
    resolution = float(protocol.resolution)
    engine = Engine(
        generator=generator,
        handling=handling,
        solver=LevenbergMarquardt(iterations),
        starts=Starts(generator, encoder),
        restarts=1,
        threshold=resolution,
        resolution=resolution,
    )
    per_step = generator.dimension + 1 + TRIALS
    rows = [run("Levenberg-Marquardt", engine.solver, engine, observations, per_step)]
    for times in budgets:
        steps = max(1, round(times * rows[0].forwards / 4))
        name = f"Adam, lr 0.1, budget x{times:g}"
        rows.append(run(name, Adam(steps), engine, observations, 4))
    return rows


def main() -> None:
    """Run the benchmark and write its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--face", type=Path, help="folder with the face DCGAN's weights")
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--encoder-outputs", type=int, default=50_000)
    parser.add_argument("--iterations", type=int, default=50)
    parser.add_argument("--budgets", type=float, nargs="+", default=[1, 4])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    if options.face:
        sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
        import face_dcgan  # noqa: PLC0415 - an example beside this file

        source: str | Path = face_dcgan.fetch(options.face)
        name = "face-dcgan"
    else:
        source, name = "builtin", "builtin"
    generator = load_generator(source, device=device)
    rows = measure(
        generator,
        options.pictures,
        options.encoder_outputs,
        options.iterations,
        options.budgets,
    )
    environment = describe_environment(device)
    text = (
        f"# Exact recovery: {name}\n\n{options.pictures} own outputs, encoder trained on "
        f"{options.encoder_outputs}; {environment.device}, {environment.threads} threads, torch "
        f"{environment.torch}. Floor of 8-bit rounding: {FLOOR:.2e}.\n\n{table(rows)}\n"
    )
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / f"recovery-{name}-{device.type}"
    stem.with_suffix(".md").write_text(text)
    stem.with_suffix(".json").write_text(json.dumps([vars(r) for r in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
