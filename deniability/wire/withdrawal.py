"""Predicate `withdrawal/v1`: a key takes back one of its statements, or itself."""

from __future__ import annotations

from typing import Literal

from deniability.wire.base import Sha256Hex, Text, Timestamp, WireModel

WITHDRAWAL_TYPE = "urn:deniability:withdrawal/v1"


class Withdrawal(WireModel):
    """Predicate `withdrawal/v1`; its subject has the target as name and the same digest.

    Attributes:
        target: `finding`: one statement (a bundle or a verification summary); `key`: the signing
            key of the withdrawal itself.
        digest: sha256 of the statement's signed payload, or the key's name.
        reason: in the signer's words.
        created_at: by the signer's clock.
        since: of a key only: what is proved to have been signed before then stays good. Absent:
            nothing does.

    """

    target: Literal["finding", "key"]
    digest: Sha256Hex
    reason: Text
    created_at: Timestamp
    since: Timestamp | None = None
