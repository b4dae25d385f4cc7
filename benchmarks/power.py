"""What the standard preset denies and excludes of pictures as a service gives them.

    python benchmarks/power.py                         # both shipped generators
    python benchmarks/power.py --generator builtin --strangers 300

Pristine files and files saved once as JPEG, 999 controls each, alpha 0.01: how many fresh own
outputs are denied, and how many pictures that the model did not make are excluded: the twin's,
those of a copy with 10 % noise on its weights, real garments (Fashion-MNIST's test set), real faces
(scikit-image's `lfw_subset`). Rows are kept between runs. Under a pristine preset one family is all
that a finding needs, so these are rates of findings.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from handling import noisy_copy, seeds
from handling_jpeg import stored_kind
from PIL import Image
from setting import CACHE, RESULTS, Setting, load_setting, machine, start_seed, table

from deniability.evidence.calibrate import calibrate, control_observations
from deniability.evidence.latents import drawn_latents
from deniability.evidence.procedure import Procedure
from deniability.evidence.progress import Silent
from deniability.evidence.register import standard_kind
from deniability.generators.base import Generator
from deniability.generators.load import load_generator
from deniability.imaging.handling import Handling, Observations, Pixels
from deniability.imaging.observation import build_handling
from deniability.stats.binomial import upper_bound
from deniability.stats.evaluation import FamilyRule
from deniability.stats.verdict import residual, thresholds
from deniability.wire.numbers import decimal_string
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import preset

PRESET = "pristine-standard-v1"
GARMENTS = Path("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz")
GENERATORS = ("builtin", "builtin-twin")
_TOGETHER = 100


@dataclass(frozen=True)
class Row:
    """One group of pictures in one kind of file, of one generator."""

    generator: str
    kind: str
    group: str
    count: int
    excluded: int
    seconds: float


def garments(count: int) -> Pixels:
    """Read garments that no generator was trained on: `N x 1 x 28 x 28`."""
    raw = np.frombuffer(gzip.decompress(GARMENTS.read_bytes()), np.uint8, offset=16)
    return raw.reshape(-1, 1, 28, 28)[:count]


def faces(count: int) -> Pixels:
    """Read faces, enlarged: `N x 1 x 28 x 28`."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
    import face_dcgan  # noqa: PLC0415 - an example beside this folder

    wheel = face_dcgan.download("scikit-image==0.26.0", CACHE / "skimage")
    with zipfile.ZipFile(wheel) as archive:
        small = np.load(BytesIO(archive.read("skimage/data/lfw_subset.npy")))
    steps = np.rint(255 * small[:count]).astype(np.uint8)
    sized = [Image.fromarray(one).resize((28, 28), Image.Resampling.LANCZOS) for one in steps]
    return np.stack([np.asarray(one)[None] for one in sized])


def kinds(setting: Setting, qualities: list[int]) -> dict[str, ObservationKind]:
    """Return the kinds of files, by name."""
    spec = setting.generator.spec
    jpegs = {f"JPEG, quality {q}": stored_kind(spec, q) for q in qualities}
    return {"lossless": standard_kind(spec), **jpegs}


def groups(
    setting: Setting, other: Generator, own: int, strangers: int
) -> dict[str, tuple[int, Callable[[Handling, int], Observations]]]:
    """Return how many pictures of each group there are, and what makes them as files."""

    def made(by: Generator, role: str) -> Callable[[Handling, int], Observations]:
        maker = Procedure(by, setting.model, setting.protocol, None)

        def observed(handling: Handling, count: int) -> Observations:
            drawn = seeds(role, handling.kind, count)
            latents = drawn_latents(by.spec, handling.kind, drawn)
            return control_observations(maker, handling, latents, drawn)

        return observed

    noisy = noisy_copy(setting.generator, 0.1)
    return {
        "own outputs": (own, made(setting.generator, "power-own")),
        "the twin's": (strangers, made(other, "power-twin")),
        "10 % noise": (strangers, made(noisy, "power-noise")),
        "garments": (strangers, lambda handling, count: handling.save(garments(count))),
        "faces": (min(strangers, 100), lambda handling, count: handling.save(faces(count))),
    }


def measured(
    setting: Setting, done: set[tuple[str, str, str]], options: argparse.Namespace
) -> Iterator[Row]:
    """Measure what is missing of one generator."""
    other = next(name for name in GENERATORS if name != setting.name)
    twin = load_generator(other, device=torch.device("cpu"))
    procedure = Procedure(setting.generator, setting.model, setting.protocol, setting.encoder)
    listed = groups(setting, twin, options.own, options.strangers)
    for name, kind in kinds(setting, options.qualities).items():
        wanted = [group for group in listed if (setting.name, name, group) not in done]
        if not wanted:
            continue
        handling = build_handling(kind)
        controls = calibrate(procedure, handling, state=None, progress=Silent()).controls
        rule = FamilyRule.of(controls, setting.protocol)
        engine = procedure.engine(handling, thresholds(controls, setting.protocol).threshold)
        for group in wanted:
            begun, (count, observe) = time.process_time(), listed[group]
            observations, excluded = observe(handling, count), 0
            for start in range(0, count, _TOGETHER):
                some = observations[start : start + _TOGETHER]
                for trace in engine.run(some, start_seed(f"power {group} {start}")):
                    found = trace.residual
                    text = None if found is None else decimal_string(found)
                    excluded += rule.denies(residual(text))
            seconds = time.process_time() - begun
            yield Row(setting.name, name, group, count, excluded, seconds)


def report(rows: list[Row], out: Path) -> None:
    """Write the rows as JSON and as a table."""
    protocol = preset(PRESET)
    stem = out / "power-standard-cpu"
    stored = {"machine": machine("cpu"), "rows": [asdict(row) for row in rows]}
    stem.with_suffix(".json").write_text(json.dumps(stored, indent=1) + "\n")
    lines = []
    for row in rows:
        own = row.group == "own outputs"
        limit = upper_bound(row.excluded, row.count) if own else _at_least(row)
        lines.append(
            (row.generator, row.kind, row.group, f"{row.excluded} of {row.count}",
             f"{'at most' if own else 'at least'} {float(limit):.2%}", f"{row.seconds:.0f}")
        )  # fmt: skip
    heads = ("generator", "file", "pictures", "excluded", "95 %", "CPU s")
    text = (
        f"# Denials and power of {PRESET}\n\n{protocol.controls} controls of each kind of file, "
        f"alpha {protocol.alpha}, {protocol.restarts} restarts. Own outputs that are excluded are "
        "false denials; of all others `excluded` is right. Bounds are one-sided, "
        f"Clopper-Pearson.\n\n{table(heads, lines)}\n\n{machine('cpu')}\n"
    )
    stem.with_suffix(".md").write_text(text)


def _at_least(row: Row) -> Fraction:
    return 1 - upper_bound(row.count - row.excluded, row.count)


def main() -> None:
    """Measure what is missing, and write the table after each row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--generator", nargs="+", choices=GENERATORS, default=GENERATORS)
    parser.add_argument("--qualities", type=int, nargs="*", default=[50, 75, 90])
    parser.add_argument("--own", type=int, default=300)
    parser.add_argument("--strangers", type=int, default=100)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = options.out / "power-standard-cpu.json"
    rows = [Row(**row) for row in json.loads(path.read_text())["rows"]] if path.exists() else []
    for name in options.generator:
        setting = load_setting(name, preset(PRESET).encoder_outputs)
        done = {(row.generator, row.kind, row.group) for row in rows}
        for row in measured(setting, done, options):
            rows.append(row)
            report(rows, options.out)
            print(row, flush=True)
    report(rows, options.out)


if __name__ == "__main__":
    main()
