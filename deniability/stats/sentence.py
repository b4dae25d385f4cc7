"""The words of a finding and its scope, generated from what was tested and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from deniability.wire.edits import WORDS, EditName
from deniability.wire.exclusion import Verdict
from deniability.wire.generator import ModelFormat
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import Protocol

#: By family of handling: what a finding did not examine, and what it is about.
NOT_EXAMINED = {
    "lossless": "edited outputs, and outputs compressed with loss before this file was saved, "
    "were not examined",
    "jpeg": "edited outputs, outputs saved as JPEG more than once, and outputs saved by another "
    "encoder than libjpeg or libjpeg-turbo with default settings, were not examined",
}
OUTPUT = {
    "lossless": "an unmodified output",
    "jpeg": "an unmodified, once JPEG-saved, output",
}


_STORED = {
    "lossless": "stored without loss",
    "jpeg": "saved as a JPEG like this file (libjpeg or libjpeg-turbo with default settings)",
}
_EXCEPT = " other than one named above"
_REASONS, _REASONS_OF_HANDLED = 1200, 200  # characters
#: What no preset with families of handling examines.
OTHER_HANDLING = (
    "outputs handled more strongly, in several of these ways at once, or otherwise were not "
    "examined"
)


def finding_sentence(
    verdict: Verdict,
    *,
    kind: ObservationKind,
    model_digest: str,
    protocol: Protocol,
    pixel_for_pixel: bool,
    failed: Sequence[str],
    edits: Sequence[EditName] = (),
    reached: EditName | None = None,
) -> str:
    """Return the finding in one sentence; it names the model by digest, never by a name.

    Args:
        verdict: the finding.
        kind: of the accused file.
        model_digest: of the model.
        protocol: the preset.
        pixel_for_pixel: whether the picture was re-generated exactly.
        failed: reasons why it was not excluded.
        edits: further families of handling that were searched for.
        reached: the edit through which the picture was reached, if that was one.

    """
    model = f"the model sha256:{model_digest}"
    handled = bool(edits) or kind.edit is not None
    output = handled_output(kind, edits) if handled else OUTPUT[kind.family]
    missing = OTHER_HANDLING if handled else NOT_EXAMINED[kind.family]
    if verdict == "reached" and reached is not None:
        return (
            f"Reached: a latent of {model} is shown whose output, {WORDS[reached]}, is the "
            "accused picture to within rounding."
        )
    if verdict == "reached":
        exactly = "pixel for pixel" if pixel_for_pixel else "to within rounding"
        return (
            f"Reached: a latent of {model} is shown whose output is the accused picture {exactly}."
        )
    if verdict == "excluded":
        each = " for each of these ways" if handled else ""
        return (
            f"Excluded: the accused picture is not {output} of {model}, at an error rate of at "
            f"most {protocol.alpha} (with {protocol.confidence} confidence over "
            f"{protocol.controls} controls, protocol {protocol.name}){each}; {missing}."
        )
    # The ways are named in the same sentence, which has 2000 characters at most.
    reasons = "; ".join(failed)[: _REASONS_OF_HANDLED if handled else _REASONS]
    return (
        f"Inconclusive: whether the accused picture is {output} of {model} was not decided "
        f"({reasons}); {missing}."
    )


def handled_output(kind: ObservationKind, edits: Sequence[EditName]) -> str:
    """Say of what kinds of handled outputs a finding speaks."""
    return f"an output ({listed_ways([kind.edit, *edits])}, and then {_STORED[kind.family]})"


def listed_ways(edits: Sequence[EditName | None]) -> str:
    """List ways of handling in words; None is none."""
    ways = ["unmodified" if name is None else WORDS[name] for name in edits]
    return ways[0] if len(ways) == 1 else ", ".join(ways[:-1]) + " or " + ways[-1]


_DECODER_CAUTION = (
    "the model is the decoder of a latent diffusion model: its controls are drawn from the stated "
    "prior and not by the diffusion model, so no error rate over its pictures is known"
)
_DECODER_SCOPE = (
    "The model is the decoder of a latent diffusion model, searched over all its latents and not "
    "over those that the diffusion model samples. It comes near most pictures, whoever made them: "
    "that a picture is reached shows that the decoder can yield it, and not that it was generated."
)


def model_cautions(model: ModelFormat) -> tuple[str, ...]:
    """Return the facts about a format of models that forbid `excluded` (ADR 0017)."""
    return (_DECODER_CAUTION,) if model == "diffusers" else ()


def scope_lines(
    kind: ObservationKind,
    *,
    model: ModelFormat | None = None,
    chained: bool = False,
    beacon: bool = False,
    edits: Sequence[EditName] = (),
    bound: bool = False,
) -> tuple[str, ...]:
    """Return what a finding about this kind of file covers and what it does not.

    Args:
        kind: of the accused file.
        model: its format, as far as that matters.
        chained: whether the bundle has the chain of the key's registrations.
        beacon: whether a public beacon's value is in the seeds.
        edits: further families of handling that were searched for.
        bound: whether the bundle cites a binding.

    """
    handled = bool(edits) or kind.edit is not None
    handling = (
        f"Covered: {handled_output(kind, edits).removeprefix('an ')}, each way on its own, as "
        "the registered sampler gives them."
        if handled
        else "Covered: pictures stored without loss exactly as the registered sampler gives them."
        if kind.family == "lossless"
        else "Covered: pictures as the registered sampler gives them, saved once as JPEG by an "
        "encoder that rounds (libjpeg or libjpeg-turbo with default settings, without smoothing), "
        "with this file's tables and sampling."
    )
    return (
        handling,
        "The error rate is, for each of these ways by itself, over this model's randomly drawn "
        "outputs that went through it; it says nothing about an output that someone chose for "
        "being hard to find, or made to be."
        if handled
        else "The error rate is over this model's randomly drawn, unedited outputs; it says "
        "nothing about an output that someone chose for being hard to find, or made to be.",
        "Not covered: edits other than those named above, stronger ones, or several at once."
        if handled
        else "Not covered: edits of any kind (crop, scaling, shift, mirror, colour, blur, noise, "
        "overlays, screenshots), and compression other than that named above.",
        "Not covered: another checkpoint, fine-tuning or adapter of the model, image-to-image, "
        f"in-painting, guidance, another sampler or latent prior, a truncation{_EXCEPT * handled}, "
        "and any stage behind the model such as an upscaler.",
        "Not covered: outputs hidden in the model on purpose (a backdoor), which no random control "
        "shows.",
        "That the registered model is the one deployed is shown only by the binding in this "
        "bundle, as far as it goes, to those who trust its signer and where its pictures came from."
        if bound
        else "Not shown: that the registered model is the one deployed (deployment not verified).",
        *_origin_lines(chained=chained, beacon=beacon),
        *((_DECODER_SCOPE,) if model == "diffusers" else ()),
    )


def _origin_lines(*, chained: bool, beacon: bool) -> tuple[str, ...]:
    """Say what is and is not shown of the registration's time and of the seeds."""
    if not (chained or beacon):
        return (
            "Not shown: when the registration was made; it carries no trusted timestamp, and seeds "
            "could have been ground, since no public beacon entered them.",
        )
    return (
        "When the registration was made is shown only by trusted timestamps of the chain of "
        "registrations in this bundle, where there are any, to those who trust their makers."
        if chained
        else "Not shown: when the registration was made; it carries no trusted timestamp.",
        "The value of a public beacon entered the seeds of the controls; that its round was named "
        "beforehand is shown only by a trusted timestamp of the chain."
        if beacon
        else "Not shown: that seeds were not ground; no public beacon entered them.",
    )
