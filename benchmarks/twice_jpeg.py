"""JPEGs saved twice: what is left of own outputs and of strangers, by three ways to compare them.

    python benchmarks/twice_jpeg.py                      # the built-in generator, whole searches
    python benchmarks/twice_jpeg.py --generator face-dcgan --pictures 6 --refine

For each bin of first qualities and each second quality the same files are compared by their
decoded pixels, on the cell of the file alone (as the first handled presets do), and on the hull of
what both compressions leave (as the second do). Own outputs and outputs of a copy with 10 % noise
on its weights, and of the twin where there is one, are searched for; with `--refine` only from the
latent they were made of, which is quick.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction

import numpy as np
import torch
from handling import noisy_copy, seeds
from handling_jpeg import stored_kind
from setting import Setting, common_options, load_setting, machine, start_seed, table, write

from deniability.evidence.calibrate import control_observations, statistic_at
from deniability.evidence.procedure import Procedure
from deniability.generators.base import Generator
from deniability.generators.entropy import latents_from_seed
from deniability.generators.load import load_generator
from deniability.imaging.handling import Handling, Observations
from deniability.imaging.observation import build_handling, lossless_kind
from deniability.wire.edits import TWICE

BINS = [(old, new) for old, new in TWICE.items() if old.startswith("jpeg-444")]


@dataclass(frozen=True)
class Row:
    """Residuals in one way of comparing: medians and extremes."""

    generator: str
    first: str
    second: int
    way: str
    truth_median: float
    truth_largest: float
    own_largest: float
    noisy_median: float
    noisy_smallest: float
    twin_median: float | None
    twin_smallest: float | None


def ways(setting: Setting, quality: int, old: str, new: str) -> dict[str, Handling]:
    """Return the handlings that the same files are compared by."""
    spec = setting.generator.spec
    stored = stored_kind(spec, quality)
    pixels = lossless_kind(
        channels=spec.channels, height=spec.height, width=spec.width, rounding=spec.rounding
    )
    kinds = [
        pixels,
        *(stored.model_validate(stored.model_dump() | {"edit": name}) for name in (old, new)),
    ]
    names = ("pixels", "cell of the file", "hull")
    return {name: build_handling(kind) for name, kind in zip(names, kinds, strict=True)}


def observed(
    setting: Setting, made_by: Generator, handlings: dict[str, Handling], drawn: list[bytes]
) -> dict[str, Observations]:
    """Save outputs twice, and take the very same files in each way."""
    maker = Procedure(made_by, setting.model, setting.protocol, None)
    latents = torch.from_numpy(np.stack([latents_from_seed(made_by.spec, s) for s in drawn]))
    found = {
        name: control_observations(maker, handling, latents, drawn)
        for name, handling in handlings.items()
        if name != "pixels"
    }
    shown = (found["hull"].pixels * 255).round().to(torch.uint8).numpy()
    return {"pixels": handlings["pixels"].save(shown), **found}


def residuals(
    setting: Setting, handling: Handling, files: Observations, drawn: list[bytes], *, refine: bool
) -> tuple[list[float], list[float]]:
    """Return residuals at the latents that the files were made of, and after a search."""
    procedure = Procedure(setting.generator, setting.model, setting.protocol, setting.encoder)
    spec = setting.generator.spec
    latents = torch.from_numpy(np.stack([latents_from_seed(spec, seed) for seed in drawn]))
    truths = [t or 0.0 for t in statistic_at(procedure, handling, files, latents)]
    engine = procedure.engine(handling, Fraction(max(truths)))
    if refine:
        ended = [r.residual for r in engine.from_latents(files, latents)]
    else:
        ended = [t.residual for t in engine.run(files, start_seed("benchmark-twice"))]
    return truths, [float("inf") if value is None else value for value in ended]


def rows_of(
    setting: Setting, quality: int, old: str, new: str, count: int, *, refine: bool
) -> list[Row]:
    """Measure one bin of first qualities in front of one second quality."""
    handlings = ways(setting, quality, old, new)
    kind = handlings["cell of the file"].kind
    drawn = {role: seeds(f"twice-{role}", kind, count) for role in ("own", "noisy", "twin")}
    makers = {"own": setting.generator, "noisy": noisy_copy(setting.generator, 0.1)}
    if setting.name == "builtin" and not refine:
        makers["twin"] = load_generator("builtin-twin", device=torch.device("cpu"))
    files = {role: observed(setting, makers[role], handlings, drawn[role]) for role in makers}
    rows = []
    for way, handling in handlings.items():
        found = {
            role: residuals(setting, handling, files[role][way], drawn[role], refine=refine)
            for role in makers
        }
        truths, own = found["own"]
        ended = {role: value[1] for role, value in found.items()}
        rows.append(
            Row(
                generator=setting.name,
                first=old.removeprefix("jpeg-444-"),
                second=quality,
                way=way,
                truth_median=float(np.median(truths)),
                truth_largest=max(truths),
                own_largest=max(own),
                noisy_median=float(np.median(ended["noisy"])),
                noisy_smallest=min(ended["noisy"]),
                twin_median=float(np.median(ended["twin"])) if "twin" in ended else None,
                twin_smallest=min(ended["twin"]) if "twin" in ended else None,
            )
        )
    return rows


def text_of(rows: list[Row], name: str, count: int, *, refine: bool) -> str:
    """Format the rows as a table."""
    heads = ["first", "second", "compared by", "own, at the truth", "own, at most"]
    heads += ["10 % noise", "over own, at most"]
    if any(row.twin_median is not None for row in rows):
        heads += ["twin", "over own, at most"]
    lines = []
    for row in rows:
        most = max(row.truth_largest, row.own_largest, 1e-9)
        cells: list[object] = [row.first, row.second, row.way, f"{row.truth_median:.1e}"]
        cells += [f"{most:.1e}", f"{row.noisy_median:.1e}", f"{row.noisy_median / most:.1f}"]
        if row.twin_median is not None:
            cells += [f"{row.twin_median:.1e}", f"{row.twin_median / most:.1f}"]
        lines.append(cells)
    how = "refined from the latent they were made of" if refine else "after the whole search"
    return (
        f"# JPEGs saved twice: {name}\n\n"
        f"{count} pictures each, saved as JPEG 4:4:4 (or gray) of a quality of the bin, then of "
        "the second quality. Mean squared residuals, pixels on [-1, 1]; medians, but the largest "
        f"of own outputs; all but the first {how}. A family can exclude what is more than 10 times "
        "its own outputs' largest.\n\n" + table(heads, lines) + f"\n\n{machine('cpu')}"
    )


def main() -> None:
    """Measure the grid, written after each bin."""
    parser = common_options(__doc__.split("\n", maxsplit=1)[0])
    parser.set_defaults(generator=["builtin"])
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--second", type=int, nargs="+", default=[50, 75, 85, 95])
    parser.add_argument("--refine", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.generator:
        setting = load_setting(name, options.encoder_outputs)
        rows: list[Row] = []
        for old, new in BINS:
            for quality in options.second:
                how = {"refine": options.refine}
                rows += rows_of(setting, quality, old, new, options.pictures, **how)
                text = text_of(rows, name, options.pictures, **how)
                write(options.out, f"twice-jpeg-{name}", text, [asdict(row) for row in rows])


if __name__ == "__main__":
    main()
