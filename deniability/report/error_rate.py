"""How the known error rate of a procedure is told: of a bundle that cites it, and in full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deniability.wire.cited import CitedEvaluation, CitedFamily
from deniability.wire.exclusion import Exclusion

if TYPE_CHECKING:
    from deniability.wire.evaluation import Evaluation, GroupResult

NOT_CITED = "none is cited: the bundle names no evaluation of this model (deny evaluate)"


def error_rate_line(exclusion: Exclusion, *, compared: bool = False) -> str:
    """Say in a line how often the procedure was wrong on this model, as far as is cited.

    Args:
        exclusion: of the bundle.
        compared: whether the evaluation itself was brought and says the same.

    """
    cited = exclusion.evaluation
    if cited is None:
        return NOT_CITED
    who = f"evaluation sha256 {cited.payload} by key {cited.keyid}, dated {cited.created_at}"
    word = "compared with it" if compared else "not compared with it (--evaluation)"
    if not cited.families:
        return f"none for a file of this kind: the {who} examined no such files; {word}"
    tests = "" if cited.promise_held and cited.uniform else f"; {_failed(cited)}"
    return "; ".join(map(_family, cited.families)) + f"{tests} ({who}; {word})"


def _family(family: CitedFamily) -> str:
    own, *others = family.groups
    said = (
        f"{family.name}: of {own.count} own outputs {own.denied} were denied (at most "
        f"{family.at_most} with 95 % confidence)"
    )
    strangers = [f"{group.name} {group.denied} of {group.count}" for group in others]
    return said + (f"; denied of others: {', '.join(strangers)}" if strangers else "")


def _failed(cited: CitedEvaluation) -> str:
    failed = [] if cited.promise_held else ["more own outputs were denied than promised"]
    failed += [] if cited.uniform else ["p-values of own outputs were too small"]
    return "it says that " + " and ".join(failed)


def evaluation_rows(evaluation: Evaluation) -> list[list[str]]:
    """Return the table of denials: a header, then a row for each group, a column per family."""
    header = ["group", "near?", "distance", *(family.name for family in evaluation.families)]
    rows = []
    for index, group in enumerate(evaluation.groups):
        shares = [
            f"{family.groups[index].denied} of {len(family.groups[index].residuals)}"
            for family in evaluation.families
        ]
        rows.append([group.name, group.closeness, group.distance or "-", *shares])
    return [header, *rows]


def own_rows(evaluation: Evaluation) -> list[list[str]]:
    """Return the table of own outputs: a header, then a row for each family."""
    header = [
        "family",
        "own denied",
        "at most (95 %)",
        "explained by the promise",
        "p of so many",
        "p-values too small? p",
        "found again",
    ]
    rows = []
    for family in evaluation.families:
        own = family.groups[0]
        n = len(own.residuals)
        rows.append(
            [
                family.name,
                f"{own.denied} of {n}",
                own.at_most,
                f"up to {family.shared.critical}",
                family.shared.p,
                f"{family.uniform.p}{'' if family.uniform.passed else ' (yes)'}",
                f"{own.reached} of {n}",
            ]
        )
    return [header, *rows]


def cost_rows(evaluation: Evaluation) -> list[list[str]]:
    """Return the table of cost: a header, then a row for each family."""
    header = ["family", "own: steps", "seconds each", "strangers: steps", "seconds each"]
    rows = []
    for family in evaluation.families:
        own, *others = family.groups
        rows.append([family.name, *_cost([own]), *_cost(others)])
    return [header, *rows]


def _cost(results: list[GroupResult]) -> list[str]:
    """Return steps and seconds for one picture on average."""
    count = sum(len(one.residuals) for one in results)
    if not count:
        return ["-", "-"]
    steps = sum(one.iterations for one in results) / count
    return [f"{steps:.1f}", f"{sum(float(one.seconds) for one in results) / count:.3f}"]


def laid_out(rows: list[list[str]]) -> list[str]:
    """Return a table as lines of text with aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
