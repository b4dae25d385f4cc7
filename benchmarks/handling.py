"""How often own outputs are denied, and strangers are, in each family of handling.

    python benchmarks/handling.py                      # the built-in generator, every family
    python benchmarks/handling.py --families mirrored shifted --own 100
    python benchmarks/handling.py --generator builtin-twin

For each family controls are made and inverted as `deny prove` does it. Then fresh own outputs, and
outputs of the other shipped generator and of a copy with noise on its weights, are handled in the
same way, stored without loss, searched for, and judged by the rule of that family alone: a finding
`excluded` needs all families, so a denial here is the most that the family can do. Rows are kept
between runs.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction

import torch
from setting import RESULTS, Setting, load_setting, machine, start_seed, table

from deniability.crypto.seeds import derive_seed
from deniability.evidence.calibrate import calibrate, control_observations
from deniability.evidence.evaluate_families import edited_kind
from deniability.evidence.latents import drawn_latents
from deniability.evidence.procedure import Procedure
from deniability.evidence.progress import Silent
from deniability.evidence.register import standard_kind
from deniability.generators.base import Generator, floating_tensors
from deniability.generators.load import load_generator
from deniability.imaging.handling import Handling
from deniability.imaging.observation import build_handling
from deniability.stats.binomial import beta_binomial_critical, largest_passing, upper_bound
from deniability.stats.evaluation import FamilyRule, level, read_measured, uniformity_test
from deniability.stats.evaluation_words import families_of
from deniability.stats.verdict import thresholds
from deniability.wire.controls import ControlSet
from deniability.wire.edits import EDITS, EditName
from deniability.wire.numbers import decimal_string
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import Protocol, preset

OTHER = {"builtin": "builtin-twin", "builtin-twin": "builtin"}


@dataclass(frozen=True)
class Row:
    """What was measured of one family."""

    family: str
    controls: int
    recovered: int
    percentile99: float
    margin: float
    own: int
    denied: int
    twin: int
    twin_excluded: int
    noisy: int
    noisy_excluded: int
    seconds: float
    uniform: float | None = None  # p of own outputs' p-values being too small


def protocol_of(size: str) -> Protocol:
    """Return the pristine preset of a size, for its numbers."""
    return preset(f"pristine-{size}-v1")


def kinds(setting: Setting, names: list[str]) -> Iterator[ObservationKind]:
    """Return the kinds of the families asked for that apply; sizes are those of `deny evaluate`."""
    spec = setting.generator.spec
    fit, _ = families_of(preset("handled-quick-v3"), spec)
    for name in (None, *EDITS):
        if (name or "unedited") in names and (name or "lossless") in fit:
            yield standard_kind(spec) if name is None else edited_kind(spec, name)


def seeds(role: str, kind: ObservationKind, count: int) -> list[bytes]:
    """Derive seeds of a role of this benchmark."""
    return [
        derive_seed(role=role, weights="0" * 64, protocol="0" * 64, picture=kind.digest(), index=i)
        for i in range(count)
    ]


def noisy_copy(generator: Generator, share: float) -> Generator:
    """Return a copy with Gaussian noise of this share of each tensor's spread on its weights."""
    noisy = copy.copy(generator)
    noisy.module = copy.deepcopy(generator.module)
    noisy._forward = noisy.module  # noqa: SLF001 - a copy whose module is another
    stream = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in floating_tensors(noisy.module):
            if tensor.numel() > 1:
                noise = torch.randn(tensor.shape, generator=stream)
                tensor.add_(noise * tensor.std() * share)
    return noisy


def searched(
    setting: Setting,
    made_by: Generator,
    handling: Handling,
    controls: ControlSet,
    drawn: list[bytes],
) -> list[str]:
    """Make pictures by a generator and search for them in the setting's: residuals, as stored."""
    procedure = Procedure(setting.generator, setting.model, setting.protocol, setting.encoder)
    maker = Procedure(made_by, setting.model, setting.protocol, None)
    latents = drawn_latents(made_by.spec, handling.kind, drawn)
    engine = procedure.engine(handling, thresholds(controls, setting.protocol).threshold)
    found: list[str] = []
    for start in range(0, len(drawn), 64):
        rows = slice(start, start + 64)
        observations = control_observations(maker, handling, latents[rows], drawn[rows])
        traces = engine.run(observations, start_seed(f"benchmark-handling-{start}"))
        found += ["notFinite" if t.residual is None else decimal_string(t.residual) for t in traces]
    return found


def measured(setting: Setting, kind: ObservationKind, arguments: argparse.Namespace) -> Row:
    """Measure one family."""
    begin = time.perf_counter()
    handling = build_handling(kind)
    procedure = Procedure(setting.generator, setting.model, setting.protocol, setting.encoder)
    controls = calibrate(procedure, handling, state=None, progress=Silent()).controls
    limits = thresholds(controls, setting.protocol)
    twin = load_generator(OTHER[setting.name], device=torch.device("cpu"))
    own = searched(
        setting, setting.generator, handling, controls, seeds("own", kind, arguments.own)
    )
    strangers = seeds("stranger", kind, arguments.strangers)
    twins = searched(setting, twin, handling, controls, strangers)
    noisy = searched(setting, noisy_copy(setting.generator, 0.1), handling, controls, strangers)
    rule = FamilyRule.of(controls, setting.protocol)
    denied, twins_denied, noisy_denied = (
        sum(map(rule.denies, read_measured(texts))) for texts in (own, twins, noisy)
    )
    return Row(
        family=kind.edit or "unedited",
        controls=len(controls.controls),
        recovered=limits.recovered,
        percentile99=float(limits.percentile99),
        margin=float(limits.largest * Fraction(setting.protocol.kappa)),
        own=arguments.own,
        denied=denied,
        twin=arguments.strangers,
        twin_excluded=twins_denied,
        noisy=arguments.strangers,
        noisy_excluded=noisy_denied,
        seconds=time.perf_counter() - begin,
        uniform=float(uniformity_test(own, rule, families=1).p),
    )


def promised(row: Row, protocol: Protocol, families: int) -> int:
    """Return how many denials the promised rate explains, the shared controls counted."""
    allowed = largest_passing(row.controls, Fraction(protocol.alpha), Fraction(protocol.confidence))
    return beta_binomial_critical(row.own, row.controls, allowed, 1 - level(families))


def report(rows: dict[str, Row], name: str, size: str, apply: set[str]) -> None:
    """Write the rows as JSON and as a table; `apply` are the families that the generator has."""
    protocol = protocol_of(size)
    ordered = [rows[name] for name in ("unedited", *EDITS) if name in rows]
    stem = RESULTS / f"handling-{name}-{size}"
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
            promised(row, protocol, len(apply)),
            "" if row.uniform is None else f"{row.uniform:.2f}",
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
        "the promise explains",
        "uniformity p",
        "twin excluded",
        "10 % noise excluded",
        "seconds",
    ]
    text = (
        "# Denials and power by family of handling\n\n"
        f"The generator `{name}`, {protocol.controls} controls per family, alpha {protocol.alpha}, "
        f"kappa {protocol.kappa}; pictures stored without loss after the handling. Each family is "
        "judged on its own; a finding needs all of them. Mean squared residuals, pixels on "
        '[-1, 1], of JPEG families on the cell estimated from the pixels. "Twin" is the other '
        'generator that ships. "The promise explains" is how many denials a rate of alpha would '
        "give by chance, all judged by the same controls and all families taken together (0.95); "
        '"uniformity p" is that of own outputs\' p-values being too small.\n\n'
        + table(header, lines)
        + f"\n\n{machine('cpu')}\n"
    )
    missing = [name for name in ("unedited", *EDITS) if name not in rows]
    for words, names in (
        ("Not measured yet", [name for name in missing if name in apply]),
        ("Do not apply to its outputs", [name for name in missing if name not in apply]),
    ):
        if names:
            text += f"\n{words}: {', '.join(names)}.\n"
    stem.with_suffix(".md").write_text(text)


def main() -> None:
    """Measure the families asked for, each written when it is done."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    every: list[EditName | str] = ["unedited", *EDITS]
    parser.add_argument("--generator", choices=OTHER, default="builtin")
    parser.add_argument("--families", nargs="+", choices=every, default=every)
    parser.add_argument("--size", choices=("quick", "standard"), default="quick")
    parser.add_argument("--own", type=int, default=300)
    parser.add_argument("--strangers", type=int, default=50)
    arguments = parser.parse_args()
    name = arguments.generator
    setting = load_setting(name, protocol_of(arguments.size).encoder_outputs)
    setting = Setting(**(vars(setting) | {"protocol": protocol_of(arguments.size)}))
    path = RESULTS / f"handling-{name}-{arguments.size}.json"
    rows = {}
    if path.exists():
        rows = {row["family"]: Row(**row) for row in json.loads(path.read_text())["rows"]}
    apply = {kind.edit or "unedited" for kind in kinds(setting, every)}
    for kind in kinds(setting, arguments.families):
        row = measured(setting, kind, arguments)
        rows[row.family] = row
        print(row, flush=True)
        report(rows, name, arguments.size, apply)
    report(rows, name, arguments.size, apply)


if __name__ == "__main__":
    main()
