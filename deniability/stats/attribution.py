"""The open-set rule: from the findings about several models to one verdict, and its words.

It adds nothing to what each finding shows. A model that was not decided forbids both definite
verdicts, so a weak search can neither attribute a picture nor deny it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from deniability.stats.sentence import NOT_EXAMINED, OTHER_HANDLING, OUTPUT, listed_ways
from deniability.wire.attribution import AttributionFinding, AttributionVerdict
from deniability.wire.edits import WORDS, EditName, HandlingName
from deniability.wire.exclusion import Exclusion, Verdict

_HEADS: dict[AttributionVerdict, str] = {
    "attributed": "Attributed",
    "none-of-these": "None of these",
    "several": "Several, which cannot be told apart",
    "inconclusive": "Inconclusive",
}
_HANDLED_OUTPUT = "an output, unmodified or handled in one of the ways examined,"
_NARROWED_OUTPUT = "an output in one of these ways ({ways}), to which the search was narrowed,"
_SCOPE = (
    "Examined were the models listed, by digest, and no others: whatever the verdict, the picture "
    "may be by a model that is not listed, and nothing shows which others the signer examined.",
    "A latent that is shown makes nobody the author: a model that is expressive enough reaches "
    "pictures that it never made, and a copy of a model reaches what the model does.",
    "The error rate is of each model by itself: whichever of them it is, at most that share of its "
    "own randomly drawn{outputs} would be excluded.",
    "What is and is not covered of each model is said in the scope of its own finding.",
)


def attribution_scope(candidates: Sequence[Exclusion]) -> tuple[str, ...]:
    """Return what an attribution covers and does not, beside the scope of each candidate."""
    outputs = " outputs, handled in any one of the ways examined,"
    if not _handled(candidates):
        outputs = ", unedited outputs"
    return tuple(line.replace("{outputs}", outputs) for line in _SCOPE)


def attribution_verdict(verdicts: Sequence[Verdict]) -> AttributionVerdict:
    """Apply the rule to the verdicts about each model; the order of the models does not matter."""
    reached, excluded = verdicts.count("reached"), verdicts.count("excluded")
    if reached > 1:
        return "several"
    if not verdicts or reached + excluded < len(verdicts):
        return "inconclusive"
    return "attributed" if reached else "none-of-these"


def decide_attribution(candidates: Sequence[Exclusion]) -> AttributionFinding:
    """Compute the finding of an attribution from its candidates, in their order."""
    verdict = attribution_verdict([c.finding.verdict for c in candidates])
    return AttributionFinding(
        verdict=verdict,
        sentence=attribution_sentence(verdict, candidates),
        reached=_digests(candidates, "reached"),
        excluded=_digests(candidates, "excluded"),
        inconclusive=_digests(candidates, "inconclusive"),
    )


def attribution_sentence(verdict: AttributionVerdict, candidates: Sequence[Exclusion]) -> str:
    """Return the verdict in one sentence, which names every candidate by digest."""
    families = {c.accused.kind.family for c in candidates}
    output = " or ".join(OUTPUT[name] for name in OUTPUT if name in families)
    missing = [NOT_EXAMINED[name] for name in NOT_EXAMINED if name in families]
    if _handled(candidates):
        output, missing = _handled_output(candidates[0].narrowed), [OTHER_HANDLING]
    clauses = [
        _reached([c for c in candidates if c.finding.verdict == "reached"]),
        _excluded([c for c in candidates if c.finding.verdict == "excluded"], output),
        _undecided(_digests(candidates, "inconclusive"), output),
        "models that are not listed were not examined",
        *missing,
    ]
    said = "; ".join(clause for clause in clauses if clause)
    return f"{_HEADS[verdict]} ({len(candidates)} models examined): {said}."


def _handled_output(narrowed: Sequence[HandlingName] | None) -> str:
    """Say of what outputs an attribution speaks; a search is narrowed alike for every model."""
    if narrowed is None:
        return _HANDLED_OUTPUT
    ways = listed_ways([None if name == "unedited" else name for name in narrowed])
    return _NARROWED_OUTPUT.format(ways=ways)


def _reached(candidates: Sequence[Exclusion]) -> str:
    if not candidates:
        return ""
    names = _names([c.model.digest for c in candidates])
    edits = [_edit_of(candidate) for candidate in candidates]
    if len(candidates) > 1:
        outputs = "outputs, as they are or handled," if any(edits) else "outputs"
        return f"latents of {names} are shown whose {outputs} are the accused picture"
    if edits[0] is not None:
        return (
            f"a latent of {names} is shown whose output, {WORDS[edits[0]]}, is the accused picture "
            "to within rounding"
        )
    shown = candidates[0].finding.reached
    exact = shown is not None and shown.pixel_for_pixel
    exactly = "pixel for pixel" if exact else "to within rounding"
    return f"a latent of {names} is shown whose output is the accused picture {exactly}"


def _handled(candidates: Sequence[Exclusion]) -> bool:
    """Tell whether families of handling were searched for; if so, then for every candidate."""
    return any(candidate.protocol.edits for candidate in candidates)


def _edit_of(candidate: Exclusion) -> EditName | None:
    """Return the edit through which a candidate was reached, if that was one."""
    shown = candidate.finding.reached
    return None if shown is None else candidate.finding.families[shown.family or 0].edit


def _excluded(candidates: Sequence[Exclusion], output: str) -> str:
    if not candidates:
        return ""
    names = _names([c.model.digest for c in candidates])
    # The worst of them: what is said of each holds for each.
    alpha = max((c.protocol.alpha for c in candidates), key=Fraction)
    confidence = min((c.protocol.confidence for c in candidates), key=Fraction)
    return (
        f"the accused picture is not {output} of {names}, at an error rate of at most {alpha} for "
        f"each (with {confidence} confidence over its controls)"
    )


def _undecided(digests: Sequence[str], output: str) -> str:
    if not digests:
        return ""
    return f"whether the accused picture is {output} of {_names(digests)} was not decided"


def _digests(candidates: Sequence[Exclusion], verdict: Verdict) -> tuple[str, ...]:
    return tuple(c.model.digest for c in candidates if c.finding.verdict == verdict)


def _names(digests: Sequence[str]) -> str:
    models = "the model" if len(digests) == 1 else "the models"
    return f"{models} " + ", ".join(f"sha256:{digest}" for digest in digests)
