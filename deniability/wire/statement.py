"""in-toto Statement v1 and the Sigstore bundle that carries it (EVIDENCE section 1)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from deniability.wire.base import Sha256Hex, Text, WireModel

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
BUNDLE_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"

#: Types of predicates that are told from a bundle's before their own modules are needed.
ATTRIBUTION_TYPE = "urn:deniability:attribution/v1"
BINDING_TYPE = "urn:deniability:binding/v1"
EVALUATION_TYPE = "urn:deniability:evaluation/v1"

Base64Text = Annotated[str, Field(max_length=2**28, pattern=r"^[A-Za-z0-9+/]*={0,2}$")]


class Digests(WireModel):
    """Digests of a subject."""

    sha256: Sha256Hex


class Subject(WireModel):
    """What a statement is about."""

    name: Text
    digest: Digests


class StatementHead(WireModel):
    """in-toto Statement v1 without its predicate."""

    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    subject: Annotated[tuple[Subject, ...], Field(min_length=1, max_length=4096)]
    predicate_type: Text


class Statement(StatementHead):
    """in-toto Statement v1; the predicate is parsed by its type."""

    predicate: dict[str, Any]


class Signature(WireModel):
    """One DSSE signature; `keyid` is a hint and decides nothing."""

    sig: Base64Text
    keyid: Sha256Hex


class Envelope(WireModel):
    """DSSE 1.0.2 envelope with exactly one signature."""

    payload: Base64Text
    payload_type: Literal["application/vnd.in-toto+json"]
    signatures: Annotated[tuple[Signature, ...], Field(min_length=1, max_length=1)]


class KeyHint(WireModel):
    """The signer's key by the sha256 of its SPKI DER."""

    hint: Sha256Hex


class SignedTimestamp(WireModel):
    """An RFC 3161 response in base64."""

    signed_timestamp: Base64Text


class TimestampData(WireModel):
    """RFC 3161 timestamps over the signature."""

    rfc3161_timestamps: Annotated[
        tuple[SignedTimestamp, ...], Field(alias="rfc3161Timestamps", max_length=16)
    ]


class VerificationMaterial(WireModel):
    """What helps to verify, none of it trusted."""

    public_key: KeyHint
    tlog_entries: tuple[()]
    timestamp_verification_data: TimestampData


class SigstoreBundle(WireModel):
    """Sigstore bundle v0.3 in its key-hint form."""

    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]
    verification_material: VerificationMaterial
    dsse_envelope: Envelope
