"""Section 14 of SPEC.md: an examiner's word that a bundle was checked further than here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from deniability.crypto.keys import PublicKey
from deniability.errors import AttestationError, InputError, UncheckedError
from deniability.verify.bundle import VerifiedBundle
from deniability.verify.envelope import verify_envelope
from deniability.verify.parse import parse_predicate
from deniability.verify.timestamps import Times
from deniability.verify.trust import TrustPolicy
from deniability.wire.statement import Subject
from deniability.wire.summary import (
    CHECKED_LEVELS,
    SUMMARY_TYPE,
    VerificationSummary,
    policy_of,
    resource_uri,
    verifier_id,
)

#: Largest summary that is read, bytes.
MAX_SUMMARY_BYTES = 4 * 2**20


@dataclass(frozen=True)
class VerifiedSummary:
    """A summary by a chosen examiner about this very bundle. Only `verify_summary` makes one.

    Attributes:
        summary: the predicate.
        payload_digest: sha256 (hex) of the signed bytes.
        signer: the examiner.
        where: name of the file.
        times: what its timestamps show.

    """

    summary: VerificationSummary
    payload_digest: str
    signer: PublicKey
    where: str
    times: Times

    @property
    def level(self) -> int:
        """The highest level that the examiner states: 0, 1 or 2."""
        return len(self.summary.verified_levels) - 1


@dataclass(frozen=True)
class Attested:
    """What enough examiners state.

    Attributes:
        level: the highest level that each of `examiners` states.
        examiners: the different keys that state it, in the order of the summaries.
        taken_from_bundle: facts that one of them took from the bundle instead of stating them.

    """

    level: int
    examiners: tuple[PublicKey, ...]
    taken_from_bundle: tuple[str, ...]


def verify_summary(
    raw: bytes, *, bundle: VerifiedBundle, examiners: TrustPolicy, where: str = "summary"
) -> VerifiedSummary:
    """Verify an examiner's summary of a bundle that itself was verified.

    Args:
        raw: the file's bytes.
        bundle: verified here, at V0 at least.
        examiners: keys chosen by the verifier, never taken from a file.
        where: name of the file, for messages.

    Raises:
        UncheckedError: signed by a key that is not among the examiners'.
        ParseError, SignatureError, StatementError: as `verify_envelope`.
        AttestationError: by the bundle's own signer, about another bundle or finding, or not
            stating that the checks were passed.

    """
    # Step 14.1: form, signature and type, by one of the examiners.
    try:
        signed = verify_envelope(raw, trust=examiners, predicate_type=SUMMARY_TYPE, where=where)
    except UncheckedError as cause:
        if cause.expected is None or not cause.expected.startswith("one of"):
            raise
        raise UncheckedError(
            "signed by a key that you have not chosen as an examiner's",
            where=where,
            expected=cause.expected,
            found=cause.found,
            hint="Get the examiner's public key by a way you trust and pass it with --examiner.",
        ) from cause
    summary = parse_predicate(signed.statement.predicate, VerificationSummary, where=where)
    # Step 14.2: nobody vouches for himself.
    if signed.signer == bundle.signer:
        raise AttestationError(
            "signed by the key that signed the bundle, which makes it no independent examiner's",
            where=where,
            expected="another key than the bundle's",
            found=f"key {signed.signer.keyid}",
        )
    _check_subject(signed.statement.subject, summary, signed.signer, bundle, where)
    _check_inputs(summary, bundle, where)
    # Step 14.5: passed, at levels without a gap.
    _equal("verificationResult", "PASSED", summary.verification_result, where)
    levels = summary.verified_levels
    if not levels or levels != CHECKED_LEVELS[: len(levels)]:
        raise AttestationError(
            "field verifiedLevels: not the levels from V0 on without a gap",
            where=where,
            expected=" ".join(CHECKED_LEVELS),
            found=" ".join(levels) or "none",
        )
    fresh = summary.deniability_checks.fresh_controls
    if (fresh is not None) != (len(levels) == len(CHECKED_LEVELS)) or fresh == 0:
        raise AttestationError(
            "field deniabilityChecks.freshControls: there with V2 and only then, and not 0",
            where=where,
            found=str(fresh),
        )
    return VerifiedSummary(summary, signed.payload_digest, signed.signer, where, signed.times)


def _check_subject(
    subject: tuple[Subject, ...],
    summary: VerificationSummary,
    signer: PublicKey,
    bundle: VerifiedBundle,
    where: str,
) -> None:
    # Step 14.3: about this picture, bundle, signer, finding and protocol.
    exclusion, checks = bundle.exclusion, summary.deniability_checks
    _equal("subject (count)", 1, len(subject), where)
    _equal("subject.0.name", exclusion.accused.file.name, subject[0].name, where)
    _equal("subject.0.digest", exclusion.accused.file.sha256, subject[0].digest.sha256, where)
    _equal("resourceUri", resource_uri(bundle.payload_digest), summary.resource_uri, where)
    _equal("deniabilityChecks.payload", bundle.payload_digest, checks.payload, where)
    _equal("deniabilityChecks.signer", bundle.signer.keyid, checks.signer, where)
    _equal("deniabilityChecks.verdict", exclusion.finding.verdict, checks.verdict, where)
    protocol = policy_of(exclusion.protocol.name, exclusion.protocol_digest)
    _equal("policy", protocol, summary.policy, where)
    _equal("verifier.id", verifier_id(signer.keyid), summary.verifier.id, where)


def _check_inputs(summary: VerificationSummary, bundle: VerifiedBundle, where: str) -> None:
    # Step 14.4: what was read are the files that the bundle names, and for V1 all of them.
    exclusion = bundle.exclusion
    expected = {
        "picture": [exclusion.accused.file.sha256],
        "latents": [exclusion.latents.sha256],
        "model": [file.sha256 for file in exclusion.model.files],
    }
    found: dict[str, list[str]] = {"bundle": [], "picture": [], "latents": [], "model": []}
    for entry in summary.input_attestations:
        found[entry.name].append(entry.digest.sha256)
    _equal("inputAttestations (bundle)", 1, len(found["bundle"]), where)
    for name, digests in expected.items():
        if found[name] or len(summary.verified_levels) > 1:
            _equal(f"inputAttestations ({name})", digests, found[name], where)


def enough_examiners(summaries: Iterable[VerifiedSummary], threshold: int) -> Attested:
    """Return the highest level that at least `threshold` different keys state.

    Keys are told apart by themselves; neither names nor files count, and one key counts once.

    Raises:
        InputError: a threshold below 1.
        UncheckedError: too few keys.

    """
    if threshold < 1:
        raise InputError("a threshold of examiners is at least 1", found=str(threshold))
    # Step 14.6: the best of each key.
    best: dict[PublicKey, VerifiedSummary] = {}
    for summary in summaries:
        if summary.signer not in best or summary.level > best[summary.signer].level:
            best[summary.signer] = summary
    if len(best) < threshold:
        raise UncheckedError(
            "too few examiners: one key counts once, however many files it signed",
            expected=f"{threshold} different keys",
            found=str(len(best)),
        )
    level = sorted((s.level for s in best.values()), reverse=True)[threshold - 1]
    counted = [summary for summary in best.values() if summary.level >= level]
    taken = (fact for s in counted for fact in s.summary.deniability_checks.taken_from_bundle)
    return Attested(level, tuple(s.signer for s in counted), tuple(dict.fromkeys(taken)))


def _equal(field: str, expected: object, found: object, where: str) -> None:
    if expected != found:
        raise AttestationError(
            f"field {field} is not that of this bundle"
            if field != "verificationResult"
            else "the examiner does not state that the bundle passed",
            where=where,
            expected=str(expected)[:200],
            found=str(found)[:200],
        )
