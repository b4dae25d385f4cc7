"""Section 15 of SPEC.md: findings that were taken back, and keys that were revoked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from deniability.crypto.keys import PublicKey
from deniability.errors import CommitmentError, WithdrawnError
from deniability.verify.envelope import verify_envelope
from deniability.verify.parse import parse_bundle, parse_predicate
from deniability.verify.trust import TrustPolicy
from deniability.wire.withdrawal import WITHDRAWAL_TYPE, Withdrawal

#: Largest withdrawal that is read, bytes.
MAX_WITHDRAWAL_BYTES = 2**20


@dataclass(frozen=True)
class WithdrawalFile:
    """A withdrawal that a verifier was given: unverified bytes and the file's name."""

    raw: bytes
    where: str


def verify_withdrawal(raw: bytes, *, signer: PublicKey, where: str = "withdrawal") -> Withdrawal:
    """Verify a withdrawal that names `signer` as its signer.

    Raises:
        ParseError, UncheckedError, SignatureError, StatementError: as `verify_envelope`.
        CommitmentError: its subject is another than its target, or a key that is not its own.

    """
    # Step 15.2: signed by this key, and only a key itself takes itself back.
    signed = verify_envelope(
        raw, trust=TrustPolicy((signer,)), predicate_type=WITHDRAWAL_TYPE, where=where
    )
    withdrawal = parse_predicate(signed.statement.predicate, Withdrawal, where=where)
    named = [(s.name, s.digest.sha256) for s in signed.statement.subject]
    if named != [(withdrawal.target, withdrawal.digest)]:
        raise CommitmentError(
            "field subject does not follow from target and digest",
            where=where,
            expected=f"{withdrawal.target} {withdrawal.digest}",
        )
    if withdrawal.target == "key" and withdrawal.digest != signer.keyid:
        raise CommitmentError(
            "a key can revoke itself only",
            where=f"{where}: predicate.digest",
            expected=signer.keyid,
            found=withdrawal.digest,
        )
    if withdrawal.target == "finding" and withdrawal.since is not None:
        raise CommitmentError(
            "a finding is withdrawn as a whole, not since a time",
            where=f"{where}: predicate.since",
            found=withdrawal.since,
        )
    return withdrawal


def refuse_withdrawn(
    withdrawals: Iterable[WithdrawalFile],
    *,
    signer: PublicKey,
    payload_digest: str,
    stamped: datetime | None,
    where: str,
) -> tuple[str, ...]:
    """Refuse a verified statement that its own signer took back, or whose key was revoked.

    Args:
        withdrawals: those that the verifier has.
        signer: of the statement.
        payload_digest: of the statement.
        stamped: the earliest time at which a trusted timestamp shows it to have been signed, if
            one does.
        where: name of the statement's file.

    Returns one sentence for each withdrawal by another key, which has no effect.

    Raises:
        WithdrawnError: one of them takes it back.
        ParseError, SignatureError, StatementError, CommitmentError: one that should be by this
            signer is damaged. It is not taken for none.

    """
    ignored = []
    for file in withdrawals:
        # Step 15.1: only the statement's own signer can take it back.
        hint = parse_bundle(file.raw, where=file.where).verification_material.public_key.hint
        if hint != signer.keyid:
            ignored.append(
                f"{file.where}: ignored; it names key {hint}, which did not sign {where}."
            )
            continue
        withdrawal = verify_withdrawal(file.raw, signer=signer, where=file.where)
        # Steps 15.3 and 15.4: the finding itself, or all that its key signed from some time on.
        if withdrawal.target == "finding":
            if withdrawal.digest == payload_digest:
                raise _withdrawn("was withdrawn by its own signer", withdrawal, file, where)
        elif withdrawal.since is None:
            raise _withdrawn("is signed by a key that was revoked", withdrawal, file, where)
        elif stamped is None or stamped >= datetime.fromisoformat(withdrawal.since):
            raise _withdrawn(
                f"is signed by a key that was revoked as of {withdrawal.since}, and "
                + (
                    "it has no timestamp by an authority that you trust"
                    if stamped is None
                    else f"its earliest timestamp is of {stamped.isoformat()}"
                ),
                withdrawal,
                file,
                where,
            )
    return tuple(ignored)


def _withdrawn(
    what: str, withdrawal: Withdrawal, file: WithdrawalFile, where: str
) -> WithdrawnError:
    return WithdrawnError(
        f"{what}; stated on {withdrawal.created_at}: {withdrawal.reason}",
        where=where,
        hint=f"The statement is in {file.where}.",
    )
