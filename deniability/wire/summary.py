"""Predicate `verification_summary/v1` (SLSA, in-toto VSA): what an examiner checked of a bundle."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from deniability.wire.base import Sha256Hex, Text, Timestamp, WireModel
from deniability.wire.controls import Count
from deniability.wire.exclusion import Verdict
from deniability.wire.statement import Digests

#: The type is SLSA's; what is ours in it stands in `deniabilityChecks`.
SUMMARY_TYPE = "https://slsa.dev/verification_summary/v1"
_VERIFIER = "urn:deniability:verifier:sha256:"
_RESOURCE = "urn:deniability:payload:sha256:"
_POLICY = "urn:deniability:protocol:"

CheckedLevel = Literal["DENIABILITY_V0", "DENIABILITY_V1", "DENIABILITY_V2"]
#: Each level includes those before it.
CHECKED_LEVELS: tuple[CheckedLevel, ...] = ("DENIABILITY_V0", "DENIABILITY_V1", "DENIABILITY_V2")
Line = Annotated[tuple[Text, ...], Field(max_length=256)]


class VerifierVersion(WireModel):
    """The software that checked."""

    deniability: Text


class Verifier(WireModel):
    """Who checked: `id` is made from the key that signs the summary."""

    id: Text
    version: VerifierVersion


class VerificationPolicy(WireModel):
    """By which rules: the bundle's protocol."""

    uri: Text
    digest: Digests


class InputAttestation(WireModel):
    """A file that was read to check.

    Attributes:
        name: what it was used as. There is one `model` for each of the model's files.
        digest: of the file.

    """

    name: Literal["bundle", "picture", "latents", "model"]
    digest: Digests


class DeniabilityChecks(WireModel):
    """What SLSA has no fields for.

    Attributes:
        payload: sha256 of the bundle's signed payload.
        signer: name of the key that signed the bundle.
        verdict: of the bundle's finding.
        checked, not_checked: sentences, as `deny verify` said them.
        fresh_controls: m of level V2.
        taken_from_bundle: facts about the model that the examiner did not state himself.

    """

    payload: Sha256Hex
    signer: Sha256Hex
    verdict: Verdict
    checked: Line
    not_checked: Line
    fresh_controls: Count | None = None
    taken_from_bundle: Line


class VerificationSummary(WireModel):
    """Predicate `verification_summary/v1`; its subject is the accused file, as in the bundle."""

    verifier: Verifier
    time_verified: Timestamp
    resource_uri: Text
    policy: VerificationPolicy
    input_attestations: Annotated[
        tuple[InputAttestation, ...], Field(min_length=1, max_length=4100)
    ]
    verification_result: Literal["PASSED", "FAILED"]
    verified_levels: Annotated[tuple[CheckedLevel, ...], Field(max_length=len(CHECKED_LEVELS))]
    deniability_checks: DeniabilityChecks


def verifier_id(keyid: str) -> str:
    """Return the `verifier.id` of whoever signs with this key."""
    return _VERIFIER + keyid


def resource_uri(payload: str) -> str:
    """Return the `resourceUri` of the bundle with this payload digest."""
    return _RESOURCE + payload


def policy_of(name: str, digest: str) -> VerificationPolicy:
    """Return the policy that a protocol is."""
    return VerificationPolicy(uri=_POLICY + name, digest=Digests(sha256=digest))
