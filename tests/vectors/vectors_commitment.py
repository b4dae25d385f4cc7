"""What a signer says that does not follow from its digests: stage commitment."""

from __future__ import annotations

import functools
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import vector_parts as v
from vector_cases import add

ALL = v.MENDED


def changed(
    change: Callable[[dict[str, Any]], Any], mend: tuple[str, ...], verdict: str = "excluded"
) -> bytes:
    content = v.statement(verdict)
    change(content["predicate"])
    return v.sign(v.mend(content, keep=tuple(part for part in ALL if part not in mend)))


def refused(
    name: str,
    about: str,
    change: Callable[[dict[str, Any]], Any],
    *,
    mend: tuple[str, ...] = ("root", "finding"),
    verdict: str = "excluded",
    says: str = "",
) -> None:
    add("commitment", name, about, functools.partial(changed, change, mend, verdict), says=says)


def statement(name: str, about: str, change: Callable[[dict[str, Any]], Any], says: str) -> None:
    def build() -> bytes:
        content = v.statement()
        change(content)
        return v.sign(content)

    add("commitment", name, about, build, says=says)


# --- step 6

statement(
    "subject-name", "Another name.", lambda s: s["subject"][0].update(name="b.png"), "subject"
)
statement(
    "subject-digest",
    "The digest of another file.",
    lambda s: s["subject"][0]["digest"].update(sha256=v.sha("b")),
    "subject",
)
statement(
    "two-subjects",
    "A second picture: handing it over would match.",
    lambda s: s["subject"].append({"name": "b.png", "digest": {"sha256": v.sha("b")}}),
    "subject",
)
statement(
    "model-as-subject",
    "The model file as a second subject.",
    lambda s: s["subject"].append({"name": "m-1.pt", "digest": {"sha256": v.sha("m 1")}}),
    "subject",
)
refused(
    "accused-of-another-bundle",
    "The accused file of another bundle, all else mended.",
    lambda p: p["accused"].update(file=v.statement("reached")["predicate"]["accused"]["file"]),
    mend=ALL,
    says="subject",
)

# --- step 7


def swap(p: dict[str, Any]) -> None:
    one, two = p["model"]["files"]
    one["sha256"], two["sha256"] = two["sha256"], one["sha256"]


refused("swapped-shards", "Two shards of the model swapped.", swap, says="model.digest")
refused(
    "model-digest",
    "Another digest.",
    lambda p: p["model"].update(digest="0" * 64),
    says="model.digest",
)
refused(
    "model-weights",
    "Another weights' digest, with seeds that follow from it.",
    lambda p: p["model"].update(weights="0" * 64),
    mend=("seeds", "root", "finding"),
    says="model.weights",
)
refused(
    "model-file-dropped",
    "A model file is missing.",
    lambda p: p["model"]["files"].pop(),
    says="model",
)
refused(
    "model-file-size",
    "Another size.",
    lambda p: p["model"]["files"][0].update(size=1),
    says="model.digest",
)
refused(
    "model-file-twice",
    "One file twice.",
    lambda p: p["model"]["files"].append(dict(p["model"]["files"][0])),
    mend=ALL,
)
refused(
    "model-of-another-bundle",
    "Another model, with its own digests, and the seeds of this one.",
    lambda p: p.update(model=v.make(model="other")["predicate"]["model"]),
    says="seed",
)

# --- step 8

for name, value in (
    ("alpha", "0.99"),
    ("kappa", "1"),
    ("recall", "0"),
    ("confidence", "0.5"),
    ("controls", 9),
    ("restarts", 1),
    ("resolution", "1.00000e-01"),
    ("mismatchOutputs", 1),
    ("families", ["lossless"]),
    ("iterations", 0),
    ("encoderOutputs", 1),
    ("denseLimit", 1),
    ("adamIterations", 0),
    ("largeSolver", "gauss-newton-cg"),
    ("cgIterations", 64),
    ("stages", "mapping-synthesis"),
):
    refused(
        f"protocol-{name.lower()}",
        f"The preset with another {name}, under its own digest; seeds and finding follow.",
        lambda p, n=name, x=value: p["protocol"].update({n: x}),
        mend=ALL,
        says="protocol",
    )
refused(
    "protocol-unknown",
    "A preset that does not exist.",
    lambda p: p["protocol"].update(name="pristine-quick-v0"),
    mend=ALL,
    says="protocol",
)
refused(
    "protocol-renamed",
    "The quick preset under the name of the standard one.",
    lambda p: p["protocol"].update(name="pristine-standard-v1"),
    mend=ALL,
    says="protocol",
)
refused(
    "protocol-of-another-size",
    "The standard preset over 99 controls.",
    lambda p: p.update(protocol=v.PRESETS["pristine-standard-v1"]),
    mend=ALL,
)
refused(
    "protocol-digest",
    "The digest of another preset.",
    lambda p: p.update(protocolDigest=v.independent.PRESETS["pristine-standard-v1"]),
    says="protocolDigest",
)
refused(
    "stages-not-of-the-protocol",
    "Searched in stages under a preset that has none; starts and finding follow.",
    lambda p: (p.pop("encoder"), p.update(stages="mapping-synthesis")),
    mend=ALL,
    says="stages",
)


def _in_stages(change: Callable[[dict[str, Any]], Any], *, keep: tuple[str, ...] = ()) -> bytes:
    content = v.make(preset="pristine-quick-v3", encoder=False, stages=True)
    change(content["predicate"])
    return v.sign(v.mend(content, keep=keep))


add(
    "commitment",
    "stages-and-an-encoder",
    "Searched in stages, and from an encoder's guess.",
    functools.partial(_in_stages, lambda p: p.update(encoder=v.sha("encoder"))),
    says="encoder",
)
add(
    "commitment",
    "stages-left-out",
    "Starts that were found in stages, and nothing that says so.",
    functools.partial(_in_stages, lambda p: p.pop("stages"), keep=("starts",)),
    says="start",
)

# --- step 9

refused(
    "controls-of-another-kind",
    "JPEG controls for a lossless picture.",
    lambda p: p["controls"].update(kind=v.jpeg(3)),
    mend=("seeds", "root"),
    says="controls.kind",
)
refused(
    "kind-rounding",
    "Truncated where the generator rounds.",
    lambda p: (
        p["accused"]["kind"].update(rounding="truncate"),
        p["controls"]["kind"].update(rounding="truncate"),
    ),
    mend=ALL,
    says="rounding",
)
refused(
    "kind-size",
    "Another size than the picture's.",
    lambda p: (p["accused"]["kind"].update(width=9), p["controls"]["kind"].update(width=9)),
    mend=ALL,
)
refused("accused-size", "Another size of the accused.", lambda p: p["accused"].update(height=9))
refused("generator-size", "Another generator.", lambda p: p["generator"].update(height=9))
refused("generator-channels", "A gray generator.", lambda p: p["generator"].update(channels=1))
refused(
    "generator-rounding",
    "A service that truncates.",
    lambda p: p["generator"].update(rounding="truncate"),
    says="rounding",
)
refused("accused-channels", "Other channels.", lambda p: p["accused"].update(channels=1))
refused("scope-dropped", "A limitation left out.", lambda p: p["scope"].pop(), says="scope")
refused("scope-empty", "No scope.", lambda p: p.update(scope=[]), says="scope")
refused(
    "scope-wider",
    "A promise more.",
    lambda p: p["scope"].append("Covered: all edits."),
    says="scope",
)
refused(
    "scope-edited",
    "deployment verified.",
    lambda p: p.update(scope=[line.replace("not verified", "verified") for line in p["scope"]]),
    says="scope",
)
refused("scope-reordered", "Limits in another order.", lambda p: p["scope"].reverse(), says="scope")

# --- step 10


def controls(p: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = p["controls"]["controls"]
    return found


def reindexed(p: dict[str, Any]) -> None:
    for i, control in enumerate(controls(p)):
        control["index"] = i


for name, about, change, says in (
    ("dropped", "The hardest control left out.", lambda p: controls(p).pop(7), "controls"),
    (
        "too-many",
        "An easy control more.",
        lambda p: controls(p).append(controls(p)[-1] | {"index": 99}),
        "controls",
    ),
    (
        "twice",
        "An easy control in place of the hard one.",
        lambda p: controls(p).__setitem__(7, dict(controls(p)[8])),
        "index",
    ),
    (
        "reordered",
        "Two controls swapped.",
        lambda p: controls(p).insert(0, controls(p).pop(1)),
        "index",
    ),
    ("index-gap", "The last index is 99.", lambda p: controls(p)[98].update(index=99), "index"),
    ("empty", "No controls.", lambda p: controls(p).clear(), "controls"),
    ("chosen-seed", "A seed chosen.", lambda p: controls(p)[0].update(seed="0" * 64), "seed"),
    (
        "seeds-swapped",
        "The seed of its neighbour.",
        lambda p: controls(p)[0].update(seed=controls(p)[1]["seed"]),
        "seed",
    ),
    ("engine", "Of another engine.", lambda p: p["controls"].update(engine="2"), "engine"),
    ("solver", "By another solver.", lambda p: p["controls"].update(solver="adam"), "solver"),
    (
        "solver-of-version-2",
        "By the solver that version 2 prescribes for larger latents.",
        lambda p: p["controls"].update(solver="gauss-newton-cg"),
        "solver",
    ),
    (
        "best-not-run",
        "Its best restart was not run.",
        lambda p: controls(p)[0].update(best=12),
        "best",
    ),
    ("no-restarts", "None was run.", lambda p: controls(p)[9].update(restarts=0), "restarts"),
    (
        "more-restarts",
        "More than the protocol's, so that it was found.",
        lambda p: controls(p)[9].update(restarts=13, best=12),
        "restarts",
    ),
    (
        "stopped-early",
        "A hard control given up after one restart.",
        lambda p: controls(p)[7].update(restarts=1),
        "restarts",
    ),
    (
        "latent-missing",
        "A residual without a latent.",
        lambda p: controls(p)[0].pop("latent"),
        "latent",
    ),
    (
        "latent-without-residual",
        "A latent without a residual.",
        lambda p: controls(p)[7].update(latent="0" * 64),
        "latent",
    ),
    (
        "below-resolution",
        "A residual that would be stored as 0.",
        lambda p: controls(p)[0].update(residual="1.00000e-10"),
        "residual",
    ),
):
    refused(
        f"control-{name}", about, change, mend=("finding",) if name != "empty" else (), says=says
    )
refused(
    "control-dropped-and-renumbered",
    "The hardest left out, an easy one more, numbered anew.",
    lambda p: (controls(p).pop(7), controls(p).append(dict(controls(p)[-1])), reindexed(p)),
    mend=("finding",),
    says="seed",
)
refused(
    "controls-of-another-model",
    "The controls of another model.",
    lambda p: p.update(controls=v.make(model="other")["predicate"]["controls"]),
    says="seed",
)
refused(
    "controls-of-another-preset",
    "The first 99 controls of another preset.",
    lambda p: controls(p).__setitem__(
        slice(None), v.make(preset="pristine-standard-v1")["predicate"]["controls"]["controls"][:99]
    ),
)


def mismatches(p: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = p["controls"]["mismatches"]
    return found


for name, about, change in (
    ("dropped", "The largest left out.", lambda p: mismatches(p).pop(12)),
    ("way-dropped", "A way left out.", lambda p: mismatches(p).__delitem__(slice(12, 16))),
    ("empty", "None.", lambda p: mismatches(p).clear()),
    (
        "relabelled",
        "One way under the name of another.",
        lambda p: mismatches(p)[12].update(way="bfloat16"),
    ),
    ("reordered", "In another order.", lambda p: mismatches(p).reverse()),
    ("index", "An index twice.", lambda p: mismatches(p)[13].update(index=0)),
    ("chosen-seed", "A seed chosen.", lambda p: mismatches(p)[0].update(seed="1" * 64)),
):
    refused(
        f"mismatch-{name}",
        about,
        change,
        mend=() if name == "empty" else ("finding",),
        says="mismatches",
    )

# --- step 11


def restarts(p: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = p["restarts"]
    return found


def not_run(record: dict[str, Any]) -> None:
    for name in ("residual", "distance", "latent"):
        record.pop(name, None)
    record.update(stop="notRun", iterations=0)


for name, about, change, says in (
    ("dropped", "The last restart left out.", lambda p: restarts(p).pop(), "restarts"),
    (
        "too-many",
        "One more.",
        lambda p: restarts(p).append(restarts(p)[-1] | {"index": 12}),
        "restarts",
    ),
    (
        "twice",
        "One in place of another.",
        lambda p: restarts(p).__setitem__(3, dict(restarts(p)[4])),
        "index",
    ),
    ("reordered", "In another order.", lambda p: restarts(p).reverse(), "index"),
    ("index-gap", "The last index is 12.", lambda p: restarts(p)[11].update(index=12), "index"),
    ("empty", "None.", lambda p: restarts(p).clear(), "restarts"),
    ("chosen-seed", "A seed chosen.", lambda p: restarts(p)[5].update(seed="0" * 64), "seed"),
    (
        "of-another-picture",
        "The trace of another picture.",
        lambda p: p.update(restarts=v.statement("inconclusive")["predicate"]["restarts"]),
        "seed",
    ),
    ("start", "Another start.", lambda p: restarts(p)[0].update(start="prior"), "start"),
    ("not-run", "One was not run though none reached.", lambda p: not_run(restarts(p)[11]), "stop"),
    ("none-run", "None was run.", lambda p: [not_run(r) for r in restarts(p)], "stop"),
    (
        "not-run-with-residual",
        "Not run, with a residual.",
        lambda p: restarts(p)[11].update(stop="notRun"),
        "residual",
    ),
    (
        "reached-above-threshold",
        "Says reached, and did not.",
        lambda p: restarts(p)[0].update(stop="reached"),
        "stop",
    ),
    (
        "non-finite-with-residual",
        "Not finite, with a residual.",
        lambda p: restarts(p)[0].update(stop="nonFinite"),
        "residual",
    ),
    (
        "residual-missing",
        "A finite restart without residual.",
        lambda p: restarts(p)[0].pop("residual"),
        "residual",
    ),
    ("latent-missing", "Without latent.", lambda p: restarts(p)[0].pop("latent"), "latent"),
    ("distance-missing", "Without distance.", lambda p: restarts(p)[0].pop("distance"), "distance"),
    (
        "below-resolution",
        "A residual that would be stored as 0.",
        lambda p: restarts(p)[0].update(residual="9.99999e-10", stop="reached"),
        "residual",
    ),
):
    refused(f"restart-{name}", about, change, mend=() if name == "empty" else ("root",), says=says)
refused(
    "encoder-removed",
    "The encoder left out, the starts left as they were.",
    lambda p: p.pop("encoder"),
    says="start",
)
refused(
    "not-run-before-reached",
    "A restart before the one that reached was not run.",
    lambda p: not_run(restarts(p)[0]),
    verdict="reached",
    mend=("root",),
    says="stop",
)
refused(
    "run-after-reached",
    "A restart after the one that reached was run.",
    lambda p: restarts(p)[5].update(
        stop="stalled", residual="5.00000e-02", distance="5.00000e-02", latent="0" * 64
    ),
    verdict="reached",
    mend=("root",),
    says="stop",
)
refused(
    "reached-called-stalled",
    "The one that reached under another name, and all others run.",
    lambda p: restarts(p)[1].update(stop="stalled"),
    verdict="reached",
    mend=("root",),
    says="stop",
)
refused(
    "not-run-with-iterations",
    "Not run, with iterations.",
    lambda p: restarts(p)[5].update(iterations=3),
    verdict="reached",
    mend=("root",),
    says="iterations",
)
refused("root", "Another root.", lambda p: p.update(traceRoot="0" * 64), mend=(), says="traceRoot")
refused(
    "root-of-another-bundle",
    "The root of another bundle.",
    lambda p: p.update(traceRoot=v.statement("reached")["predicate"]["traceRoot"]),
    mend=(),
    says="traceRoot",
)


def plain_tree(p: dict[str, Any]) -> None:
    """A tree without the prefixes of RFC 6962, whose leaves and nodes can be confused."""
    level = [sha256(v.canonical(record)).digest() for record in restarts(p)]
    while len(level) > 1:
        level += level[-1:] if len(level) % 2 else []
        level = [sha256(a + b).digest() for a, b in zip(level[::2], level[1::2], strict=True)]
    p["traceRoot"] = level[0].hex()


refused("root-without-prefixes", "Another kind of tree.", plain_tree, mend=(), says="traceRoot")
refused(
    "restart-edited",
    "A residual raised under the old root.",
    lambda p: restarts(p)[0].update(residual="9.00000e-01"),
    mend=("finding",),
    says="traceRoot",
)
