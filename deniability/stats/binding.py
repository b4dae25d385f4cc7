"""The rule of a binding: whether a service's outputs are a model's, and how much that shows.

Writers and the verifier both call `decide_binding` and `counted_for`. A weak search reaches less,
and what is not reached can only make a binding fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from deniability.stats.binomial import decimal_up, upper_bound
from deniability.stats.verdict import reached_threshold
from deniability.wire.binding import (
    CONFIDENCE,
    LEAST_OUTPUTS,
    BindingKind,
    BindingResult,
    BindingVerdict,
    BoundPicture,
    Obtained,
)
from deniability.wire.numbers import decimal_string_up
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import Protocol


def kind_threshold(kind: ObservationKind, truths: Sequence[str], protocol: Protocol) -> str:
    """Return the threshold of a kind as an accused picture of it would have it."""
    read = [None if text == "notFinite" else text for text in truths]
    return decimal_string_up(reached_threshold(read, protocol, family=kind.family))


def decide_binding(
    pictures: Sequence[BoundPicture], kinds: Sequence[BindingKind], *, model_digest: str
) -> BindingResult:
    """Apply the rule: every picture reached, and at least `LEAST_OUTPUTS` different ones.

    The share is the one-sided Clopper-Pearson bound for the different outputs that were not
    reached; for m of m reached it is 1 - 0.05^(1/m), rounded up.

    Args:
        pictures: all of them; a repeated one counts once.
        kinds: of the pictures.
        model_digest: named in the sentence.

    """
    different = [picture for picture in pictures if picture.repeats is None]
    reached = [picture for picture in different if picture.stop == "reached"]
    every = all(picture.stop == "reached" for picture in pictures)
    count = len(different)
    bound = every and count >= LEAST_OUTPUTS
    share = decimal_up(upper_bound(count - len(reached), count, Fraction(CONFIDENCE)), 6)
    verdict: BindingVerdict = "bound" if bound else "not-bound"
    if bound:
        lossless = {k.kind.digest() for k in kinds if k.kind.family == "lossless"}
        plain = sum(picture.kind in lossless for picture in reached)
        sentence = (
            f"Bound: {count} different outputs, said to be obtained from the service, are outputs "
            f"of the model sha256:{model_digest}: a latent of each is shown ({plain} without loss, "
            f"{count - plain} as JPEG; {_exact(reached)} pixel for pixel). If they were drawn as "
            f"the users' outputs are, with {CONFIDENCE} confidence at most a share {share} of what "
            "the service gives comes from something else."
        )
    else:
        missed = sum(picture.stop != "reached" for picture in pictures)
        sentence = (
            f"Not bound: of {len(pictures)} pictures said to be obtained from the service {missed} "
            f"were not found in the model sha256:{model_digest}, and {len(reached)} different "
            f"outputs were; all have to be found, and {LEAST_OUTPUTS} different ones. A search "
            "that is too weak ends so as well."
        )
    return BindingResult(
        verdict=verdict, sentence=sentence, count=count, reached=len(reached), share=share
    )


def _exact(pictures: Sequence[BoundPicture]) -> int:
    return sum(picture.pixel_for_pixel is True for picture in pictures)


def counted_for(
    kind: ObservationKind, pictures: Sequence[BoundPicture], kinds: Sequence[BindingKind]
) -> int:
    """Return how many of a binding's different outputs count for an accused file of a kind.

    Those without loss, and those of its very kind. Another JPEG may be coarser than the accused
    file: a model that its pictures cannot tell from this one could still make the accused.
    """
    fine = {k.kind.digest() for k in kinds if k.kind.family == "lossless" or k.kind == kind}
    return sum(
        picture.repeats is None and picture.stop == "reached" and picture.kind in fine
        for picture in pictures
    )


def binding_scope(obtained: Obtained | None) -> tuple[str, ...]:
    """Return what a binding does not show."""
    chosen = (
        "The signer chose the pictures: nothing shows that none was left out, or that they came "
        "from the service."
        if obtained is None
        else f"The pictures are those of a list of {obtained.count} files with sha256 "
        f"{obtained.sha256}; whether somebody else than the signer wrote it down from the service "
        "is shown only by comparing it with theirs."
    )
    return (
        chosen,
        "Not shown: that everybody gets from the service what was obtained here, before and "
        "afterwards.",
        "Not shown: that the model was not made to contain these pictures; for that it has to be "
        "shown that it was registered before they were obtained.",
        "A JPEG tells models apart less finely than a file without loss: for an accused file count "
        "only the outputs without loss, and those of its own kind.",
    )
