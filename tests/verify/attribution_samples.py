"""Synthetic attributions, valid at V0, of models that differ in name only. No torch."""

import functools

from bundle_samples import KEY, PICTURE, QUICK, sample, sign
from handled_samples import handled

from deniability.crypto.canonical import canonical_json
from deniability.crypto.digest import FileDigest, model_digest, sha256_hex
from deniability.stats.attribution import attribution_scope, decide_attribution
from deniability.stats.verdict import decide
from deniability.wire.attribution import Attribution
from deniability.wire.exclusion import Exclusion
from deniability.wire.registration import FileDescriptor, ModelDescriptor
from deniability.wire.restarts import Restarts
from deniability.wire.roles import control_seed, mismatch_seed, restart_seed
from deniability.wire.statement import ATTRIBUTION_TYPE, STATEMENT_TYPE

_RESIDUALS = {
    "excluded": {},
    "inconclusive": {"residuals": ["7.99999e-05"] * QUICK.restarts},
    "reached": {"residuals": ["1.00000e-03", "0"], "reached_at": 1, "pixel_for_pixel": True},
}


def other_model(number) -> ModelDescriptor:
    file = FileDescriptor(name="m.pt", size=1, sha256=sha256_hex(b"model %d" % number))
    return ModelDescriptor(
        digest=model_digest([FileDigest(file.name, file.size, file.sha256)]),
        weights=sha256_hex(canonical_json([file.sha256])),
        files=(file,),
    )


@functools.cache
def candidate(number, verdict) -> Exclusion:
    """A valid exclusion about another model, of the samples' picture."""
    made, model = sample(**_RESIDUALS[verdict]), other_model(number)
    kind = made.controls.kind.digest()
    controls = made.controls.model_copy(
        update={
            "controls": tuple(
                c.model_copy(
                    update={"seed": control_seed(model, QUICK.digest, kind, c.index).hex()}
                )
                for c in made.controls.controls
            ),
            "mismatches": tuple(
                m.model_copy(
                    update={"seed": mismatch_seed(model, QUICK.digest, kind, m.index).hex()}
                )
                for m in made.controls.mismatches
            ),
        }
    )
    restarts = Restarts(
        r.model_copy(
            update={"seed": restart_seed(model, QUICK.digest, PICTURE.sha256, r.index).hex()}
        )
        for r in made.restarts
    )
    from bundle_samples import trace_root

    finding = decide(
        protocol=QUICK,
        controls=controls,
        restarts=restarts,
        cautions=(),
        model_digest=model.digest,
        pixel_for_pixel=verdict == "reached",
    )
    assert finding.verdict == verdict
    return made.model_copy(
        update={
            "model": model,
            "controls": controls,
            "restarts": restarts,
            "trace_root": trace_root([r.to_wire() for r in restarts]),
            "finding": finding,
            "registration": made.registration.model_copy(
                update={"payload": sha256_hex(b"registration %d" % number)}
            ),
        }
    )


def candidates(*verdicts) -> list[Exclusion]:
    """Candidates with these verdicts, one for each of different models, in order of digest."""
    made = [candidate(number, verdict) for number, verdict in enumerate(verdicts)]
    return sorted(made, key=lambda c: c.model.digest)


def handled_candidates(*found) -> list[Exclusion]:
    """Candidates under a preset with edits, for the words: their seeds are of one model.

    Each is reached through an edit, or None for unedited, or "excluded".
    """
    made = []
    for number, edit in enumerate(found):
        given = () if edit == "excluded" else ((edit, ("1.00000e-03", "0")),)
        predicate = handled(residuals=given)["predicate"]
        exclusion = Exclusion.model_validate_json(canonical_json(predicate))
        made.append(exclusion.model_copy(update={"model": other_model(number)}))
    return sorted(made, key=lambda c: c.model.digest)


def attribution(*verdicts) -> dict:
    """A valid statement."""
    found = candidates(*verdicts)
    predicate = Attribution(
        finding=decide_attribution(found),
        scope=attribution_scope(found),
        picture=PICTURE,
        candidates=tuple(found),
        created_at="2026-11-02T00:00:00Z",
    )
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": PICTURE.name, "digest": {"sha256": PICTURE.sha256}}],
        "predicateType": ATTRIBUTION_TYPE,
        "predicate": predicate.to_wire(),
    }


def signed(content, key=KEY) -> bytes:
    return sign(content, key)
