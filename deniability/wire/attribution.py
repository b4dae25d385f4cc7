"""Predicate `attribution/v1`: one accused file, several models, and an open-set verdict."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from deniability.wire.base import LongText, Sha256Hex, Text, Timestamp, WireModel
from deniability.wire.exclusion import Exclusion
from deniability.wire.registration import FileDescriptor

#: Most and fewest models of one attribution. With one there is nothing to tell apart: `deny prove`.
MAX_CANDIDATES = 64
MIN_CANDIDATES = 2

AttributionVerdict = Literal["attributed", "none-of-these", "several", "inconclusive"]
_Models = Annotated[tuple[Sha256Hex, ...], Field(max_length=MAX_CANDIDATES)]


class AttributionFinding(WireModel):
    """The open-set verdict; all of it follows from the candidates' findings.

    Attributes:
        verdict: one of four.
        sentence: it in words, with every candidate's digest.
        reached, excluded, inconclusive: digests of the models with that finding, in order.

    """

    verdict: AttributionVerdict
    sentence: LongText
    reached: _Models
    excluded: _Models
    inconclusive: _Models


class Attribution(WireModel):
    """The predicate; its statement's only subject is the accused file.

    Attributes:
        finding: what is asserted.
        scope: what is and is not covered, beside each candidate's own scope.
        picture: the accused file, the same in every candidate.
        candidates: for each model the predicate that `deny prove` would sign of it, in order of
            the models' digests.
        created_at: for the record.

    """

    finding: AttributionFinding
    scope: tuple[Text, ...]
    picture: FileDescriptor
    candidates: Annotated[
        tuple[Exclusion, ...], Field(min_length=MIN_CANDIDATES, max_length=MAX_CANDIDATES)
    ]
    created_at: Timestamp
