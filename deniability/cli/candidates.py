"""`deny verify` of an attribution: every candidate as if it were a bundle of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deniability.cli.dating import check_dating
from deniability.cli.exhibits import check_image, check_sidecar, model_digests, run_replays
from deniability.cli.failure import UsageError
from deniability.cli.terminal import Output
from deniability.cli.verification import (
    FIRST_LINES,
    Level,
    VerificationReport,
    VerificationRequest,
)
from deniability.cli.verify_binding import check_deployment
from deniability.errors import CommitmentError, UncheckedError
from deniability.verify.timestamps import Times

if TYPE_CHECKING:
    from deniability.verify.attribution import VerifiedAttribution
    from deniability.verify.bundle import VerifiedBundle
    from deniability.verify.trust import TrustPolicy
    from deniability.verify.withdrawal import WithdrawalFile


@dataclass(frozen=True)
class Published:
    """What the verifier got elsewhere.

    Attributes:
        chain: the signer's chain of registrations.
        beacon: the value of a beacon's round.
        obtained: a list of what was obtained from a service.
        withdrawals: of bindings that candidates cite, among others.

    """

    chain: Path | None
    beacon: Path | None
    obtained: Path | None
    withdrawals: tuple[WithdrawalFile, ...]


def refuse_examiners(attest: Path | None, attestation: list[Path] | None) -> None:
    """Refuse what is about bundles only.

    Raises:
        UncheckedError: a summary was given, or asked for.

    """
    for option, given in (("--attest", attest), ("--attestation", attestation)):
        if given:
            raise UncheckedError(
                "an attribution cannot be attested",
                where=option,
                expected="a bundle, which is about one model",
                hint="Have a bundle by deny prove of each model attested, or leave this out.",
            )


def verify_candidates(
    out: Output,
    request: VerificationRequest,
    models: Sequence[str],
    verified: VerifiedAttribution,
    trust: TrustPolicy,
    source: str,
    published: Published,
    report: VerificationReport,
) -> None:
    """Check an attribution that passed V0 as far as what is at hand allows, and say how far."""
    given = _models_of(models, verified)
    level = request.level if len(given) == len(verified.bundles) else Level.V0
    if level < request.require:
        raise UncheckedError(
            f"level {request.require} of an attribution takes the model of every candidate",
            where="--model",
            expected=", ".join(b.exclusion.model.digest for b in verified.bundles),
            found=", ".join(given) or "none",
        )
    check_image(request, verified.bundles[0].exclusion, report)
    bundles: list[VerifiedBundle] = []
    for index, bundle in enumerate(verified.bundles):
        own = VerificationReport(accused_at=report.accused_at)
        # What the timestamps show of the file is said once.
        shown = bundle if index == 0 else replace(bundle, times=Times())
        check_dating(
            shown,
            trust,
            published=_where_there(published.chain, verified, bundle, "chain"),
            beacon_file=_where_there(published.beacon, verified, bundle, "beacon"),
            report=own,
        )
        brought = _list_for(published.obtained, verified, bundle)
        bundles.append(check_deployment(bundle, brought, published.withdrawals, own))
        model = given.get(bundle.exclusion.model.digest)
        _check_one(out, _request_for(request, bundle, model), bundle, own)
        _merge(report, own, bundle.exclusion.model.digest)
    if level is not Level.V2:
        report.unchecked.append(
            "V2 was not checked: whether a search of your own and fresh controls agree (needs "
            "every model and --replay N)."
        )
    _tell(out, level, replace(verified, bundles=tuple(bundles)), source, report)


def _models_of(models: Sequence[str], verified: VerifiedAttribution) -> dict[str, str]:
    """Return the model that the verifier brought of each candidate, by its digest."""
    found: dict[str, str] = {}
    for name in models:
        of = _candidate_of(name, verified)
        if of in found:
            raise UsageError("the same model twice", where="--model", found=name)
        found[of] = name
    return found


def _candidate_of(name: str, verified: VerifiedAttribution) -> str:
    """Return the digest of the candidate that has all files of a model.

    A folder's configuration alone tells no models apart: those of one make share it.
    """
    digests = model_digests(name)
    theirs = {
        bundle.exclusion.model.digest: {file.sha256 for file in bundle.exclusion.model.files}
        for bundle in verified.bundles
    }
    of = [digest for digest, files in theirs.items() if set(digests.values()) <= files]
    if len(of) != 1:
        raise CommitmentError(
            "not a model of this attribution, which says nothing about it",
            where=f"{next(iter(digests))}: predicate.candidates.model.files.sha256",
            expected=f"the files of one of its {len(verified.bundles)} models",
            found=" and ".join(digests.values())[:300],
        )
    return of[0]


def _where_there(
    path: Path | None, verified: VerifiedAttribution, bundle: VerifiedBundle, what: str
) -> Path | None:
    """Compare what the verifier brought with the candidates that have one; all, if none has."""

    def there(of: VerifiedBundle) -> bool:
        return (of.chain if what == "chain" else of.exclusion.beacon) is not None

    return path if there(bundle) or not any(map(there, verified.bundles)) else None


def _list_for(
    path: Path | None, verified: VerifiedAttribution, bundle: VerifiedBundle
) -> Path | None:
    """Compare a list with the bindings that have it; with all that were verified, if none has."""
    from deniability.crypto.digest import sha256_file  # noqa: PLC0415

    if path is None:
        return None
    digest = sha256_file(path)[0]
    cited = [(b, b.deployment.binding) for b in verified.bundles if b.deployment is not None]
    bound = [(b, binding) for b, binding in cited if binding is not None]
    same = [b for b, binding in bound if binding.obtained and binding.obtained.sha256 == digest]
    compared = same or [b for b, _ in bound] or verified.bundles
    return path if any(b is bundle for b in compared) else None


def _request_for(
    request: VerificationRequest, bundle: VerifiedBundle, model: str | None
) -> VerificationRequest:
    """Return the request for one candidate: its model, and its file of latents by its name."""
    folder = request.latents or request.bundle.parent
    if request.latents is not None and not folder.is_dir():
        raise UsageError(
            "the latents of an attribution are several files",
            where="--latents",
            expected="their folder",
            found=str(request.latents),
        )
    latents = folder / (Path(bundle.exclusion.latents.name).name or "latents")
    named = request.latents is not None or latents.is_file()
    return replace(
        request,
        model=model,
        replay=None if model is None else request.replay,
        latents=latents if named else None,
    )


def _check_one(
    out: Output, request: VerificationRequest, bundle: VerifiedBundle, report: VerificationReport
) -> None:
    sidecar = check_sidecar(request, bundle.exclusion.latents, report)
    if request.model is None:
        report.unchecked.append(
            "V1 was not checked: whether the latents give these residuals (needs --image and "
            "this --model)."
        )
    else:
        run_replays(request, bundle, sidecar, report, out)


def _merge(report: VerificationReport, own: VerificationReport, digest: str) -> None:
    """Add what is to be said of one candidate, under its name."""
    name = f"model sha256:{digest[:16]}"
    report.checked += [f"{name}: {line}" for line in own.checked]
    report.unchecked += [f"{name}: {line}" for line in own.unchecked]
    report.warnings += [f"{name}: {line}" for line in own.warnings]
    if own.borrowed:
        report.borrowed += own.borrowed
        report.warnings.append(
            f"{name}: taken from the attribution and not checked: the model's "
            + ", ".join(own.borrowed)
            + " (state them in generator.toml beside the model)"
        )
    report.replays += [{"model": digest, **replay} for replay in own.replays]
    report.isolation = report.isolation or own.isolation


def _tell(
    out: Output,
    level: Level,
    verified: VerifiedAttribution,
    source: str,
    report: VerificationReport,
) -> None:
    """Print the first lines, each candidate, what was and was not checked, and the scope."""
    from deniability.report.wording import candidate_line, candidates_caveats  # noqa: PLC0415

    attribution = verified.attribution
    finding, picture = attribution.finding, attribution.picture
    out.line(FIRST_LINES[level])
    out.line(finding.sentence)
    out.field("picture", f"{picture.name}, sha256 {picture.sha256}")
    out.field("signed by", f"key {verified.signer.keyid} ({source})")
    said = candidates_caveats(verified.bundles, accused_at=report.accused_at)
    caveats = [*said, *report.warnings]
    for caveat in caveats:
        out.field("note", caveat)
    for bundle in verified.bundles:
        out.field("model", candidate_line(bundle.exclusion))
    for line in (*report.checked, *report.unchecked):
        out.detail(f"* {line}")
    scopes = [line for bundle in verified.bundles for line in bundle.exclusion.scope]
    for line in dict.fromkeys([*attribution.scope, *scopes]):
        out.detail(f"- {line}")
    candidates: list[dict[str, Any]] = [
        {
            "model": bundle.exclusion.model.digest,
            "finding": bundle.exclusion.finding.to_wire(),
            "scope": list(bundle.exclusion.scope),
        }
        for bundle in verified.bundles
    ]
    out.result(
        {
            "verified": True,
            "level": level.value,
            "summary": FIRST_LINES[level],
            "finding": finding.to_wire(),
            "candidates": candidates,
            "picture": picture.to_wire(),
            "keyid": verified.signer.keyid,
            "payload": verified.payload_digest,
            "notes": caveats,
            "takenFromBundle": report.borrowed,
            "checked": report.checked,
            "notChecked": report.unchecked,
            "replays": report.replays,
            "isolation": report.isolation,
            "scope": list(attribution.scope),
        }
    )
