"""What `deny verify` makes of examiners' summaries, and the one that it signs itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deniability.cli.failure import UsageError
from deniability.cli.verification import Level, VerificationReport, VerificationRequest
from deniability.errors import OutputError, UncheckedError

if TYPE_CHECKING:
    from deniability.crypto.keys import PrivateKey
    from deniability.verify.bundle import VerifiedBundle
    from deniability.verify.summary import Attested
    from deniability.verify.trust import TrustPolicy
    from deniability.verify.withdrawal import WithdrawalFile

LEVELS = (Level.V0, Level.V1, Level.V2)


@dataclass(frozen=True)
class Witnesses:
    """The summaries that a verifier was given, the examiners that he chose, and how many it takes.

    Attributes:
        files: summaries.
        keys: files with the examiners' public keys.
        threshold: different keys that have to state a level.

    """

    files: tuple[Path, ...]
    keys: tuple[Path, ...]
    threshold: int

    def __post_init__(self) -> None:
        if self.files and not self.keys:
            raise UsageError(
                "an attestation counts only if you say whose word you take",
                where="--attestation",
                expected="--examiner with the examiner's public key",
            )
        if self.keys and not self.files:
            raise UsageError(
                "there is nothing by an examiner",
                where="--examiner",
                expected="--attestation with a file",
            )
        if self.threshold != 1 and not self.files:
            raise UsageError(
                "there is nothing by an examiner",
                where="--examiners",
                expected="--attestation with a file",
            )

    def heard(
        self, verified: VerifiedBundle, withdrawals: tuple[WithdrawalFile, ...], trust: TrustPolicy
    ) -> Attested | None:
        """Verify all summaries; return what enough examiners state.

        Timestamps are judged by the roots of `trust`; its keys are not examiners.

        Raises:
            AttestationError: one is not about this bundle, or by its own signer.
            UncheckedError: by a key that was not chosen, or too few.
            WithdrawnError: an examiner took his summary or key back.

        """
        if not self.files:
            return None
        from deniability.crypto.keys import read_public_key  # noqa: PLC0415
        from deniability.verify.summary import (  # noqa: PLC0415
            MAX_SUMMARY_BYTES,
            enough_examiners,
            verify_summary,
        )
        from deniability.verify.withdrawal import refuse_withdrawn  # noqa: PLC0415
        from deniability.wire.files import read_capped  # noqa: PLC0415

        keys = tuple(read_public_key(path) for path in self.keys)
        examiners = replace(trust, keys=keys)
        found = []
        for path in self.files:
            raw = read_capped(path, MAX_SUMMARY_BYTES, what="attestation")
            summary = verify_summary(raw, bundle=verified, examiners=examiners, where=str(path))
            refuse_withdrawn(
                withdrawals,
                signer=summary.signer,
                payload_digest=summary.payload_digest,
                stamped=summary.times.earliest,
                where=str(path),
            )
            found.append(summary)
        return enough_examiners(found, self.threshold)


def check_level(request: VerificationRequest, attested: Attested | None) -> None:
    """Refuse unless the level asked for is reached here or by the examiners' word.

    Raises:
        UncheckedError: it is not.

    """
    if request.require <= request.level:
        return
    stated = LEVELS[attested.level] if attested is not None else request.level
    if request.require > stated:
        raise UncheckedError(
            f"level {request.require} is not reached",
            where="--require",
            expected=f"an examiner's word for {request.require}, or what it takes to check it here",
            found=f"{request.level} here, {stated} stated",
        )
    if attested is not None and attested.taken_from_bundle:
        raise UncheckedError(
            f"level {request.require} is not reached: the examiner took facts about the model "
            "from the bundle instead of stating them",
            where="--require",
            found=", ".join(attested.taken_from_bundle),
        )


def statement_of(attested: Attested) -> str:
    """Say who states what, without pretending that it was checked here."""
    names = ", ".join(key.keyid for key in attested.examiners)
    who, verb = ("key", "(examiner) states")
    if len(attested.examiners) > 1:
        who, verb = ("keys", "(examiners) state")
    level = LEVELS[attested.level].value.upper()
    return f"{who} {names} {verb} that {level} was checked"


def add_attested(
    report: VerificationReport, request: VerificationRequest, attested: Attested | None
) -> None:
    """Put the examiners' word into the report, where it says more than was checked here."""
    if attested is None:
        return
    level = LEVELS[attested.level]
    report.unchecked.append(f"Not checked here: {statement_of(attested)}.")
    if level > request.level:
        report.attested = statement_of(attested)
    if attested.taken_from_bundle:
        report.warnings.append(
            "the examiner took from the bundle and did not check: the model's "
            + ", ".join(attested.taken_from_bundle)
        )
    report.attestation = {
        "level": level.value,
        "examiners": [key.keyid for key in attested.examiners],
        "takenFromBundle": list(attested.taken_from_bundle),
    }


def signing_examiner(output: Path | None, key: Path | None) -> PrivateKey | None:
    """Read the key to attest with, and refuse an output that is taken, before any work.

    Raises:
        UsageError: a key without a file to write.
        OutputError: the file is there already.
        KeyFileError: the key cannot be used.

    """
    if output is None:
        if key is not None:
            raise UsageError("there is nothing to sign", where="--attest-key", expected="--attest")
        return None
    from deniability.cli.keyfiles import read_signing_key, signing_key_path  # noqa: PLC0415

    if output.exists():
        raise OutputError("exists already", where=str(output), hint="Name another file.")
    if not output.parent.is_dir():
        raise OutputError("its folder does not exist", where=str(output))
    return read_signing_key(signing_key_path(key))


def refuse_own_bundle(verified: VerifiedBundle, key: PrivateKey) -> None:
    """Refuse to attest what one has signed oneself, before any of it is checked at length."""
    from deniability.evidence.attest import refuse_own_bundle as refuse  # noqa: PLC0415

    refuse(verified, key)


def write_attestation(
    output: Path,
    key: PrivateKey,
    verified: VerifiedBundle,
    raw: bytes,
    request: VerificationRequest,
    report: VerificationReport,
    *,
    latents: bool,
) -> None:
    """Sign what was checked here, after all of it passed."""
    from deniability.evidence.attest import summarise  # noqa: PLC0415
    from deniability.evidence.withdraw import present_time  # noqa: PLC0415
    from deniability.wire.files import write_atomic  # noqa: PLC0415

    given: dict[str, Any] = {
        "level": LEVELS.index(request.level),
        "picture": request.image is not None,
        "latents": latents,
        "checked": report.checked,
        "not_checked": report.unchecked,
        "taken_from_bundle": report.borrowed,
        "fresh_controls": request.replay,
        "time": present_time(),
    }
    write_atomic(output, summarise(verified, raw, key=key, **given), overwrite=False)
    report.attested_to = str(output)
