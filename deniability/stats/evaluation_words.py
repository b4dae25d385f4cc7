"""What the groups and families of an evaluation are, in words that follow from their names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deniability.wire.edits import OF_JPEG, WORDS, EditName, applies, changes_size, last_edit
from deniability.wire.evaluation import Closeness, EvaluatedFamily, EvaluatedGroup
from deniability.wire.generator import GeneratorSpec
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import Protocol

#: Copies of the model and own outputs, from near to far.
MODEL_GROUPS: dict[str, tuple[Closeness, str]] = {
    "own": (
        "own",
        "outputs of the model at fresh latents, from seeds that no control and no training has",
    ),
    "noise-0.001": (
        "near",
        "a copy of the model with Gaussian noise on every weight, of 0.1 % of the deviation "
        "within its tensor",
    ),
    "noise-0.01": (
        "near",
        "a copy of the model with Gaussian noise on every weight, of 1 % of the deviation "
        "within its tensor",
    ),
    "int8": (
        "near",
        "a copy of the model with weights rounded to 8 bits: 255 even steps from minus to plus "
        "the largest, of each row along a tensor's first axis (of vectors as a whole)",
    ),
    "pruned-0.1": (
        "near",
        "a copy of the model with the smallest tenth of the weights of each tensor set to 0",
    ),
    "fine-tuned": (
        "near",
        "a copy of the model after 40 steps of Adam (batches of 32, each tensor at a rate of "
        "0.001 of the deviation of its weights) towards its own outputs made brighter by 5 %",
    ),
    "noise-0.1": (
        "far",
        "a copy of the model with Gaussian noise on every weight, of 10 % of the deviation "
        "within its tensor",
    ),
    "pruned-0.5": (
        "far",
        "a copy of the model with the smaller half of the weights of each tensor set to 0",
    ),
}
#: Names of those that are copies.
COPIES = tuple(name for name in MODEL_GROUPS if name != "own")
_BROUGHT = (
    "brought to the model's size: the middle cut out in its proportions, scaled by Lanczos's "
    "filter, of colour only the luma where the model is gray"
)
_OTHERS: tuple[tuple[str, str], ...] = (
    ("builtin", "outputs of the generator that ships with this program"),
    ("builtin-twin", "outputs of its twin, trained on the same pictures from another seed"),
    (r"other-[1-9][0-9]*", "outputs of another generator that the signer chose"),
    ("photos", f"real photos that ship with this program, {_BROUGHT}"),
    (r"nonmembers-[1-9][0-9]*", f"pictures that the signer chose, {_BROUGHT}"),
)


#: IJG qualities at which outputs are saved where a preset has no edits.
JPEG_QUALITIES = (50, 75, 90)
NO_SUCH_OUTPUT = "outputs of this model cannot be handled so: of its size, or its channels"
NO_SUCH_FILE = "only JPEG files are handled so, and outputs are evaluated as files without loss"


def about_group(name: str) -> tuple[Closeness, str] | None:
    """Return how near a group is and what it is; None if there is no such group."""
    if name in MODEL_GROUPS:
        return MODEL_GROUPS[name]
    for pattern, how in _OTHERS:
        if re.fullmatch(pattern, name):
            return "far", how
    return None


def order_of_group(name: str) -> tuple[int, int]:
    """Return the place of a group among all."""
    if name in MODEL_GROUPS:
        return 0, list(MODEL_GROUPS).index(name)
    which = next(i for i, (pattern, _) in enumerate(_OTHERS, 1) if re.fullmatch(pattern, name))
    number = name.rpartition("-")[2]
    return which, int(number) if number.isdigit() else 0


def edited_size(name: EditName, height: int, width: int) -> tuple[int, int]:
    """Return the size of the file for which a family that changes it is examined."""
    if not changes_size(name):
        return height, width
    if last_edit(name) == "cut-out":
        return height - max(1, height // 9), width - max(1, width // 7)
    if last_edit(name) == "framed":
        return height + max(1, height // 7), width + max(1, width // 5)
    return height * 3 // 2, width * 3 // 2


def families_of(protocol: Protocol, spec: GeneratorSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of a preset's families for a model, and of those that do not fit it.

    Unedited outputs are stored without loss, and under a preset without edits saved as JPEG too.
    """
    names = ["lossless"] if "lossless" in protocol.families else []
    if protocol.edits is None:
        samplings = ("444", "420") if spec.channels == 3 else ("gray",)
        if "jpeg" in protocol.families:
            names += [f"saved-jpeg-{q}-{s}" for q in JPEG_QUALITIES for s in samplings]
        return tuple(names), ()
    own, colour = (spec.height, spec.width), spec.channels == 3
    fits = {
        name: applies(name, model=own, file=edited_size(name, *own), colour=colour)
        for name in protocol.edits
    }
    return (
        (*names, *(name for name in protocol.edits if fits[name])),
        tuple(name for name in protocol.edits if not fits[name]),
    )


def why_unfit(name: str) -> str:
    """Return why a family of a preset is not evaluated."""
    return NO_SUCH_FILE if name in OF_JPEG else NO_SUCH_OUTPUT


def family_words(kind: ObservationKind) -> str:
    """Return what a family's outputs have been through."""
    if kind.edit is not None:
        return f"{WORDS[kind.edit]}, then stored without loss"
    if kind.family == "lossless":
        return "stored without loss"
    sampling = (kind.components or "").removeprefix("ycc")
    shown = sampling if sampling == "gray" else ":".join(sampling)
    return f"saved once as JPEG (quality {kind.quality}, {shown}) by libjpeg with default settings"


def evaluation_scope(
    groups: Sequence[EvaluatedGroup],
    families: Sequence[EvaluatedFamily],
    narrowed: Sequence[str] | None,
) -> tuple[str, ...]:
    """Return what an evaluation does not show."""
    near = ", ".join(group.name for group in groups if group.closeness == "near")
    chosen = any(group.name.startswith(("other-", "nonmembers-")) for group in groups)
    lines = (
        "The residuals of own outputs and of strangers are the signer's word: recomputed from them "
        "are all rates, bounds, p-values and tests, but no search was run again.",
        "The rate of false denials is over this model's randomly drawn outputs, handled as each "
        "family says; it says nothing about an output that someone chose for being hard to find.",
        "Each family is judged on its own: a finding of a preset that searches several is excluded "
        "only if all of them deny, so its rates are no larger.",
        f"Copies of the model near it ({near}) are reported and nothing is promised of them: what "
        "is not denied of theirs is as good as an output of the model."
        if near
        else "No copy of the model near it was examined.",
        "How often strangers are denied is of these strangers; of others it may differ.",
        "The signer chose the other generators and pictures, and nothing shows that others were "
        "not tried."
        if chosen
        else "All strangers are those that this program brings or derives.",
        f"Examined were {len(families)} families, by name; nothing is said about other handling.",
    )
    if narrowed is None:
        return lines
    return (*lines, "The families were narrowed by the signer to: " + ", ".join(narrowed) + ".")
