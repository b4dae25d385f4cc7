"""How often own outputs are denied, and strangers are, where the accused file is a JPEG.

    python benchmarks/handling_jpeg.py                     # files of quality 75, all families below
    python benchmarks/handling_jpeg.py --quality 90 --families jpeg-trellis

The sibling of `handling.py` for files that are a JPEG themselves: unedited outputs, those that had
been a JPEG before (as the first presets compare them, on the file's own cell, and as the second
do, on the hull of what both compressions leave), and those of an encoder that does not round. Rows
are kept between runs.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from handling import Row, measured, protocol_of
from setting import RESULTS, Setting, load_setting, machine, table

from deniability.imaging.jpeg_tables import ijg_tables
from deniability.stats.binomial import upper_bound
from deniability.wire.edits import TWICE, EditName, applies
from deniability.wire.generator import GeneratorSpec
from deniability.wire.observation import ObservationKind

EDITS: tuple[EditName, ...] = (*(name for pair in TWICE.items() for name in pair), "jpeg-trellis")


def stored_kind(spec: GeneratorSpec, quality: int) -> ObservationKind:
    """Return the kind of a JPEG of unedited outputs, 4:4:4 or gray."""
    luma, chroma = ijg_tables(quality)
    colour = spec.channels == 3
    return ObservationKind.model_validate(
        {
            "family": "jpeg",
            "channels": spec.channels,
            "height": spec.height,
            "width": spec.width,
            "model_channels": spec.channels,
            "components": "ycc444" if colour else "gray",
            "luma_table": luma,
            "chroma_table": chroma if colour else None,
            "quality": quality,
            "orientation": 1,
        }
    )


def kinds(spec: GeneratorSpec, quality: int, names: list[str]) -> list[ObservationKind]:
    """Return the kinds of the families asked for that apply."""
    stored = stored_kind(spec, quality)
    size = {"model": (spec.height, spec.width), "file": (spec.height, spec.width)}
    fit = [
        name
        for name in EDITS
        if name in names and applies(name, **size, colour=spec.channels == 3, family="jpeg")
    ]
    unedited = [stored] if "unedited" in names else []
    return unedited + [stored.model_copy(update={"edit": name}) for name in fit]


def report(rows: dict[str, Row], size: str, quality: int) -> None:
    """Write the rows as JSON and as a table."""
    protocol = protocol_of(size)
    ordered = [rows[name] for name in ("unedited", *EDITS) if name in rows]
    stem = RESULTS / f"handling-jpeg-{quality}-builtin-{size}"
    stem.with_suffix(".json").write_text(
        json.dumps({"machine": machine("cpu"), "rows": [asdict(row) for row in ordered]}, indent=1)
        + "\n"
    )
    lines = [
        [
            row.family,
            f"{row.recovered} of {row.controls}",
            f"{row.percentile99:.1e}",
            f"{row.margin:.1e}",
            f"{row.denied} of {row.own}",
            f"{float(upper_bound(row.denied, row.own)):.4f}",
            f"{row.twin_excluded} of {row.twin}",
            f"{row.noisy_excluded} of {row.noisy}",
            f"{row.seconds:.0f}",
        ]
        for row in ordered
    ]
    header = [
        "family",
        "controls found",
        "their 99th percentile",
        "margin",
        "own outputs denied",
        "at most (95 %)",
        "twin excluded",
        "10 % noise excluded",
        "seconds",
    ]
    text = (
        "# Denials and power by family of handling, of JPEG files\n\n"
        f"The built-in generator, {protocol.controls} controls per family, alpha {protocol.alpha}, "
        f"kappa {protocol.kappa}; after the handling pictures are stored as JPEG of quality "
        f"{quality}. Each family is judged on its own. `jpeg-444-...` and `jpeg-other-encoder` "
        "compare on the file's own cell, as the first handled presets do; `jpeg-twice-...` takes "
        "their place in the second. Mean squared residuals, pixels on [-1, 1].\n\n"
        + table(header, lines)
        + f"\n\n{machine('cpu')}\n"
    )
    stem.with_suffix(".md").write_text(text)


def main() -> None:
    """Measure the families asked for, each written when it is done."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    every: list[EditName | str] = ["unedited", *EDITS]
    parser.add_argument("--families", nargs="+", choices=every, default=every)
    parser.add_argument("--size", choices=("quick", "standard"), default="quick")
    parser.add_argument("--quality", type=int, default=75)
    parser.add_argument("--own", type=int, default=300)
    parser.add_argument("--strangers", type=int, default=50)
    arguments = parser.parse_args()
    setting = load_setting("builtin", protocol_of(arguments.size).encoder_outputs)
    setting = Setting(**(vars(setting) | {"protocol": protocol_of(arguments.size)}))
    stem = f"handling-jpeg-{arguments.quality}-builtin-{arguments.size}"
    path = RESULTS / f"{stem}.json"
    rows = {}
    if path.exists():
        rows = {row["family"]: Row(**row) for row in json.loads(path.read_text())["rows"]}
    for kind in kinds(setting.generator.spec, arguments.quality, arguments.families):
        row = measured(setting, kind, arguments)
        rows[row.family] = row
        print(row, flush=True)
        report(rows, arguments.size, arguments.quality)


if __name__ == "__main__":
    main()
