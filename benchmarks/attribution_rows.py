"""Rows of the attribution benchmark, which are kept between runs, and what counts as right."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import attribution_models as models
from setting import machine

from deniability.stats.binomial import upper_bound

STEM = "attribution-cpu"
#: By part and name.
Rows = Mapping[tuple[str, str], "Row"]


@dataclass(frozen=True)
class Row:
    """What was measured of one set of pictures.

    Attributes:
        part, name: which.
        truth: number of the model that made each picture; empty where none of them did.
        ours, theirs: residual of each picture in each model; `theirs` of the first pictures only,
            where it is shorter.
        seconds_ours, seconds_theirs: of CPU time.
        verdicts: of the calibrated rule, by what was judged, one for each picture.

    """

    part: str
    name: str
    truth: list[int] = field(default_factory=list)
    ours: list[list[float]] = field(default_factory=list)
    theirs: list[list[float]] = field(default_factory=list)
    seconds_ours: float = 0.0
    seconds_theirs: float = 0.0
    verdicts: dict[str, list[str]] = field(default_factory=dict)

    def joined(
        self,
        *,
        truth: Sequence[int] = (),
        ours: Sequence[list[float]] = (),
        theirs: Sequence[list[float]] = (),
        seconds_ours: float = 0.0,
        seconds_theirs: float = 0.0,
    ) -> Row:
        """Return the row with more pictures."""
        return replace(
            self,
            truth=[*self.truth, *truth],
            ours=[*self.ours, *ours],
            theirs=[*self.theirs, *theirs],
            seconds_ours=self.seconds_ours + seconds_ours,
            seconds_theirs=self.seconds_theirs + seconds_theirs,
        )

    def extended(self, more: Row) -> Row:
        """Return the row with the pictures of another of the same set."""
        return self.joined(
            truth=more.truth,
            ours=more.ours,
            theirs=more.theirs,
            seconds_ours=more.seconds_ours,
            seconds_theirs=more.seconds_theirs,
        )

    def summary(self) -> str:
        """Return a line for the terminal."""
        parts = [f"{self.part}: {self.name}: {len(self.ours)} pictures"]
        if self.truth:
            parts += [f"ours {outcome(self.ours, self.truth)}",
                      f"paper's {outcome(self.theirs, self.truth)}"]  # fmt: skip
        parts += [f"{name} {dict(Counter(found))}" for name, found in self.verdicts.items()
                  if name != "models"]  # fmt: skip
        parts.append(f"{self.seconds_ours:.0f} and {self.seconds_theirs:.0f} s")
        return ", ".join(parts)


@dataclass(frozen=True)
class Outcome:
    """How many pictures were attributed to their model, out of how many.

    Attributes:
        right: the true model's residual is the smallest.
        several: it is, and another's is as small.
        count: pictures.

    """

    right: int
    several: int
    count: int

    def __str__(self) -> str:
        """Return "19 of 20"."""
        if not self.count:
            return "not run"
        both = f" ({self.several} several)" if self.several else ""
        return f"{self.right} of {self.count}{both}"

    @property
    def share(self) -> float:
        """Accuracy; `several` is not right."""
        return self.right / self.count if self.count else float("nan")

    def interval(self) -> str:
        """Return the two-sided 95 % interval (Clopper and Pearson 1934), in per cent."""
        confidence = Fraction(39, 40)
        low = 1 - upper_bound(self.count - self.right, self.count, confidence)
        high = upper_bound(self.right, self.count, confidence)
        return f"{100 * float(low):.2f} to {100 * float(high):.2f}"


def outcome(residuals: Sequence[Sequence[float]], truth: Sequence[int]) -> Outcome:
    """Attribute each picture to the model with the smallest residual; equal ones are `several`."""
    right = several = 0
    for found, model in zip(residuals, truth, strict=False):
        smallest = min(found)
        if found[model] == smallest:
            alone = sum(value == smallest for value in found) == 1
            right, several = right + alone, several + (not alone)
    return Outcome(right, several, min(len(residuals), len(truth)))


def read(path: Path) -> dict[tuple[str, str], Row]:
    """Read the rows of earlier runs; none if the models were others."""
    if not path.exists():
        return {}
    stored = json.loads(path.read_text())
    if stored["models"] != digests():
        raise SystemExit(f"{path} is about other models: move it away to measure anew")
    rows = [Row(**(row | _numbers(row))) for row in stored["rows"]]
    return {(row.part, row.name): row for row in rows}


def digests() -> dict[str, str]:
    """Return the sha256 of every model's weights file."""
    return {name: models.digest(name) for name in models.MODELS}


def _numbers(row: dict[str, list[str]]) -> dict[str, list[list[float]]]:
    return {
        name: [[float(text) for text in one.split()] for one in row[name]]
        for name in ("ours", "theirs")
    }


def _text(residuals: Sequence[Sequence[float]]) -> list[str]:
    return [" ".join("0" if value == 0 else f"{value:.7g}" for value in one) for one in residuals]


def write_rows(rows: Rows, out: Path) -> None:
    """Write the rows as JSON."""
    stored = [
        asdict(row) | {"ours": _text(row.ours), "theirs": _text(row.theirs)}
        for row in rows.values()
    ]
    data = {"machine": machine("cpu"), "models": digests(), "rows": stored}
    (out / f"{STEM}.json").write_text(json.dumps(data, indent=1) + "\n")
