"""An examiner's signed summary of what was checked of a bundle (SPEC.md, section 14)."""

from __future__ import annotations

from collections.abc import Sequence

from deniability import __version__
from deniability.crypto.digest import sha256_hex
from deniability.crypto.keys import PrivateKey
from deniability.errors import AttestationError
from deniability.evidence.signing import sign_statement
from deniability.verify.bundle import VerifiedBundle
from deniability.verify.summary import verify_summary
from deniability.verify.trust import TrustPolicy
from deniability.wire.registration import FileDescriptor
from deniability.wire.statement import Digests
from deniability.wire.summary import (
    CHECKED_LEVELS,
    SUMMARY_TYPE,
    DeniabilityChecks,
    InputAttestation,
    VerificationSummary,
    Verifier,
    VerifierVersion,
    policy_of,
    resource_uri,
    verifier_id,
)

_LONGEST = 2000  # characters of a sentence


def summarise(
    verified: VerifiedBundle,
    raw: bytes,
    *,
    key: PrivateKey,
    level: int,
    picture: bool,
    latents: bool,
    checked: Sequence[str],
    not_checked: Sequence[str],
    taken_from_bundle: Sequence[str] = (),
    fresh_controls: int | None = None,
    time: str,
) -> bytes:
    """Sign what was checked, after all of it passed; return a Sigstore bundle.

    Args:
        verified: the bundle.
        raw: the bytes of its file.
        key: the examiner's.
        level: 0, 1 or 2, as reached here.
        picture: whether it was compared; from level 1 on it was.
        latents: likewise.
        checked: in sentences.
        not_checked: likewise.
        taken_from_bundle: facts about the model that the examiner did not state himself.
        fresh_controls: m of level 2.
        time: RFC 3339, UTC.

    Raises:
        AttestationError: the key is the one that signed the bundle.

    """
    refuse_own_bundle(verified, key)
    exclusion = verified.exclusion
    summary = VerificationSummary(
        verifier=Verifier(
            id=verifier_id(key.public.keyid), version=VerifierVersion(deniability=__version__)
        ),
        time_verified=time,
        resource_uri=resource_uri(verified.payload_digest),
        policy=policy_of(exclusion.protocol.name, exclusion.protocol_digest),
        input_attestations=_inputs(
            verified, raw, picture=picture, latents=latents, model=level > 0
        ),
        verification_result="PASSED",
        verified_levels=CHECKED_LEVELS[: level + 1],
        deniability_checks=DeniabilityChecks(
            payload=verified.payload_digest,
            signer=verified.signer.keyid,
            verdict=exclusion.finding.verdict,
            checked=_lines(checked),
            not_checked=_lines(not_checked),
            fresh_controls=fresh_controls,
            taken_from_bundle=_lines(taken_from_bundle),
        ),
    )
    signed = sign_statement(
        summary, predicate_type=SUMMARY_TYPE, subjects=[exclusion.accused.file], key=key
    )
    # What goes out is what a verifier would accept.
    verify_summary(signed, bundle=verified, examiners=TrustPolicy((key.public,)))
    return signed


def refuse_own_bundle(verified: VerifiedBundle, key: PrivateKey) -> None:
    """Raise AttestationError if this key signed the bundle: nobody vouches for himself."""
    if key.public == verified.signer:
        raise AttestationError(
            "the key that signed the bundle cannot attest it: that would be no independent word",
            where="--attest",
            expected="an examiner's own key",
            found=f"key {key.public.keyid}",
            hint="Name the examiner's private key with --attest-key.",
        )


def _inputs(
    verified: VerifiedBundle, raw: bytes, *, picture: bool, latents: bool, model: bool
) -> tuple[InputAttestation, ...]:
    exclusion = verified.exclusion
    files: list[FileDescriptor] = list(exclusion.model.files)
    named = [("bundle", sha256_hex(raw))]
    if picture or model:
        named.append(("picture", exclusion.accused.file.sha256))
    if latents or model:
        named.append(("latents", exclusion.latents.sha256))
    if model:
        named += [("model", file.sha256) for file in files]
    return tuple(
        InputAttestation.model_validate({"name": name, "digest": Digests(sha256=digest)})
        for name, digest in named
    )


def _lines(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(line[:_LONGEST] for line in lines)
