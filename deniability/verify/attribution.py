"""Section 20 of SPEC.md: several models examined for one picture, each as by `verify_bundle`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from deniability.crypto.keys import PublicKey
from deniability.errors import CommitmentError, StatisticsError
from deniability.stats.attribution import attribution_scope, decide_attribution
from deniability.verify.bundle import VerifiedBundle, verify_exclusion
from deniability.verify.envelope import SignedPayload, check_statement, verify_signature
from deniability.verify.exclusion import ReadExclusion
from deniability.verify.parse import parse_predicate
from deniability.verify.timestamps import Times
from deniability.verify.trust import TrustPolicy
from deniability.wire.attribution import Attribution
from deniability.wire.statement import ATTRIBUTION_TYPE, Statement


@dataclass(frozen=True)
class VerifiedAttribution:
    """An attribution that passed V0. Only this module makes one.

    Attributes:
        attribution: the predicate, every number of it recomputed.
        bundles: each candidate, in order, as if it were a bundle of its own. Their payload digest,
            signer and times are the attribution's.
        payload_digest: sha256 (hex) of the signed bytes.
        signer: the trusted key that signed it.
        times: what its timestamps show.

    """

    attribution: Attribution
    bundles: tuple[VerifiedBundle, ...]
    payload_digest: str
    signer: PublicKey
    times: Times


def verify_attribution(
    raw: bytes, *, trust: TrustPolicy, where: str = "attribution"
) -> VerifiedAttribution:
    """Verify an attribution's bytes at level V0.

    Raises:
        ParseError, UncheckedError, SignatureError, StatementError: as `verify_envelope`.
        CommitmentError: candidates repeated, out of order or about different pictures, or what
            `verify_bundle` refuses of one of them.
        StatisticsError: a finding does not follow.

    """
    signed = verify_signature(raw, trust=trust, where=where)
    statement = check_statement(signed.payload, predicate_type=ATTRIBUTION_TYPE, where=where)
    return verify_statement(signed, statement, trust=trust, where=where)


def verify_statement(
    signed: SignedPayload, statement: Statement, *, trust: TrustPolicy, where: str
) -> VerifiedAttribution:
    """Verify the statement of an attribution whose signature was checked.

    Raises as `verify_attribution`.
    """
    attribution = parse_predicate(statement.predicate, Attribution, where=where)
    _check_candidates(attribution, where)
    _check_picture(attribution, where)
    # Step 20.4: every candidate by the same steps as if it were alone; same subject, same signer.
    bundles = tuple(
        verify_exclusion(
            ReadExclusion(statement.subject, candidate),
            signed,
            trust=trust,
            where=_of(index, where),
        )
        for index, candidate in enumerate(attribution.candidates)
    )
    _check_chains(bundles, where)
    _check_finding(attribution, where)
    return VerifiedAttribution(
        attribution, bundles, signed.payload_digest, signed.signer, signed.times
    )


def _of(index: int, where: str) -> str:
    return f"{where}: candidates.{index}"


def _check_candidates(attribution: Attribution, where: str) -> None:
    # Step 20.2: no model and no registration twice, and an order that nobody chose.
    digests = [candidate.model.digest for candidate in attribution.candidates]
    for index, (before, after) in enumerate(pairwise(digests), start=1):
        if before >= after:
            raise CommitmentError(
                "the candidates are not in ascending order of their models' digests",
                where=f"{_of(index, where)}: model.digest",
                expected=f"one above {before}",
                found=after,
            )
    # One sentence speaks of all of them: the same ways were examined for each.
    alike = attribution.candidates[0]
    edits, narrowed = alike.protocol.edits, alike.narrowed
    for index, candidate in enumerate(attribution.candidates):
        for field, expected, found in (
            ("protocol.edits", edits, candidate.protocol.edits),
            ("narrowed", narrowed, candidate.narrowed),
        ):
            _equal(field, expected, found, _of(index, where), of="an attribution's candidates")
    seen: dict[str, int] = {}
    for index, candidate in enumerate(attribution.candidates):
        for field, value in (
            ("model.weights", candidate.model.weights),
            ("registration.payload", candidate.registration.payload),
        ):
            first = seen.setdefault(f"{field} {value}", index)
            if first != index:
                raise CommitmentError(
                    "the same model, or the same registration, twice",
                    where=f"{_of(index, where)}: {field}",
                    expected=f"another than that of candidate {first}",
                    found=value,
                )


def _check_picture(attribution: Attribution, where: str) -> None:
    # Step 20.3: one picture, decoded to the same pixels. That it is the subject is step 6 of each.
    first = attribution.candidates[0].accused
    for index, candidate in enumerate(attribution.candidates):
        accused = candidate.accused
        _equal("accused.file", attribution.picture, accused.file, _of(index, where))
        for field in ("format", "width", "height", "pixels"):
            expected, found = getattr(first, field), getattr(accused, field)
            _equal(f"accused.{field}", expected, found, _of(index, where))


def _equal(
    field: str,
    expected: object,
    found: object,
    where: str,
    *,
    of: str = "the one accused picture",
) -> None:
    if expected != found:
        raise CommitmentError(
            f"field {field} is not that of {of}",
            where=where,
            expected=str(expected)[:100],
            found=str(found)[:100],
        )


def _check_chains(bundles: tuple[VerifiedBundle, ...], where: str) -> None:
    # Step 20.5: one chain of registrations of the signer, or how it began, in all candidates.
    links = [bundle.chain.chain.links if bundle.chain else () for bundle in bundles]
    longest = max(links, key=len)
    for index, found in enumerate(links):
        if longest[: len(found)] != found:
            raise CommitmentError(
                "the chains of registrations in the candidates are not one chain: a split view",
                where=f"{_of(index, where)}: registration.chain",
                expected=f"the first links of the longest, which has {len(longest)}",
                found=f"{len(found)} links, another among them",
            )


def _check_finding(attribution: Attribution, where: str) -> None:
    # Step 20.6: scope and finding are computed again from the candidates.
    if attribution.scope != attribution_scope(attribution.candidates):
        raise CommitmentError(
            "field scope does not follow from what it commits to", where=where, found="other words"
        )
    computed, claimed = decide_attribution(attribution.candidates), attribution.finding
    for field in ("verdict", "reached", "excluded", "inconclusive", "sentence"):
        expected, found = getattr(computed, field), getattr(claimed, field)
        if expected != found:
            raise StatisticsError(
                f"field finding.{field} does not follow from the candidates",
                where=where,
                expected=str(expected)[:100],
                # A refusal does not lend its voice to what a forged sentence says.
                found="other words" if field == "sentence" else str(found)[:100],
            )
