"""Protocols: named, frozen presets of everything that decides a finding (DESIGN section 1).

A preset's digest is in every registration and bundle, and a verifier accepts only presets that it
knows by name and digest. So no threshold can be chosen afterwards.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from deniability.crypto.canonical import canonical_json
from deniability.crypto.digest import sha256_hex
from deniability.errors import InputError
from deniability.wire.base import DecimalString, PlainDecimal, Text, WireModel

#: Version of the search procedure. Controls made by another one are not comparable.
ENGINE_VERSION = "1"

Family = Literal["lossless", "jpeg"]
#: Ways in which a service may differ from the registration (SPEC.md, "Mismatch allowance").
MismatchWay = Literal[
    "other-rounding",
    "plus-minus-one-step",
    "bfloat16",
    "float16",
    "tf32",
    "other-threads",
    "other-encoder",
]


def mismatch_ways(family: Family) -> tuple[MismatchWay, ...]:
    """Return the ways measured for a family, in the order in which they are stored.

    Only a JPEG can come from an encoder that its bytes do not betray.
    """
    ways: tuple[MismatchWay, ...] = (
        "other-rounding",
        "plus-minus-one-step",
        "bfloat16",
        "float16",
        "tf32",
        "other-threads",
    )
    return (*ways, "other-encoder") if family == "jpeg" else ways


class Protocol(WireModel):
    """Parameters of calibration, search and decision.

    Attributes:
        name: of the preset.
        families: kinds of handling searched for.
        controls: n.
        alpha: share of own outputs that may be `excluded`.
        confidence: of the Clopper-Pearson bound over the controls.
        kappa: effect margin on squared residuals.
        recall: least share of controls that must be recovered.
        restarts: per target, accused and control alike.
        dense_limit: largest latent for Levenberg-Marquardt; beyond it, Adam.
        iterations: Jacobians per restart of Levenberg-Marquardt.
        adam_iterations: gradient steps per restart of Adam.
        encoder_outputs: own outputs that the encoder is trained on.
        mismatch_outputs: own outputs per way of being produced differently.
        resolution: squared residuals below it are stored as 0.

    """

    name: Text
    families: Annotated[tuple[Family, ...], Field(min_length=1)]
    controls: Annotated[int, Field(ge=1, le=100_000)]
    alpha: PlainDecimal
    confidence: PlainDecimal
    kappa: PlainDecimal
    recall: PlainDecimal
    restarts: Annotated[int, Field(ge=1, le=1_000_000)]
    dense_limit: Annotated[int, Field(ge=0)]
    iterations: Annotated[int, Field(ge=0)]
    adam_iterations: Annotated[int, Field(ge=0)]
    encoder_outputs: Annotated[int, Field(ge=0)]
    mismatch_outputs: Annotated[int, Field(ge=1)]
    resolution: DecimalString

    @property
    def digest(self) -> str:
        """Sha256 (hex) of the canonical JSON."""
        return sha256_hex(canonical_json(self.to_wire()))


def _pristine(
    size: str, *, controls: int, alpha: str, restarts: int, encoder_outputs: int, mismatches: int
) -> Protocol:
    return Protocol(
        name=f"pristine-{size}-v1",
        families=("lossless", "jpeg"),
        controls=controls,
        alpha=alpha,
        confidence="0.95",
        kappa="10",
        recall="0.9",
        restarts=restarts,
        dense_limit=512,
        iterations=50,
        adam_iterations=1500,
        encoder_outputs=encoder_outputs,
        mismatch_outputs=mismatches,
        resolution="1.00000e-09",
    )


DEFAULT_PRESET = "pristine-standard-v1"
PRESETS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        _pristine(
            "quick", controls=99, alpha="0.05", restarts=12, encoder_outputs=20_000, mismatches=4
        ),
        _pristine(
            "standard",
            controls=999,
            alpha="0.01",
            restarts=24,
            encoder_outputs=50_000,
            mismatches=8,
        ),
        _pristine(
            "strict",
            controls=2999,
            alpha="0.001",
            restarts=48,
            encoder_outputs=100_000,
            mismatches=16,
        ),
    )
}


def preset(name: str) -> Protocol:
    """Return the preset called `name`.

    Raises:
        InputError: there is none.

    """
    try:
        return PRESETS[name]
    except KeyError:
        raise InputError(
            "no such preset", where="--preset", expected=" or ".join(PRESETS), found=name
        ) from None
