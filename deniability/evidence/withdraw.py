"""Signed statements that take back a finding or a key (SPEC.md, section 15)."""

from __future__ import annotations

import datetime as dt

from deniability.crypto.encoding import b64decode_strict
from deniability.crypto.keys import PrivateKey
from deniability.errors import InputError, ParseError, UncheckedError
from deniability.evidence.signing import sign_statement
from deniability.verify.envelope import verify_envelope
from deniability.verify.parse import parse_bundle, parse_model
from deniability.verify.trust import TrustPolicy
from deniability.verify.withdrawal import verify_withdrawal
from deniability.wire.exclusion import EXCLUSION_TYPE
from deniability.wire.registration import FileDescriptor
from deniability.wire.statement import (
    ATTRIBUTION_TYPE,
    BINDING_TYPE,
    EVALUATION_TYPE,
    Statement,
)
from deniability.wire.summary import SUMMARY_TYPE
from deniability.wire.withdrawal import WITHDRAWAL_TYPE, Withdrawal

_WITHDRAWN = (EXCLUSION_TYPE, ATTRIBUTION_TYPE, SUMMARY_TYPE, BINDING_TYPE, EVALUATION_TYPE)


def withdraw_finding(raw: bytes, *, key: PrivateKey, reason: str, time: str, where: str) -> bytes:
    """Return the signed withdrawal of a bundle, attribution or summary, by its own signer.

    Only its envelope is verified: a finding that no longer verifies can be withdrawn as well.

    Raises:
        ParseError, SignatureError, StatementError: not a signed statement.
        InputError: a statement of another type, or no reason that can be written.
        UncheckedError: signed by another key, so that a withdrawal would have no effect.

    """
    kind = _claimed_type(raw, where)
    if kind not in _WITHDRAWN:
        raise InputError(
            "not a finding",
            where=where,
            expected="a bundle, an attribution, a summary or a binding",
            found=kind[:100],
        )
    try:
        signed = verify_envelope(
            raw, trust=TrustPolicy((key.public,)), predicate_type=kind, where=where
        )
    except UncheckedError as cause:
        raise UncheckedError(
            "only the key that signed a finding can withdraw it",
            where=where,
            expected=cause.found,
            found=f"key {key.public.keyid}",
            hint="Name that private key with --key.",
        ) from cause
    return _signed("finding", signed.payload_digest, key, reason=reason, time=time)


def revoke_key(key: PrivateKey, *, reason: str, time: str, since: str | None = None) -> bytes:
    """Return the signed revocation of a key by itself.

    Args:
        key: to revoke.
        reason: for whoever verifies.
        time: now.
        since: what is stamped before then stays good; if None, nothing does.

    Raises:
        InputError: no reason that can be written, or a time that is none or still to come.

    """
    if since is not None and since > time:
        raise InputError("a time that is still to come", where="--since", found=since)
    return _signed("key", key.public.keyid, key, reason=reason, time=time, since=since)


def _claimed_type(raw: bytes, where: str) -> str:
    payload = parse_bundle(raw, where=where).dsse_envelope.payload
    data = b64decode_strict(payload, f"{where}: dsseEnvelope.payload")
    return parse_model(data, Statement, where=f"{where}: payload", error=ParseError).predicate_type


def _signed(
    target: str,
    digest: str,
    key: PrivateKey,
    *,
    reason: str,
    time: str,
    since: str | None = None,
) -> bytes:
    fields = {"target": target, "digest": digest, "reason": reason, "created_at": time}
    try:
        withdrawal = Withdrawal.model_validate(fields | ({"since": since} if since else {}))
    except ValueError as cause:
        raise InputError(
            "a reason or time that cannot be written",
            where="--reason, --since",
            expected="one line of 1 to 2000 printable characters, and a time such as "
            "2026-11-02T00:00:00Z",
        ) from cause
    signed = sign_statement(
        withdrawal,
        predicate_type=WITHDRAWAL_TYPE,
        subjects=[FileDescriptor(name=target, size=0, sha256=digest)],
        key=key,
    )
    verify_withdrawal(signed, signer=key.public)
    return signed


def present_time() -> str:
    """Return the present time as RFC 3339, UTC, whole seconds."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
