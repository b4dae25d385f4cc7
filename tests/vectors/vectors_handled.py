"""Families of handling under presets that have none: stage commitment.

The `pristine` presets have no edits.
"""

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
