"""Several models for one picture: SPEC.md, section 20."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import vector_parts as v
from vector_cases import add
from vectors_binding import binding
from vectors_dating import OTHER, chain, own_link
from vectors_handled import searched

ATTRIBUTION = "urn:deniability:attribution/v1"
Predicate = dict[str, Any]
_RESIDUALS: dict[str, dict[str, Any]] = {
    "excluded": {},
    "inconclusive": {"residuals": ["7.99999e-05"]},
    "reached": {"residuals": ["1.00000e-03", "0"], "exact": True},
}


@functools.cache
def _candidate(model: str, verdict: str, family: str) -> Predicate:
    kind, picture = (v.jpeg(), "a.jpg") if family == "jpeg" else (None, "accused.png")
    made = v.make(model=model, kind=kind, picture=picture, **_RESIDUALS[verdict])["predicate"]
    assert made["finding"]["verdict"] == verdict
    return made


def attribution(*verdicts: str, family: str = "lossless") -> dict[str, Any]:
    """Return a statement that holds, of as many models, each with its verdict."""
    candidates = [
        copy.deepcopy(_candidate(f"m{i}", verdict, family)) for i, verdict in enumerate(verdicts)
    ]
    picture = candidates[0]["accused"]["file"]
    return mended(
        {
            "_type": v.STATEMENT_TYPE,
            "subject": [{"name": picture["name"], "digest": {"sha256": picture["sha256"]}}],
            "predicateType": ATTRIBUTION,
            "predicate": {
                "scope": v.independent.attribution_scope(candidates),
                "picture": picture,
                "candidates": candidates,
                "createdAt": "2026-11-02T00:00:00Z",
            },
        }
    )


def mended(statement: dict[str, Any], *, finding: bool = True) -> dict[str, Any]:
    """Make order and finding follow from the candidates, as a dishonest signer would."""
    predicate = statement["predicate"]
    predicate["candidates"].sort(key=lambda c: c["model"]["digest"])
    if finding:
        predicate["finding"] = v.independent.attribute(predicate["candidates"])
    return statement


def mend_one(candidate: Predicate, *, keep: tuple[str, ...] = ()) -> None:
    """Make all in a candidate follow again."""
    v.mend({"predicate": candidate}, keep=keep)


def holds(name: str, about: str, verdict: str, *verdicts: str, **options: Any) -> None:
    change, keys = options.pop("change", None), options.pop("keys", (v.KEY,))

    def build() -> bytes:
        statement = attribution(*verdicts, **options)
        if change is not None:
            change(statement["predicate"])
            mended(statement)
        assert statement["predicate"]["finding"]["verdict"] == verdict, name
        return v.sign(statement)

    add("passing", name, about, build, keys=keys)


def refused(
    stage: str,
    name: str,
    about: str,
    change: Callable[[Predicate], Any],
    *,
    says: str,
    verdicts: tuple[str, ...] = ("reached", "excluded", "excluded"),
) -> None:
    def build() -> bytes:
        statement = attribution(*verdicts)
        before = v.canonical(statement)
        change(statement["predicate"])
        assert v.canonical(statement) != before
        return v.sign(statement)

    add(stage, f"attribution-{name}", about, build, says=says)


def again(p: Predicate) -> None:
    """Mend order and finding of a predicate that was changed."""
    mended({"predicate": p})


def of(p: Predicate, verdict: str) -> Predicate:
    """Return the first candidate with this verdict."""
    return next(c for c in p["candidates"] if c["finding"]["verdict"] == verdict)


# --- hold


def chains(p: Predicate) -> None:
    """Give the first candidate the chain as it was before the second was registered."""
    first, second = p["candidates"][:2]
    links = [own_link(first), own_link(second)]
    for candidate, length in ((first, 1), (second, 2)):
        candidate["registration"]["chain"] = chain(links[:length])
        mend_one(candidate)


def cite(candidate: Predicate, model: str, key: Any, **options: Any) -> None:
    """Put a binding of a model into a candidate, which is of it unless the test is about that."""
    candidate["binding"] = v.b64(v.sign(binding(model=model, **options), key))
    mend_one(candidate)


def name_of(candidate: Predicate) -> str:
    """Return the word by which `v.make` made a candidate's model."""
    return str(candidate["model"]["files"][0]["name"]).removesuffix("-1.pt")


def bindings(p: Predicate) -> None:
    """Have the model that reaches it bound by a third party, another by a key nobody knows."""
    for verdict, key in (("reached", v.SECOND), ("excluded", v.ATTACKER)):
        candidate = of(p, verdict)
        cite(candidate, name_of(candidate), key, listed=key is v.SECOND)


def decoder(p: Predicate) -> None:
    """Have the model that was excluded be the decoder of a latent diffusion model."""
    candidate = of(p, "excluded")
    candidate["generator"]["format"] = "diffusers"
    mend_one(candidate)


def by_handling(
    *presets: str, change: Callable[[Predicate], Any] | None = None, finding: bool = True
) -> bytes:
    """Sign an attribution of models that were searched through families of handling."""
    made = [
        searched(model=f"m{i}", preset=preset)["predicate"]
        if preset.startswith("handled")
        else v.make(model=f"m{i}", preset=preset)["predicate"]
        for i, preset in enumerate(presets)
    ]
    statement = attribution("excluded", "excluded")
    predicate = statement["predicate"]
    predicate |= {"candidates": made, "scope": v.independent.attribution_scope(made)}
    mended(statement)
    if change is not None:
        change(predicate)
    return v.sign(mended(statement, finding=finding))


def through_an_edit(p: Predicate) -> None:
    """Have the first model's mirrored outputs reach the picture."""
    candidate = p["candidates"][0]
    mirrored = next(
        one for one in candidate["handled"] if one["controls"]["kind"]["edit"] == "mirrored"
    )
    first, *others = mirrored["restarts"]
    first |= {"residual": "0", "stop": "reached"}
    for record in others:
        for name in ("residual", "distance", "latent"):
            record.pop(name, None)
        record |= {"stop": "notRun", "iterations": 0}
    candidate["finding"] = {"reached": {"pixelForPixel": False}}
    mend_one(candidate)


def narrow(p: Predicate, which: Sequence[int] = (0,)) -> None:
    """Narrow the search in these of the models."""
    for index in which:
        candidate = p["candidates"][index]
        candidate["narrowed"] = ["unedited", "mirrored"]
        candidate["handled"] = [
            one for one in candidate["handled"] if one["controls"]["kind"]["edit"] == "mirrored"
        ]
        mend_one(candidate)


def both(p: Predicate) -> None:
    """Narrow the search alike in both models."""
    narrow(p, (0, 1))


def hide_narrowing(p: Predicate) -> None:
    """Narrow the search in both models, and leave out that it was."""
    narrow(p, (0, 1))
    for candidate in p["candidates"]:
        del candidate["narrowed"]
        mend_one(candidate)


def narrow_otherwise(p: Predicate) -> None:
    """Narrow the search in both models, and name the families in another order in one."""
    narrow(p, (0, 1))
    candidate = p["candidates"][1]
    candidate["narrowed"] = candidate["narrowed"][::-1]
    mend_one(candidate)


HANDLED = "handled-quick-v1"
for stage, name, about, build, says in (
    (
        "passing",
        "attributed-through-an-edit",
        "Reached as a mirrored output of one model, excluded for the other in every family.",
        functools.partial(by_handling, HANDLED, HANDLED, change=through_an_edit),
        "",
    ),
    (
        "commitment",
        "attribution-other-families",
        "Families of handling were searched for in one model only.",
        functools.partial(by_handling, HANDLED, "pristine-quick-v1"),
        "protocol.edits",
    ),
    (
        "passing",
        "none-of-these-narrowed",
        "The search was narrowed alike in both models, and the sentence says so.",
        functools.partial(by_handling, HANDLED, HANDLED, change=both),
        "",
    ),
    (
        "commitment",
        "attribution-narrowed-otherwise",
        "The search was narrowed in both models; one names the families in another order.",
        functools.partial(by_handling, HANDLED, HANDLED, change=narrow_otherwise),
        "narrowed",
    ),
    (
        "commitment",
        "attribution-narrowed-in-secret",
        "Families are missing in both models, and no candidate says that it was narrowed.",
        functools.partial(by_handling, HANDLED, HANDLED, change=hide_narrowing),
        "",
    ),
    (
        "statistics",
        "attribution-narrowed-sentence",
        "The search was narrowed alike in both models; the sentence is that of a whole search.",
        functools.partial(by_handling, HANDLED, HANDLED, change=both, finding=False),
        "finding.sentence",
    ),
    (
        "commitment",
        "attribution-narrowed",
        "The search was narrowed in one model.",
        functools.partial(by_handling, HANDLED, HANDLED, change=narrow),
        "narrowed",
    ),
):
    add(stage, name, about, build, says=says, stored=False)  # a megabyte each
holds("attributed", "One of two reaches it.", "attributed", "excluded", "reached")
holds("attributed-none-of-these", "Excluded for both.", "none-of-these", "excluded", "excluded")
holds("attributed-several", "Two of three reach it.", "several", "reached", "reached", "excluded")
holds(
    "attributed-inconclusive",
    "One reaches it, and another was not decided: no attribution.",
    "inconclusive",
    "reached",
    "inconclusive",
)
holds(
    "attributed-jpeg-chains",
    "A JPEG; the chain grew between the two registrations.",
    "attributed",
    "reached",
    "excluded",
    family="jpeg",
    change=chains,
)
holds(
    "attributed-with-bindings",
    "Two models have bindings: one by a third party whom the verifier trusts, one by a key that he "
    "does not.",
    "attributed",
    "reached",
    "excluded",
    "excluded",
    change=bindings,
    keys=(v.KEY, v.SECOND),
)
holds(
    "attributed-decoder-undecided",
    "The model that is not reached is the decoder of a latent diffusion model, which is never "
    "excluded.",
    "inconclusive",
    "reached",
    "excluded",
    change=decoder,
)

# --- form and candidates


def only_one(p: Predicate) -> None:
    p["candidates"] = [of(p, "reached")]
    again(p)


def repeated(p: Predicate) -> None:
    p["candidates"].append(copy.deepcopy(p["candidates"][0]))
    again(p)


def renamed_copy(p: Predicate) -> None:
    """The model once more, under other file names: another digest, the same weights."""
    second = copy.deepcopy(of(p, "reached"))
    for file in second["model"]["files"]:
        file["name"] = f"copy/{file['name']}"
    second["registration"]["payload"] = v.sha("another registration")
    mend_one(second)
    p["candidates"].append(second)
    again(p)


def one_registration(p: Predicate) -> None:
    first, second = p["candidates"][:2]
    second["registration"]["payload"] = first["registration"]["payload"]
    again(p)


refused("statement", "of-one", "One candidate.", only_one, says="candidates")
refused(
    "statement",
    "of-65",
    "More candidates than are read.",
    lambda p: p.update(candidates=p["candidates"][:1] * 65),
    says="candidates",
)
refused(
    "statement",
    "verdict-unknown",
    "A verdict that there is not.",
    lambda p: p["finding"].update(verdict="innocent"),
    says="verdict",
)
refused(
    "commitment",
    "reordered",
    "The candidates in another order.",
    lambda p: p["candidates"].reverse(),
    says="order",
)
refused("commitment", "repeated", "A candidate twice.", repeated, says="order")
refused(
    "commitment", "weights-twice", "A model under two names.", renamed_copy, says="model.weights"
)
refused(
    "commitment",
    "registration-of-another",
    "The registration of another candidate.",
    one_registration,
    says="registration.payload",
)

# --- picture


def another_picture(p: Predicate) -> None:
    made = v.make(model="m1", picture="other.png")["predicate"]
    place = p["candidates"].index(
        next(c for c in p["candidates"] if c["model"]["digest"] == made["model"]["digest"])
    )
    p["candidates"][place] = made
    again(p)


refused(
    "commitment",
    "picture-of-another",
    "One candidate is about another picture.",
    another_picture,
    says="candidates",
)
refused(
    "commitment",
    "pixels-differ",
    "One candidate decoded the file otherwise.",
    lambda p: p["candidates"][1]["accused"].update(pixels=v.sha("others")),
    says="pixels",
)
refused(
    "commitment",
    "picture-renamed",
    "The picture of the attribution is another file.",
    lambda p: p["picture"].update(sha256=v.sha("other")),
    says="picture",
)

# --- inside a candidate


def finding_edited(p: Predicate) -> None:
    """An undecided model called excluded, and the verdict made of it."""
    of(p, "inconclusive")["finding"]["verdict"] = "excluded"
    again(p)


def seeds_of_another(p: Predicate) -> None:
    """The restarts of a model that excludes the picture, for the one that reaches it."""
    guilty, other = of(p, "reached"), of(p, "excluded")
    guilty["restarts"] = copy.deepcopy(other["restarts"])
    mend_one(guilty, keep=("seeds",))
    again(p)


def chain_of_another_key(p: Predicate) -> None:
    candidate = p["candidates"][1]
    candidate["registration"]["chain"] = chain([own_link(candidate)], key=v.ATTACKER)
    mend_one(candidate)
    again(p)


def split_chains(p: Predicate) -> None:
    """Each candidate has a chain of its own, and each is the only registration there."""
    first, second = p["candidates"][:2]
    for candidate, links in (
        (first, [own_link(first)]),
        (second, [OTHER, own_link(second)]),
    ):
        candidate["registration"]["chain"] = chain(links)
        mend_one(candidate)
    again(p)


refused(
    "statistics",
    "finding-inside-edited",
    "The finding about a model edited, and the verdict with it.",
    finding_edited,
    says="finding.verdict",
    verdicts=("excluded", "inconclusive"),
)
refused(
    "commitment",
    "control-dropped-inside",
    "A control of the last candidate left out.",
    lambda p: p["candidates"][2]["controls"]["controls"].pop(),
    says="candidates.2",
)
refused(
    "commitment",
    "restarts-of-another",
    "The trace of another candidate.",
    seeds_of_another,
    says="seed",
)
refused(
    "commitment",
    "chain-of-another-key",
    "The chain of a candidate is another key's.",
    chain_of_another_key,
    says="chain",
)
refused(
    "commitment",
    "chains-split",
    "Two candidates with two chains of one key.",
    split_chains,
    says="split view",
)


def binding_of_another(p: Predicate) -> None:
    """The binding of one candidate's model in another candidate."""
    cite(of(p, "excluded"), name_of(of(p, "reached")), v.KEY)
    again(p)


def binding_unannounced(p: Predicate) -> None:
    """A binding, and the scope of a candidate without one."""
    candidate = of(p, "reached")
    scope = candidate["scope"]
    cite(candidate, name_of(candidate), v.KEY)
    candidate["scope"] = scope
    again(p)


def decoder_excluded(p: Predicate) -> None:
    """A decoder, and the finding of another model."""
    finding = of(p, "excluded")["finding"]
    decoder(p)
    next(c for c in p["candidates"] if c["generator"]["format"] == "diffusers")["finding"] = finding
    again(p)


refused(
    "commitment",
    "binding-of-another",
    "A candidate cites the binding of another one's model.",
    binding_of_another,
    says="of another model",
)
refused(
    "commitment",
    "binding-scope-inside",
    "A candidate cites a binding, and its scope says that there is none.",
    binding_unannounced,
    says="scope",
)
refused(
    "statistics",
    "decoder-excluded",
    "A candidate that is the decoder of a latent diffusion model is called excluded.",
    decoder_excluded,
    says="candidates.",
)

# --- scope and finding


def dropped(p: Predicate) -> None:
    """A model that was not decided left out, the sentence kept."""
    p["candidates"].remove(of(p, "inconclusive"))


def dropped_with_lists(p: Predicate) -> None:
    """The same, all but the sentence made to follow."""
    kept = p["finding"]["sentence"]
    dropped(p)
    again(p)
    p["finding"]["sentence"] = kept


UNDECIDED = ("excluded", "excluded", "inconclusive")
refused(
    "commitment",
    "scope-dropped",
    "Without the line on models that are not listed.",
    lambda p: p["scope"].pop(0),
    says="scope",
)
refused(
    "statistics",
    "candidate-dropped",
    "A model left out, the finding kept.",
    dropped,
    says="finding.verdict",
    verdicts=UNDECIDED,
)
refused(
    "statistics",
    "candidate-dropped-sentence-kept",
    "A model left out, the sentence alone kept.",
    dropped_with_lists,
    says="finding.sentence",
    verdicts=UNDECIDED,
)
refused(
    "statistics",
    "several-called-attributed",
    "Two reach it, and it is attributed to one.",
    lambda p: p["finding"].update(verdict="attributed"),
    says="finding.verdict",
    verdicts=("reached", "reached"),
)
refused(
    "statistics",
    "inconclusive-called-none-of-these",
    "One was not decided.",
    lambda p: p["finding"].update(verdict="none-of-these"),
    says="finding.verdict",
    verdicts=UNDECIDED,
)
refused(
    "statistics",
    "other-model-reached",
    "Attributed to the other model.",
    lambda p: p["finding"].update(
        reached=p["finding"]["excluded"], excluded=p["finding"]["reached"]
    ),
    says="finding.reached",
    verdicts=("reached", "excluded"),
)
refused(
    "statistics",
    "sentence-edited",
    "The words on models that are not listed left out.",
    lambda p: p["finding"].update(
        sentence=p["finding"]["sentence"].replace(
            "models that are not listed were not examined; ", ""
        )
    ),
    says="finding.sentence",
)
