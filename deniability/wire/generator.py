"""What a registration says of a generator: its latent, its output, its source of entropy.

It describes; it never causes anything to be loaded. In particular `factory` is recorded as text
and is imported only when the local user names it again (DESIGN section 5).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from deniability.wire.base import PlainDecimal, Text, WireModel

#: How the pixels of a file came from the model's floats.
Rounding = Literal["round", "truncate"]
#: Distribution of each number of a latent. A label is one whole number from 0 to classes - 1.
Prior = Literal["normal", "uniform", "label"]
#: How the model takes a label: as an integer for each sample, or as a row of zeros and a one.
LabelEncoding = Literal["index", "one-hot"]
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
    """One input of the generator, without its batch axis.

    A class label is one number of the latent whatever the model takes for it; its shape is (1,).
    """

    name: PartName
    shape: Annotated[tuple[Axis, ...], Field(strict=False, min_length=1, max_length=8)]
    prior: Prior
    low: PlainDecimal | None = None
    high: PlainDecimal | None = None
    classes: Annotated[int, Field(ge=2, le=1 << 20)] | None = None
    encoding: LabelEncoding | None = None

    @property
    def size(self) -> int:
        """How many numbers the part has."""
        return math.prod(self.shape)

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.prior == "label":
            if self.classes is None or self.encoding is None:
                raise ValueError("a label needs classes and encoding")
            if self.shape != (1,):
                raise ValueError("a label is one number: its shape is [1]")
        elif self.classes is not None or self.encoding is not None:
            raise ValueError("classes and encoding belong to a label")
        if self.prior != "uniform":
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

    @property
    def labels(self) -> tuple[tuple[int, int], ...]:
        """Column in the latent, and number of classes, of each label."""
        found: list[tuple[int, int]] = []
        column = 0
        for part in self.latent:
            if part.classes is not None:
                found.append((column, part.classes))
            column += part.size
        return tuple(found)

    @property
    def label_count(self) -> int:
        """How many combinations of labels there are: 1 without labels."""
        return math.prod(classes for _, classes in self.labels)

    def label_of(self, latent: Sequence[float]) -> int | None:
        """Return the combined label of a latent (d): the first label counts most.

        None without labels, or where one is not a whole number of its range.
        """
        combined = 0
        for column, classes in self.labels:
            value = float(latent[column])
            if not value.is_integer() or not 0 <= value < classes:
                return None
            combined = combined * classes + int(value)
        return combined if self.labels else None

    def label_values(self, combined: int) -> tuple[int, ...]:
        """Return the single labels of a combined one."""
        values: list[int] = []
        for _, classes in reversed(self.labels):
            combined, value = divmod(combined, classes)
            values.append(value)
        return tuple(reversed(values))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if Decimal(self.output_range[0]) >= Decimal(self.output_range[1]):
            raise ValueError("the output range must rise")
        if len({part.name for part in self.latent}) != len(self.latent):
            raise ValueError("two latent parts have the same name")
        if len(self.labels) == len(self.latent):
            raise ValueError("a generator needs a latent that is not a label")
        if self.dimension > 1 << 22:
            raise ValueError("the latent has more than 4194304 numbers")
        return self
