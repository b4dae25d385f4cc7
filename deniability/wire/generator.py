"""What a registration says of a generator: its latent, its output, its source of entropy.

It describes; it never causes anything to be loaded. In particular `factory` is recorded as text
and is imported only when the local user names it again (DESIGN section 5).
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from deniability.wire.base import PlainDecimal, Text, WireModel

#: How the pixels of a file came from the model's floats.
Rounding = Literal["round", "truncate"]
#: Distribution of each number of a latent.
Prior = Literal["normal", "uniform"]
#: How a service turns a seed into a latent (SPEC.md, "Entropy sources").
EntropyName = Literal["torch-cpu", "numpy-randomstate", "shake256"]
#: What kind of file the weights were read from.
ModelFormat = Literal[
    "torchscript", "torch-export", "state-dict", "safetensors", "builtin", "onnx", "diffusers"
]
#: Largest number of seed bits that a source takes.
MAX_SEED_BITS: dict[str, int] = {"torch-cpu": 64, "numpy-randomstate": 32, "shake256": 256}
#: Seed bits where none are stated. torch uses only the lower 32 bits of a seed on the CPU.
DEFAULT_SEED_BITS: dict[str, int] = {"torch-cpu": 32, "numpy-randomstate": 32, "shake256": 64}


def _part_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", value):
        raise ValueError("a name has letters, digits and underscores, 64 at most")
    return value


#: Name of a latent part: an identifier.
PartName = Annotated[str, AfterValidator(_part_name)]
#: One axis of a latent part or of a picture.
Axis = Annotated[int, Field(ge=1, le=1 << 20)]


class LatentPart(WireModel):
    """One input of the generator, without its batch axis."""

    name: PartName
    shape: Annotated[tuple[Axis, ...], Field(strict=False, min_length=1, max_length=8)]
    prior: Prior
    low: PlainDecimal | None = None
    high: PlainDecimal | None = None

    @property
    def size(self) -> int:
        """How many numbers the part has."""
        return math.prod(self.shape)

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.prior == "normal":
            if self.low is not None or self.high is not None:
                raise ValueError("low and high belong to a uniform prior")
        elif self.low is None or self.high is None:
            raise ValueError("a uniform prior needs low and high")
        elif Decimal(self.low) >= Decimal(self.high):
            raise ValueError("low must be below high")
        return self


class EntropySpec(WireModel):
    """Where the service's latents come from, and how many seeds there are."""

    source: EntropyName
    seed_bits: Annotated[int, Field(ge=1, le=256)]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.seed_bits > MAX_SEED_BITS[self.source]:
            raise ValueError(f"{self.source} takes at most {MAX_SEED_BITS[self.source]} seed bits")
        return self


class GeneratorSpec(WireModel):
    """All that inversion, replay and enumeration need to know beside the weights."""

    latent: Annotated[tuple[LatentPart, ...], Field(strict=False, min_length=1, max_length=16)]
    channels: Literal[1, 3]
    height: Annotated[int, Field(ge=1, le=16384)]
    width: Annotated[int, Field(ge=1, le=16384)]
    output_range: Annotated[tuple[PlainDecimal, PlainDecimal], Field(strict=False)]
    rounding: Rounding
    entropy: EntropySpec
    format: ModelFormat
    factory: Text | None = None
    state_dict_key: Text | None = None
    prefix: Text | None = None

    @property
    def dimension(self) -> int:
        """Total number of latent numbers d, all parts flattened in order."""
        return sum(part.size for part in self.latent)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if Decimal(self.output_range[0]) >= Decimal(self.output_range[1]):
            raise ValueError("the output range must rise")
        if len({part.name for part in self.latent}) != len(self.latent):
            raise ValueError("two latent parts have the same name")
        if self.dimension > 1 << 22:
            raise ValueError("the latent has more than 4194304 numbers")
        return self
