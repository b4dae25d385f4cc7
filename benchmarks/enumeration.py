"""How many seeds are compared with a picture in a second, beside bare forward passes.

    python benchmarks/enumeration.py

Every seed of a range is drawn, made into a picture and compared, as `deny enumerate` does it; by
turns, the generator alone runs on latents that are there already, in batches of the same size. The
least CPU time of each counts.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from setting import common_options, load_settings, machine, table, write

from deniability.evidence.enumerate import enumerate_seeds
from deniability.generators.base import Generator
from deniability.inversion.memory import lanes_that_fit
from deniability.report.case import own_picture


@dataclass(frozen=True)
class Rates:
    """Seeds for each second of CPU.

    Attributes:
        generator: its name.
        seeds: how many, each time.
        batch: of the bare passes.
        enumerated: drawn, generated, compared.
        bare: generated only.

    """

    generator: str
    seeds: int
    batch: int
    enumerated: float
    bare: float


def rates(name: str, generator: Generator, seeds: int, rounds: int) -> Rates:
    """Enumerate seeds that hold the picture's own, and run bare passes of as many, by turns."""
    batch = min(lanes_that_fit(generator), seeds)
    spec = generator.spec
    latents = torch.randn(batch, spec.dimension, generator=torch.Generator().manual_seed(0))
    latents = latents.to(generator.device)
    enumerated: list[float] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "own.png"
        image.write_bytes(own_picture(generator, 0))
        for _ in range(rounds):
            begun = time.process_time()
            done = enumerate_seeds(image, generator, range(seeds))
            enumerated.append(time.process_time() - begun)
            if done.compared.seeds != seeds or done.compared.nearest[0].seed != 0:
                raise SystemExit(f"{name}: the picture's own seed was not found")
            begun = time.process_time()
            with torch.no_grad():
                for start in range(0, seeds, batch):
                    generator(latents[: seeds - start])
            bare.append(time.process_time() - begun)
    return Rates(name, seeds, batch, seeds / min(enumerated), seeds / min(bare))


def main() -> None:
    """Measure, and write a table and numbers."""
    parser = common_options(__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1 << 14, help="Of the built-in generator.")
    parser.add_argument("--large-seeds", type=int, default=1 << 10, help="Of the others.")
    parser.set_defaults(encoder_outputs=64)  # no search, so no encoder is needed
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    measured = [
        rates(
            setting.name,
            setting.generator,
            options.seeds if setting.name == "builtin" else options.large_seeds,
            options.rounds,
        )
        for setting in load_settings(options)
    ]
    rows = [
        (m.generator, f"{m.seeds:,}", m.batch, f"{m.enumerated:,.0f}", f"{m.bare:,.0f}",
         f"{m.enumerated / m.bare:.0%}")
        for m in measured
    ]  # fmt: skip
    heads = ("generator", "seeds", "batch", "compared for each second", "bare", "of the bare rate")
    text = (
        "# Enumeration\n\n"
        f"{machine(options.device)}. Seconds of CPU; least of {options.rounds} rounds.\n\n"
        + table(heads, rows)
    )
    write(options.out, "enumeration-cpu", text, [vars(m) for m in measured])


if __name__ == "__main__":
    main()
