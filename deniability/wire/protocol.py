"""Protocols: named, frozen presets of everything that decides a finding (DESIGN section 1).

A preset's digest is in every registration and bundle, and a verifier accepts only presets that it
knows by name and digest. So no threshold can be chosen afterwards.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from deniability.crypto.canonical import canonical_json
from deniability.crypto.digest import sha256_hex
from deniability.errors import InputError
from deniability.wire.base import DecimalString, PlainDecimal, Text, WireModel
from deniability.wire.edits import EDITS, EDITS_V1, EDITS_V2, EditName

#: Version of the search procedure. Controls made by another one are not comparable.
ENGINE_VERSION = "1"

Family = Literal["lossless", "jpeg"]
#: Solvers by the name that control sets state (SPEC.md, section 7).
SolverName = Literal["levenberg-marquardt", "gauss-newton-cg", "adam"]
#: What a generator consists of that is searched stage by stage (SPEC.md, section 7).
Stages = Literal["mapping-synthesis"]
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
        dense_limit: largest latent for Levenberg-Marquardt; beyond it `large_solver`.
        large_solver: the solver beyond it; Adam where absent.
        cg_iterations: products with JᵀJ per linearisation of Gauss-Newton-CG, at most.
        iterations: linearisations per restart of the second-order solvers.
        adam_iterations: gradient steps per restart of Adam.
        encoder_outputs: own outputs that the encoder is trained on.
        mismatch_outputs: own outputs per way of being produced differently.
        resolution: squared residuals below it are stored as 0.
        edits: families of handling that are searched for beside unedited outputs, in order.
        accused_restarts: restarts on the accused, where it gets more than a control.
        stages: generators of a mapping and a synthesis network are searched style first, then
            latent, and no encoder is trained; absent: as all others.

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
    large_solver: Literal["gauss-newton-cg"] | None = None
    cg_iterations: Annotated[int, Field(ge=1, le=4096)] | None = None
    iterations: Annotated[int, Field(ge=0)]
    adam_iterations: Annotated[int, Field(ge=0)]
    encoder_outputs: Annotated[int, Field(ge=0)]
    mismatch_outputs: Annotated[int, Field(ge=1)]
    resolution: DecimalString
    edits: Annotated[tuple[EditName, ...], Field(min_length=1)] | None = None
    accused_restarts: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    stages: Stages | None = None

    @model_validator(mode="after")
    def _accused_gets_no_less(self) -> Self:
        # A search that is weaker on the accused than on controls would exclude what it missed.
        if self.accused_restarts is not None and self.accused_restarts < self.restarts:
            raise ValueError("accusedRestarts must not be fewer than restarts")
        if self.edits is not None and len(set(self.edits)) != len(self.edits):
            raise ValueError("edits must be different")
        return self

    @property
    def digest(self) -> str:
        """Sha256 (hex) of the canonical JSON."""
        return sha256_hex(canonical_json(self.to_wire()))

    @property
    def searches(self) -> int:
        """How many restarts the accused picture gets for each family."""
        return self.accused_restarts or self.restarts

    def solver(self, dimension: int) -> SolverName:
        """Return the solver prescribed for latents of `dimension` numbers."""
        if dimension <= self.dense_limit:
            return "levenberg-marquardt"
        return self.large_solver or "adam"


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


def _matrix_free(first: Protocol) -> Protocol:
    """Return version 2 of a preset: the same but for latents above the dense limit."""
    return first.model_copy(
        update={
            "name": first.name.removesuffix("v1") + "v2",
            "large_solver": "gauss-newton-cg",
            "cg_iterations": 64,
        }
    )


def _two_stages(second: Protocol) -> Protocol:
    """Return version 3 of a preset: the same but for generators in two stages."""
    return second.model_copy(
        update={"name": second.name.removesuffix("v2") + "v3", "stages": "mapping-synthesis"}
    )


def _handled(pristine: Protocol, version: str, edits: tuple[EditName, ...]) -> Protocol:
    """Return the preset of the same size that searches families of handling as well.

    The accused gets twice the restarts of a control: that can only make `excluded` harder.
    """
    return pristine.model_copy(
        update={
            "name": pristine.name.replace("pristine", "handled")[: -len("v1")] + version,
            "edits": edits,
            "accused_restarts": 2 * pristine.restarts,
        }
    )


_FIRST = (
    _pristine(
        "quick", controls=99, alpha="0.05", restarts=12, encoder_outputs=20_000, mismatches=4
    ),
    _pristine(
        "standard", controls=999, alpha="0.01", restarts=24, encoder_outputs=50_000, mismatches=8
    ),
    _pristine(
        "strict", controls=2999, alpha="0.001", restarts=48, encoder_outputs=100_000, mismatches=16
    ),
)
DEFAULT_PRESET = "handled-standard-v3"
#: The default for several models in one file, which has room for no more than one under the other.
SEVERAL_PRESET = "handled-quick-v3"
#: Quicker, for pictures that are as the service gave them: unedited, or once saved as JPEG.
UNEDITED_PRESET = "pristine-standard-v3"
PRESETS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        *_FIRST,
        *map(_matrix_free, _FIRST),
        *(_two_stages(_matrix_free(first)) for first in _FIRST),
        # A bundle of 2,999 controls in each of so many families would be larger than can be read.
        *(_handled(_matrix_free(first), "v1", EDITS_V1) for first in _FIRST[:2]),
        *(_handled(_two_stages(_matrix_free(first)), "v2", EDITS_V2) for first in _FIRST[:2]),
        *(_handled(_two_stages(_matrix_free(first)), "v3", EDITS) for first in _FIRST[:2]),
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
