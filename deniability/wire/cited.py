"""What a bundle says of an evaluation of its model: the known error rate, by reference."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from deniability.wire.base import PlainDecimal, Sha256Hex, Timestamp, WireModel

#: Of every one-sided bound, and of the two tests over all families together.
CONFIDENCE = "0.95"
#: `own`, `noise-0.01`, `saved-jpeg-75-420`, ...: groups and families are told by such names.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")]
_Pictures = Annotated[int, Field(ge=0, le=4096)]


class CitedGroup(WireModel):
    """How many pictures of a group one family denies."""

    name: Name
    count: Annotated[int, Field(ge=1, le=4096)]
    denied: _Pictures


class CitedFamily(WireModel):
    """One of the bundle's families, as it was evaluated.

    Attributes:
        name: of the family.
        groups: own outputs first.
        at_most: one-sided bound on the share of own outputs denied, given the controls.

    """

    name: Name
    groups: Annotated[tuple[CitedGroup, ...], Field(min_length=1, max_length=64)]
    at_most: PlainDecimal


class CitedEvaluation(WireModel):
    """An evaluation by digest, with its figures for the families of this bundle.

    Attributes:
        payload: sha256 of the evaluation's signed payload.
        keyid: of its signer.
        created_at: as it states.
        promise_held, uniform: as its result says, over all its families.
        families: those of the bundle that it examined, in the bundle's order; none if it examined
            no file of such a kind.

    """

    payload: Sha256Hex
    keyid: Sha256Hex
    created_at: Timestamp
    promise_held: bool
    uniform: bool
    families: Annotated[tuple[CitedFamily, ...], Field(max_length=64)]
