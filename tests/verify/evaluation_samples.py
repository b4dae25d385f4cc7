"""Synthetic evaluations, valid at V0. No torch."""

import copy
import json

from bundle_samples import _ENVIRONMENT, _GENERATOR, KIND, MODEL, QUICK, statement

from deniability.crypto.digest import sha256_hex
from deniability.stats.evaluation import (
    FamilyRule,
    decide_evaluation,
    group_result,
    shared_controls_test,
    uniformity_test,
)
from deniability.stats.evaluation_words import about_group, evaluation_scope
from deniability.wire.controls import ControlSet
from deniability.wire.evaluation import EvaluatedFamily, EvaluatedGroup, NotApplied
from deniability.wire.registration import FileDescriptor
from deniability.wire.statement import EVALUATION_TYPE, STATEMENT_TYPE

CONTROLS = ControlSet.model_validate_json(json.dumps(statement()["predicate"]["controls"]))
COPIED = ("noise-0.001", "noise-0.01", "int8", "noise-0.1")
MISSING = ("pruned-0.1", "fine-tuned", "pruned-0.5")
#: Residuals by group.
RESIDUALS = {
    "own": ("0",) * 18 + ("2.00000e-06", "notFinite"),
    "noise-0.001": ("0", "0"),
    "noise-0.01": ("1.00000e-05", "3.00000e-05"),
    "int8": ("1.00000e-05", "2.00000e-05"),
    "noise-0.1": ("3.00000e-02", "5.00000e-01"),
    "other-1": ("8.00000e-01", "notFinite"),
    "nonmembers-1": ("9.00000e-01",),
}


def group(name):
    closeness, how = about_group(name)
    files = (FileDescriptor(name="a.png", size=5, sha256=sha256_hex(b"a")),)
    return EvaluatedGroup(
        name=name,
        closeness=closeness,
        how=how,
        distance="1.00000e-03" if name in COPIED else None,
        weights=sha256_hex(b"other") if name == "other-1" else None,
        files=files if name == "nonmembers-1" else None,
    )


def family(residuals=None, controls=CONTROLS, families=1):
    residuals = residuals or RESIDUALS
    rule = FamilyRule.of(controls, QUICK)
    own = residuals["own"]
    results = tuple(
        group_result(name, found, rule, own, iterations=7, seconds="1.5")
        for name, found in residuals.items()
    )
    return EvaluatedFamily(
        name="lossless",
        controls=controls,
        groups=results,
        shared=shared_controls_test(results[0].denied, len(own), rule, families=families),
        uniform=uniformity_test(own, rule, families=families),
    )


def evaluation(residuals=None):
    """Return the statement of an evaluation of one family, to which it was narrowed."""
    groups = tuple(group(name) for name in residuals or RESIDUALS)
    families = (family(residuals),)
    narrowed = ("lossless",)
    missing = [NotApplied(name=name, reason="cannot be trained") for name in MISSING]
    predicate = {
        "result": decide_evaluation(families, model_digest=MODEL.digest, protocol=QUICK).to_wire(),
        "scope": list(evaluation_scope(groups, families, narrowed)),
        "model": MODEL.to_wire(),
        "generator": _GENERATOR,
        "registration": {
            "payload": sha256_hex(b"registration"),
            "createdAt": "2026-11-01T00:00:00Z",
        },
        "protocol": QUICK.to_wire(),
        "protocolDigest": QUICK.digest,
        "groups": [one.to_wire() for one in groups],
        "families": [one.to_wire() for one in families],
        "narrowed": list(narrowed),
        "notApplied": [one.to_wire() for one in missing],
        "environment": _ENVIRONMENT,
        "createdAt": "2026-11-03T00:00:00Z",
    }
    subject = [{"name": f.name, "digest": {"sha256": f.sha256}} for f in MODEL.files]
    return copy.deepcopy(
        {
            "_type": STATEMENT_TYPE,
            "subject": subject,
            "predicateType": EVALUATION_TYPE,
            "predicate": predicate,
        }
    )


assert CONTROLS.kind == KIND
