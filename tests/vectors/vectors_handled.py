"""Families of handling: under a preset that has them, and under presets that have none."""

from __future__ import annotations

import copy
from typing import Any

import vector_parts as v
from vector_cases import add


def _family(predicate: dict[str, Any], edit: str) -> dict[str, Any]:
    """Return controls and restarts as of a file that went through an edit."""
    names = ("controls", "restarts", "traceRoot")
    family = copy.deepcopy({name: predicate[name] for name in names})
    family["controls"]["kind"]["edit"] = edit
    return family


def handled() -> bytes:
    content = v.statement()
    predicate = content["predicate"]
    predicate["handled"] = [_family(predicate, "mirrored")]
    return v.sign(v.mend(content))


def narrowed(*names: str) -> bytes:
    content = v.statement()
    content["predicate"]["narrowed"] = list(names)
    return v.sign(v.mend(content))


def edited() -> bytes:
    content = v.statement()
    predicate = content["predicate"]
    predicate |= _family(predicate, "mirrored")
    predicate["accused"]["kind"] = copy.deepcopy(predicate["controls"]["kind"])
    return v.sign(v.mend(content))


def resized() -> bytes:
    content = v.statement()
    predicate = content["predicate"]
    predicate |= _family(predicate, "resized-bilinear")
    predicate["controls"]["kind"] |= {"fileHeight": 16, "fileWidth": 16}
    predicate["accused"]["kind"] = copy.deepcopy(predicate["controls"]["kind"])
    predicate["accused"] |= {"height": 16, "width": 16}
    return v.sign(v.mend(content))


for name, about, build, says in (
    (
        "handled-without-edits",
        "Further handling, of which its preset has none.",
        handled,
        "handled",
    ),
    (
        "narrowed-without-edits",
        "A search narrowed to all that its preset has.",
        lambda: narrowed("unedited"),
        "narrowed",
    ),
    (
        "narrowed-to-another-presets",
        "A search narrowed to an edit that its preset does not have.",
        lambda: narrowed("mirrored", "unedited"),
        "narrowed",
    ),
    ("kind-edited", "An edit that its preset does not have.", edited, "accused.kind"),
    (
        "kind-resized",
        "A picture of another size than the model's, which its preset does not examine.",
        resized,
        "accused.kind",
    ),
):
    add("commitment", name, about, build, says=says)


# --- under a preset that has them


def searched(far: dict[str, str] | None = None, **options: Any) -> dict[str, Any]:
    """Return a statement of a picture that lies far from each of its families.

    Args:
        far: residual of every restart on the accused, where it is another one, by edit.
        options: of `make`.

    """
    residuals: list[str | None] = ["4.40000e-02"] * 24
    content = v.make(**{"preset": "handled-quick-v1", "residuals": residuals} | options)
    predicate = content["predicate"]
    further = v.independent.expected_kinds(predicate)[1:]
    predicate["handled"] = [_family(predicate, kind["edit"]) for kind in further]
    for family in predicate["handled"]:
        edit = family["controls"]["kind"]["edit"]
        for record in family["restarts"]:
            record["residual"] = (far or {}).get(edit, record["residual"])
    return v.mend(content)


def excluded() -> bytes:
    content = searched()
    assert content["predicate"]["finding"]["verdict"] == "excluded"
    return v.sign(content)


def undecided() -> bytes:
    content = searched({"tone": "7.99999e-05"})
    assert content["predicate"]["finding"]["verdict"] == "inconclusive"
    return v.sign(content)


def dropped() -> bytes:
    content = searched({"tone": "7.99999e-05"})
    edits = content["predicate"]["handled"]
    edits[:] = [one for one in edits if one["controls"]["kind"]["edit"] != "tone"]
    assert v.mend(content)["predicate"]["finding"]["verdict"] == "excluded"
    return v.sign(content)


def reordered() -> bytes:
    content = searched()
    content["predicate"]["handled"].reverse()
    return v.sign(v.mend(content))


def transplanted() -> bytes:
    content = searched()
    first, second, *_ = content["predicate"]["handled"]
    second["restarts"] = copy.deepcopy(first["restarts"])
    return v.sign(v.mend(content, keep=("seeds",)))


def called_excluded() -> bytes:
    content = searched({"tone": "7.99999e-05"})
    content["predicate"]["finding"] = searched()["predicate"]["finding"]
    return v.sign(content)


HANDLED = (
    ("passing", "excluded-handled", "Far from all families of its preset.", excluded, ""),
    ("passing", "inconclusive-handled", "Not far enough from one of them.", undecided, ""),
    (
        "commitment",
        "handled-family-dropped",
        "The one that it is near is gone.",
        dropped,
        "handled",
    ),
    ("commitment", "handled-reordered", "Families in another order.", reordered, "handled.0"),
    (
        "commitment",
        "handled-restarts-of-another",
        "The restarts of one family in another.",
        transplanted,
        "handled.1.restarts.0.seed",
    ),
    (
        "statistics",
        "handled-called-excluded",
        "The finding of another picture, though it is near one family.",
        called_excluded,
        "finding.families",
    ),
)
for stage, name, about, build, says in HANDLED:
    add(stage, name, about, build, says=says, stored=False)
