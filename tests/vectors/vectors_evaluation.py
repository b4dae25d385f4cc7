"""Evaluations: SPEC.md, section 22."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable
from typing import Any

import evaluation_rule as rule
import vector_parts as v
from vector_cases import add
from vectors_dating import DRAND, chain, own_link

EVALUATION = "urn:deniability:evaluation/v1"
Predicate = dict[str, Any]
Change = Callable[[Predicate], Any]
#: The copies that were made; those that could not be, are told.
COPIED = ("noise-0.001", "noise-0.01", "int8", "noise-0.1")
UNTRIED = ("pruned-0.1", "fine-tuned", "pruned-0.5")
RESIDUALS = {
    "own": ["0"] * 17 + ["3.00000e-07", "5.00000e-06", "notFinite"],
    "noise-0.001": ["0", "0"],
    "noise-0.01": ["1.00000e-05", "3.00000e-05"],
    "int8": ["7.99999e-05", "8.00000e-05"],
    "noise-0.1": ["3.00000e-02", "5.00000e-01"],
    "other-1": ["8.00000e-01", "notFinite"],
    "nonmembers-1": ["9.00000e-01"],
}
#: Own outputs so far away that the promise is broken, whichever controls were drawn.
BROKEN = RESIDUALS | {"own": ["3.00000e-02"] * 12 + ["0"] * 8}
JPEG = "saved-jpeg-50-420"
#: So many more own outputs that a test at another level explains another number of denials.
MORE_OWN = 8


def group(name: str) -> Predicate:
    """Return the record of a group of pictures."""
    made: Predicate = {"name": name, **rule.about(name)}
    if name in COPIED:
        made["distance"] = "1.00000e-03"
    if name == "other-1":
        made["weights"] = v.sha("another model's weights")
    if name == "nonmembers-1":
        made["files"] = [{"name": "a.png", "size": 5, "sha256": v.sha("a.png")}]
    return made


@functools.cache
def _made(broken: bool, hard: int) -> dict[str, Any]:
    residuals = BROKEN if broken else RESIDUALS
    missed: dict[int, str | None] = dict.fromkeys(range(hard), "9.00000e-01")
    made = [
        v.make(kind=kind, **({"hard": missed} if hard else {}))["predicate"]
        for kind in (v.lossless(), v.jpeg())
    ]
    shared = ("model", "generator", "registration", "protocol", "protocolDigest", "environment")
    families = [
        {
            "name": name,
            "controls": one["controls"],
            "groups": [
                {"group": g, "residuals": list(found), "iterations": 7, "seconds": "1.5"}
                for g, found in residuals.items()
            ],
        }
        for name, one in zip(("lossless", JPEG), made, strict=True)
    ]
    predicate = {name: made[0][name] for name in shared} | {
        "groups": [group(name) for name in residuals],
        "families": families,
        "narrowed": ["lossless", JPEG],
        "notApplied": [{"name": name, "reason": "cannot be trained"} for name in UNTRIED],
        "createdAt": "2026-11-03T00:00:00Z",
    }
    return mend(
        {
            "_type": v.STATEMENT_TYPE,
            "subject": [
                {"name": f["name"], "digest": {"sha256": f["sha256"]}}
                for f in predicate["model"]["files"]
            ],
            "predicateType": EVALUATION,
            "predicate": predicate,
        }
    )


def evaluation(*, broken: bool = False, hard: int = 0) -> dict[str, Any]:
    """Return a statement that holds.

    Args:
        broken: whether own outputs are denied more often than was promised.
        hard: how many controls the search missed.

    """
    return copy.deepcopy(_made(broken, hard))


def mend(statement: dict[str, Any], *, keep: tuple[str, ...] = ()) -> dict[str, Any]:
    """Make what follows from the residuals follow again, as a dishonest signer would."""
    predicate = statement["predicate"]
    if "seeds" not in keep:
        for family in predicate["families"]:
            controls = family["controls"]
            kind = v.independent.digest(controls["kind"])
            for role, records in (
                ("control", controls["controls"]),
                ("mismatch", controls["mismatches"]),
            ):
                for record in records:
                    record["seed"] = v.independent.seed(predicate, role, kind, record["index"])
    if "numbers" not in keep:
        for family in predicate["families"]:
            rule.results(predicate, family, len(predicate["families"]))
    if "scope" not in keep:
        predicate["scope"] = rule.scope(predicate)
    if "result" not in keep:
        predicate["result"] = rule.result(predicate)
    return statement


def holds(name: str, about: str, change: Change = lambda _: None, **options: Any) -> None:
    def build() -> bytes:
        statement = evaluation(**options)
        change(statement["predicate"])
        return v.sign(mend(statement))

    # Those after the first are kept by digest if they differ from it in little.
    add("passing", f"evaluation{name}", about, build, stored=name in {"", "-promise-broken"})


def refused(
    stage: str,
    name: str,
    about: str,
    change: Change,
    *,
    says: str,
    mended: bool = True,
    keep: tuple[str, ...] = (),
    broken: bool = False,
) -> None:
    def build() -> bytes:
        statement = evaluation(broken=broken)
        before = v.canonical(statement)
        change(statement["predicate"])
        assert v.canonical(statement) != before, name
        return v.sign(mend(statement, keep=keep) if mended else statement)

    add(stage, f"evaluation-{name}", about, build, says=says)


def named(p: Predicate, name: str) -> Predicate:
    """Return the record of a group."""
    return next(one for one in p["groups"] if one["name"] == name)


def drop_group(p: Predicate, name: str) -> None:
    """Leave a group out everywhere."""
    p["groups"] = [one for one in p["groups"] if one["name"] != name]
    for family in p["families"]:
        family["groups"] = [one for one in family["groups"] if one["group"] != name]


# --- hold

holds("", "Two families, to which it was narrowed; strangers far, near and neither.")
holds(
    "-promise-broken",
    "More own outputs are denied than the promise explains, and it says so.",
    broken=True,
)
holds(
    "-no-recall",
    "The search missed twenty of its controls, so that nothing is denied.",
    hard=20,
)
holds(
    "-of-a-decoder",
    "The decoder of a latent diffusion model, of which nothing is denied.",
    lambda p: p["generator"].update(format="diffusers"),
)
holds("-beacon", "With a round of a beacon in the seeds.", lambda p: p.update(beacon=DRAND))

# --- form

for _name, _about, _change, _says in (
    (
        "residual-nan",
        "A residual that is no number.",
        lambda p: p["families"][0]["groups"][0]["residuals"].__setitem__(0, "NaN"),
        "residuals",
    ),
    (
        "without-pictures",
        "A group of no picture.",
        lambda p: p["families"][0]["groups"][1].update(residuals=[]),
        "residuals",
    ),
    ("closeness-unknown", "Neither near nor far.", lambda p: p["groups"][1].update(
        closeness="middling"), "closeness"),
    ("without-families", "No family at all.", lambda p: p.update(families=[]), "families"),
    ("picture", "A field of a bundle.", lambda p: p.update(accused={}), "accused"),
):  # fmt: skip
    refused("statement", _name, _about, _change, says=_says, mended=False)


def as_exclusion() -> bytes:
    """Return an exclusion that calls itself an evaluation."""
    return v.sign(v.statement() | {"predicateType": EVALUATION})


add(
    "statement",
    "evaluation-that-is-an-exclusion",
    "A bundle's predicate under the type of evaluations.",
    as_exclusion,
)


def moved_signature() -> bytes:
    """Return an evaluation under the signature of a bundle of the same key."""
    envelope = json.loads(v.sign(evaluation()))
    envelope["dsseEnvelope"]["signatures"] = json.loads(v.sign(v.statement()))["dsseEnvelope"][
        "signatures"
    ]
    return v.canonical(envelope)


def edited_after() -> bytes:
    """Return an evaluation whose sentence a third party changed."""
    envelope = json.loads(v.sign(evaluation()))
    edited = evaluation()
    edited["predicate"]["result"]["sentence"] = "Never wrong."
    envelope["dsseEnvelope"]["payload"] = v.b64(v.canonical(edited))
    return v.canonical(envelope)


add(
    "signature",
    "evaluation-signature-moved",
    "The signature of a bundle by the same key.",
    moved_signature,
)
add("signature", "evaluation-edited-by-a-third-party", "Edited, not signed again.", edited_after)
add(
    "trust",
    "evaluation-by-an-attacker",
    "By a key that the verifier does not trust.",
    lambda: v.sign(evaluation(), v.ATTACKER),
)


# --- model, protocol, controls


def of_another_model(p: Predicate) -> None:
    """The model of another registration, over the controls of this one."""
    p["model"] = v.make(model="m2")["predicate"]["model"]


def subject_and_model() -> bytes:
    """The same, with its files as subjects."""
    statement = evaluation()
    of_another_model(statement["predicate"])
    statement["subject"] = [
        {"name": f["name"], "digest": {"sha256": f["sha256"]}}
        for f in statement["predicate"]["model"]["files"]
    ]
    return v.sign(mend(statement, keep=("seeds",)))


def easier_protocol(p: Predicate) -> None:
    """A preset's name over an alpha of the signer's."""
    p["protocol"] = p["protocol"] | {"alpha": "0.2"}
    p["protocolDigest"] = v.independent.digest(p["protocol"])


def another_protocol(p: Predicate) -> None:
    """The digest of another preset."""
    p["protocolDigest"] = v.independent.digest(v.PRESETS["pristine-standard-v1"])


def chained(p: Predicate) -> None:
    p["registration"]["chain"] = chain([own_link(p)])


def chosen_seed(p: Predicate) -> None:
    p["families"][1]["controls"]["controls"][5]["seed"] = v.sha("chosen")


def beacon_moved(p: Predicate) -> None:
    """Seeds of one round, and the value of none."""
    p["beacon"] = DRAND | {"value": v.sha("another")}


refused("commitment", "of-another-model", "Its files are not the subjects.", of_another_model,
        says="subject")  # fmt: skip
add(
    "commitment",
    "evaluation-controls-of-another-model",
    "Model and subjects of another registration, over controls of this one.",
    subject_and_model,
    says="seed",
)
refused("commitment", "protocol-easier", "A preset with another α.", easier_protocol,
        says="protocol")  # fmt: skip
refused("commitment", "protocol-of-another", "Another preset's digest.", another_protocol,
        says="protocolDigest")  # fmt: skip
refused("commitment", "chain", "A registration with a chain, which none cites.", chained,
        says="registration.chain")  # fmt: skip
refused("commitment", "control-chosen-seed", "A control from a chosen seed.", chosen_seed,
        says="seed", keep=("seeds",))  # fmt: skip
refused(
    "commitment",
    "control-dropped",
    "A control left out.",
    lambda p: p["families"][0]["controls"]["controls"].pop(),
    says="controls",
)
refused("commitment", "beacon-value", "A beacon whose value is not its signature's.", beacon_moved,
        says="beacon")  # fmt: skip
refused(
    "commitment",
    "beacon-added",
    "A beacon named afterwards: the seeds are without it.",
    lambda p: p.update(beacon=DRAND),
    says="seed",
    keep=("seeds",),
)

# --- groups


def swap(p: Predicate) -> None:
    """Put the first copy after the second."""
    for listed in (p["groups"], *(family["groups"] for family in p["families"])):
        listed[1], listed[2] = listed[2], listed[1]


def told_and_there(p: Predicate) -> None:
    p["notApplied"].append({"name": "int8", "reason": "too slow"})


def second_name(p: Predicate) -> None:
    """A group that there is not."""
    p["groups"].append(named(p, "other-1") | {"name": "strangers"})


for _name, _about, _change, _says in (
    ("own-dropped", "Without own outputs.", lambda p: drop_group(p, "own"), "groups"),
    ("copy-dropped", "A copy left out, nowhere told.", lambda p: drop_group(p, "int8"), "copies"),
    ("copy-untold", "One that was not made is not told.", lambda p: p["notApplied"].pop(0),
     "copies"),
    ("copy-told-and-there", "One that is there is told to be missing.", told_and_there,
     "notApplied"),
    ("groups-reordered", "Two copies in another order.", swap, "order"),
    ("group-unknown", "A group that there is not.", second_name, "closeness"),
    ("near-called-far", "A near copy called far.", lambda p: named(p, "int8").update(
        closeness="far"), "closeness"),
    ("how-reworded", "Other words on own outputs.", lambda p: named(p, "own").update(
        how="hand-picked ones"), "how"),
    ("distance-dropped", "A copy without its distance.", lambda p: named(p, "int8").pop(
        "distance"), "distance"),
    ("files-dropped", "The signer's pictures without their files.", lambda p: named(
        p, "nonmembers-1").pop("files"), "files"),
    ("other-is-the-model", "Another generator with this model's weights.", lambda p: named(
        p, "other-1").update(weights=p["model"]["weights"]), "weights"),
    ("picture-dropped", "A picture of the signer's without a residual.", lambda p: named(
        p, "nonmembers-1")["files"].append(named(p, "nonmembers-1")["files"][0]), "count"),
    ("group-missing-in-a-family", "A group left out in one family.",
     lambda p: p["families"][1]["groups"].pop(3), "groups"),
):  # fmt: skip
    # A group whose name is unknown, and a family without own outputs, have no words or numbers.
    _kept = _name in {"own-dropped", "near-called-far"}
    refused("commitment", _name, _about, _change, says=_says, mended=not _kept)


# --- families


def unsaid(p: Predicate) -> None:
    """Narrowed, and called whole."""
    del p["narrowed"]


def less_than_said(p: Predicate) -> None:
    """A family that was to be examined and is not there."""
    p["families"].pop()


def another_quality(p: Predicate) -> None:
    """Controls saved once under the name of another quality."""
    p["families"][1]["name"] = p["narrowed"][1] = "saved-jpeg-75-420"


for _name, _about, _change, _says in (
    ("narrowed-unsaid", "Narrowed without saying so.", unsaid, "families"),
    ("family-dropped", "A family left out.", less_than_said, "families"),
    ("family-renamed", "Controls of one quality under the name of another.", another_quality,
     "name"),
    ("families-reordered", "Two families in another order.", lambda p: p["families"].reverse(),
     "families"),
    ("narrowed-to-an-unknown", "Narrowed to what the preset does not have.",
     lambda p: p["narrowed"].append("mirrored"), "narrowed"),
    ("narrowed-twice", "A family named twice.", lambda p: p["narrowed"].append("lossless"),
     "narrowed"),
    ("kind-of-another-model", "Controls of files with another number of channels.",
     lambda p: p["families"][0]["controls"]["kind"].update(channels=1, modelChannels=1), "kind"),
):  # fmt: skip
    refused("commitment", _name, _about, _change, says=_says)

# --- numbers


def at(*path: Any, value: Any) -> Change:
    """Return what sets one field."""

    def change(p: Predicate) -> None:
        holder: Any = p
        for step in path[:-1]:
            holder = holder[step]
        assert path[-1] in holder if isinstance(holder, dict) else True
        holder[path[-1]] = value

    return change


FIRST = ("families", 0)
for _name, _about, _change, _says in (
    ("denied-lowered", "Own outputs that are denied, not counted.",
     at(*FIRST, "groups", 0, "denied", value=1), "denied"),
    ("reached-raised", "More reached than there are.",
     at(*FIRST, "groups", 0, "reached", value=20), "reached"),
    ("bound-understated", "A smaller bound on the share denied.",
     at(*FIRST, "groups", 0, "atMost", value="0.049999"), "atMost"),
    ("power-overstated", "A larger bound on how often strangers are denied.",
     at(*FIRST, "groups", 4, "atLeast", value="0.900000"), "atLeast"),
    ("auc-overstated", "Strangers told better from own outputs than they are.",
     at(*FIRST, "groups", 3, "auc", value="1.000000"), "auc"),
    ("auc-of-own", "Own outputs compared with themselves.",
     lambda p: p["families"][0]["groups"][0].update(auc="0.500000"), "auc"),
    ("residual-lowered", "A residual lowered, what follows kept.",
     at(*FIRST, "groups", 0, "residuals", 0, value="0"), "groups.0"),
    ("control-raised", "A control raised, what follows kept.",
     lambda p: p["families"][0]["controls"]["controls"][1].update(residual="9.00000e-01"),
     "families.0"),
    ("allowed-raised", "More controls allowed beyond what is denied.",
     at(*FIRST, "shared", "allowed", value=2), "allowed"),
    ("critical-raised", "More denials said to be explained.",
     at(*FIRST, "shared", "critical", value=12), "critical"),
    ("shared-p", "A larger p-value of the denials.",
     at(*FIRST, "shared", "p", value="0.300000"), "shared.p"),
    ("shared-passed", "A test that failed called passed.",
     at(*FIRST, "shared", "passed", value=True), "shared.passed"),
    ("excess", "A smaller excess.", at(*FIRST, "uniform", "excess", value="0.010000"), "excess"),
    ("uniform-p", "A larger p-value of the p-values.",
     at(*FIRST, "uniform", "p", value="0.300000"), "uniform.p"),
    ("uniform-passed", "Its test called passed.",
     at(*FIRST, "uniform", "passed", value=True), "uniform.passed"),
    ("result-denied", "Fewer denials in the result.",
     at("result", "denied", value=0), "result.denied"),
    ("result-own", "More own outputs in the result.", at("result", "own", value=4000),
     "result.own"),
    ("result-bound", "A smaller bound in the result.",
     at("result", "atMost", value="0.010000"), "result.atMost"),
    ("promise-overstated", "A promise called kept that is broken.",
     at("result", "promiseHeld", value=True), "result.promiseHeld"),
    ("uniform-overstated", "Small p-values called uniform.",
     at("result", "uniform", value=True), "result.uniform"),
    ("sentence-changed", "The word that speaks against it taken out.",
     lambda p: p["result"].update(
         sentence=p["result"]["sentence"].replace("contradicts", "does not contradict")),
     "result.sentence"),
):  # fmt: skip
    refused("statistics", _name, _about, _change, says=_says, mended=False, broken=True)


def other_level(p: Predicate) -> None:
    """Tests at the level of one family, where there are two: here fewer denials are explained."""
    for family in p["families"]:
        family["groups"][0]["residuals"] += ["0"] * MORE_OWN
        rule.results(p, family, 1)
    p["result"] = rule.result(p)


refused("statistics", "level-of-one-family", "The tests not corrected for two families.",
        other_level, says="shared.critical", mended=False)  # fmt: skip
refused(
    "commitment",
    "scope-dropped",
    "Without the line that the residuals are the signer's word.",
    lambda p: p["scope"].pop(0),
    says="scope",
    mended=False,
)
refused(
    "commitment",
    "scope-without-narrowed",
    "Without the line that it was narrowed.",
    lambda p: p["scope"].pop(),
    says="scope",
    mended=False,
)
