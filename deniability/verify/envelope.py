"""Steps 1 to 5 of SPEC.md: from raw bytes to a statement signed by a trusted key."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from deniability.crypto.digest import sha256_hex
from deniability.crypto.dsse import pae
from deniability.crypto.encoding import b64decode_strict
from deniability.crypto.keys import PublicKey
from deniability.errors import SignatureError, StatementError, UncheckedError
from deniability.verify.parse import parse_bundle, parse_statement
from deniability.verify.timestamps import Times, check_timestamps
from deniability.verify.trust import TrustPolicy
from deniability.wire.statement import Statement


@dataclass(frozen=True)
class SignedPayload:
    """Bytes whose signature was checked and that nobody looked at; made by `verify_signature`.

    Attributes:
        payload: the signed bytes.
        signer: the trusted key that made the signature.
        times: what its timestamps show.

    """

    payload: bytes
    signer: PublicKey
    times: Times

    @cached_property
    def payload_digest(self) -> str:
        """Sha256 (hex) of the signed payload."""
        return sha256_hex(self.payload)


@dataclass(frozen=True)
class VerifiedStatement(SignedPayload):
    """A statement whose signature was checked; made only by `verify_envelope`.

    Attributes:
        statement: the parsed payload.

    """

    statement: Statement


def verify_envelope(
    raw: bytes, *, trust: TrustPolicy, predicate_type: str, where: str
) -> VerifiedStatement:
    """Check form and signature of a bundle or registration.

    Args:
        raw: the file's bytes.
        trust: keys chosen by the verifier.
        predicate_type: the only type accepted.
        where: name of the file, for messages.

    Raises:
        ParseError: not a canonical Sigstore bundle.
        TimestampError: a timestamp is bad.
        UncheckedError: signed by a key that the verifier does not trust.
        SignatureError: the signature does not fit the payload or the named key.
        StatementError: the payload is not a canonical statement of this type.

    """
    signed = verify_signature(raw, trust=trust, where=where)
    statement = check_statement(signed.payload, predicate_type=predicate_type, where=where)
    return VerifiedStatement(signed.payload, signed.signer, signed.times, statement)


def verify_signature(raw: bytes, *, trust: TrustPolicy, where: str) -> SignedPayload:
    """Check form and signature without looking at the payload.

    Raises:
        ParseError, TimestampError, UncheckedError, SignatureError: as `verify_envelope`.

    """
    # Step 1: capped, canonical, of the expected form.
    bundle = parse_bundle(raw, where=where)
    envelope = bundle.dsse_envelope
    signature = envelope.signatures[0]
    payload = b64decode_strict(envelope.payload, f"{where}: dsseEnvelope.payload")
    sig = b64decode_strict(signature.sig, f"{where}: dsseEnvelope.signatures.0.sig")

    # Step 2: each timestamp is over this signature, and good; one by an unknown authority gives
    # no time, and is told.
    tokens = bundle.verification_material.timestamp_verification_data.rfc3161_timestamps
    times = check_timestamps(
        tokens, sig, roots=trust.tsa_roots, where=f"{where}: timestampVerificationData"
    )

    # Step 3: the names of the key must agree; they choose among trusted keys and prove nothing.
    hint = bundle.verification_material.public_key.hint
    if signature.keyid != hint:
        raise SignatureError(
            "the two names of the signing key differ",
            where=f"{where}: dsseEnvelope.signatures.0.keyid",
            expected=hint,
            found=signature.keyid,
        )
    signer = next((key for key in trust.keys if key.keyid == hint), None)
    if signer is None:
        raise UncheckedError(
            "signed by a key that you have not chosen to trust",
            where=where,
            expected="one of " + (", ".join(k.keyid[:16] for k in trust.keys) or "no keys"),
            found=f"key {hint}",
            hint="Get the signer's public key by a way you trust and pass it with --key.",
        )

    # Step 4: the signature, over the DSSE pre-authentication encoding of the raw payload.
    try:
        signer.verify(sig, pae(envelope.payload_type, payload))
    except SignatureError as cause:
        raise SignatureError(
            cause.what,
            where=f"{where}: dsseEnvelope.payload",
            expected=cause.expected,
            found="a payload or signature that was changed after it was signed",
        ) from cause

    return SignedPayload(payload, signer, times)


def check_statement(
    payload: bytes, *, predicate_type: str | tuple[str, ...], where: str
) -> Statement:
    """Parse a signed payload, whose predicate is left as JSON for the model of its type.

    Raises:
        StatementError: not a canonical statement of this type, or of one of these.

    """
    # Step 5: only now is the payload looked at.
    statement = parse_statement(payload, where=f"{where}: payload")
    accepted = (predicate_type,) if isinstance(predicate_type, str) else predicate_type
    if statement.predicate_type not in accepted:
        raise StatementError(
            "another type of statement",
            where=f"{where}: payload.predicateType",
            expected=" or ".join(accepted),
            found=statement.predicate_type,
            hint="A registration is not a bundle; deny inspect FILE shows what a file is.",
        )
    return statement
