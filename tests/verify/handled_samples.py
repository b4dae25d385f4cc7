"""Synthetic bundles with several families of handling, under a preset of these tests only."""

import copy
import functools

from bundle_samples import (
    KIND,
    MISSING,
    MODEL,
    PICTURE,
    QUICK,
    sample_controls,
    sign,
    statement,
    trace_root,
)

from deniability.crypto.canonical import canonical_json
from deniability.crypto.digest import sha256_hex
from deniability.stats.sentence import scope_lines
from deniability.stats.verdict import decide
from deniability.wire.controls import ControlSet
from deniability.wire.exclusion import HandledSearch
from deniability.wire.families import edits_of, kinds_of
from deniability.wire.restarts import RestartRecord
from deniability.wire.roles import restart_seed, searched_as

#: For 8 x 8 pixels: unedited and the first three. For 7 x 7: the last two.
EDITS = ("mirrored", "noisy", "jpeg-420-70-84", "resized-bilinear", "cut-out")
PRESET = QUICK.model_copy(
    update={"name": "test-handled", "edits": EDITS, "accused_restarts": QUICK.restarts + 2}
)
#: What an edit's own noise comes to; above the rounding of a pixel.
NOISE = "2.00000e-04"
#: Residual of every restart on the accused.
FAR = "4.40000e-02"
#: The control that was not found, and just below κ times that: the margin of noisy pictures.
HARD, BELOW_MARGIN = "2.50000e-04", "2.49999e-03"


def kinds(size=(8, 8), narrowed=None):
    """Kinds of a colour file of this size."""
    stored = KIND.model_copy(update={"height": size[0], "width": size[1]})
    return kinds_of(PRESET, stored, height=8, width=8, only=narrowed)


def controls_of(kind) -> ControlSet:
    """Controls whose truths are 0, or the noise of the edit."""
    made = sample_controls(PRESET, kind)
    if kind.edit != "noisy":
        return made
    found = {"truth": NOISE, "residual": NOISE, "best": 0, "restarts": 1}
    odd = {
        MISSING: {"truth": NOISE},
        1: {"truth": NOISE, "residual": HARD, "best": 3, "restarts": PRESET.restarts},
    }
    controls = tuple(c.model_copy(update=odd.get(c.index, found)) for c in made.controls)
    return made.model_copy(update={"controls": controls})


def restarts_of(kind, residuals, threshold="1.00000e-09") -> tuple[RestartRecord, ...]:
    """A trace with these residuals, the last for all that follow."""
    picture = searched_as(PICTURE.sha256, kind)
    made, done = [], False
    for i in range(PRESET.searches):
        residual = residuals[min(i, len(residuals) - 1)]
        reached = not done and float(residual) <= float(threshold)
        made.append(
            RestartRecord(
                index=i,
                seed=restart_seed(MODEL, PRESET.digest, picture, i).hex(),
                start="encoder" if i == 0 else "encoder-noise" if i % 2 else "prior",
                stop="notRun" if done else "reached" if reached else "stalled",
                residual=None if done else residual,
                distance=None if done else "5.00000e-02",
                iterations=0 if done else 20,
                latent=None if done else sha256_hex(b"%d of %r" % (i, str(kind.edit).encode())),
            )
        )
        done = done or reached
    return tuple(made)


@functools.cache
def _handled(size, narrowed, residuals):
    searched = []
    given = dict(residuals)
    for kind in kinds(size, narrowed):
        found = given.get(kind.edit, (FAR,))
        limit = NOISE if kind.edit == "noisy" else "1.00000e-09"
        controls, restarts = controls_of(kind), restarts_of(kind, found, limit)
        searched.append(
            {
                "controls": controls.to_wire(),
                "restarts": [r.to_wire() for r in restarts],
                "traceRoot": trace_root([r.to_wire() for r in restarts]),
            }
        )
    content = statement()
    predicate = content["predicate"]
    first, *others = searched
    predicate |= first
    predicate["protocol"], predicate["protocolDigest"] = PRESET.to_wire(), PRESET.digest
    predicate["accused"] |= {
        "height": size[0],
        "width": size[1],
        "kind": first["controls"]["kind"],
    }
    if others:
        predicate["handled"] = others
    if narrowed is not None:
        predicate["narrowed"] = list(narrowed)
    return mended(content)


def handled(*, size=(8, 8), narrowed=None, residuals=()) -> dict:
    """Return a fresh statement that holds.

    Args:
        size: of the accused file; the model's is 8 x 8.
        narrowed: families that the search was narrowed to.
        residuals: pairs of an edit, or None, and the residuals of restarts.

    """
    return copy.deepcopy(_handled(size, narrowed, residuals))


def mended(content: dict) -> dict:
    """Make roots, scope and finding follow, as a dishonest signer who knows the rule would."""
    predicate = content["predicate"]
    for one in (predicate, *predicate.get("handled", [])):
        one["traceRoot"] = trace_root(one["restarts"])
    searches = tuple(
        HandledSearch.model_validate_json(canonical_json(one))
        for one in predicate.get("handled", [])
    )
    controls = ControlSet.model_validate_json(canonical_json(predicate["controls"]))
    claimed = predicate["finding"].get("reached", {})
    finding = decide(
        protocol=PRESET,
        controls=controls,
        restarts=tuple(
            RestartRecord.model_validate_json(canonical_json(r)) for r in predicate["restarts"]
        ),
        cautions=tuple(predicate["accused"]["cautions"]),
        model_digest=predicate["model"]["digest"],
        pixel_for_pixel=claimed.get("pixelForPixel", False),
        handled=searches,
    )
    predicate["finding"] = finding.to_wire()
    predicate["scope"] = list(scope_lines(controls.kind, edits=edits_of(searches)))
    return content


def signed(change=None, *, mend=False, **options) -> bytes:
    """Sign a statement that `change(predicate)` was done to; roots follow if not all is mended."""
    content = handled(**options)
    predicate = content["predicate"]
    if change is not None:
        change(predicate)
    if mend:
        mended(content)
    return sign(content)
