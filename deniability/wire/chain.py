"""Predicate `chain/v1`: all registrations of one key in order, none to be left out quietly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from deniability.crypto.canonical import canonical_json
from deniability.crypto.digest import sha256_hex
from deniability.wire.base import Sha256Hex, Timestamp, WireModel
from deniability.wire.statement import STATEMENT_TYPE, Base64Text, SignedTimestamp

CHAIN_TYPE = "urn:deniability:chain/v1"
#: Name of a chain's only subject, whose digest is the head.
HEAD_NAME = "head"
MAX_LINKS = 4096
#: Versions with timestamps: each is checked over all that it had.
MAX_STAMPED = 512

LinkKind = Literal["registration", "intent"]


class ChainLink(WireModel):
    """One link.

    Attributes:
        kind: a registration, or the naming of a beacon round for one (wire/beacon.py).
        payload: sha256 of the registration's signed payload, or the intent's digest.
        weights: of the model; file names do not count.
        created_at: by the signer's clock.

    """

    kind: LinkKind
    payload: Sha256Hex
    weights: Sha256Hex
    created_at: Timestamp


class StampedHead(WireModel):
    """An earlier signed version of the chain that timestamps were made of.

    Attributes:
        links: how many links it had; its `earlier` were those before this one.
        signature: over that version's payload, by the same key.
        timestamps: over that signature.

    """

    links: Annotated[int, Field(ge=1, le=MAX_LINKS)]
    signature: Base64Text
    timestamps: Annotated[tuple[SignedTimestamp, ...], Field(min_length=1, max_length=16)]


class Chain(WireModel):
    """The predicate; its statement's only subject is the head.

    Attributes:
        links: in order, the newest last.
        earlier: versions with timestamps, in order, so that a new link undates none before it.

    """

    links: Annotated[tuple[ChainLink, ...], Field(min_length=1, max_length=MAX_LINKS)]
    earlier: Annotated[tuple[StampedHead, ...], Field(max_length=MAX_STAMPED)]

    @property
    def head(self) -> str:
        """Digest over all links: each over the one before it and the link."""
        return chain_head(self.links)


def chain_head(links: Sequence[ChainLink]) -> str:
    """Return the head (hex): h_i = SHA-256 of the canonical JSON of {"link", "previous": h_(i-1)}.

    Before the first link the previous head is the empty string.
    """
    head = ""
    for link in links:
        head = _next_head(head, link)
    return head


def _next_head(head: str, link: ChainLink) -> str:
    return sha256_hex(canonical_json({"link": link.to_wire(), "previous": head}))


def chain_statement(chain: Chain) -> dict[str, Any]:
    """Return the statement that a chain's payload is the canonical JSON of."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": HEAD_NAME, "digest": {"sha256": chain.head}}],
        "predicateType": CHAIN_TYPE,
        "predicate": chain.to_wire(),
    }


def earlier_payloads(chain: Chain) -> Iterator[bytes]:
    """Yield the signed bytes of the version that each entry of `chain.earlier` is of, in order.

    A version's bytes are joined from those of its links, so that many versions cost little.
    """
    links = [canonical_json(link.to_wire()) for link in chain.links]
    stamped = [canonical_json(version.to_wire()) for version in chain.earlier]
    head, length = "", 0
    for index, version in enumerate(chain.earlier):
        for link in chain.links[length : version.links]:
            head = _next_head(head, link)
        length = version.links
        yield (
            b'{"_type":"%s","predicate":{"earlier":[%s],"links":[%s]},"predicateType":"%s",'
            b'"subject":[{"digest":{"sha256":"%s"},"name":"%s"}]}'
        ) % (
            STATEMENT_TYPE.encode(),
            b",".join(stamped[:index]),
            b",".join(links[:length]),
            CHAIN_TYPE.encode(),
            head.encode(),
            HEAD_NAME.encode(),
        )
