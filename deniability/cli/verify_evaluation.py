"""What `deny verify` makes of an evaluation: alone, and beside the bundle that cites it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deniability.cli.failure import UsageError
from deniability.cli.terminal import Output
from deniability.cli.verification import (
    FIRST_LINES,
    Level,
    VerificationReport,
    VerificationRequest,
)

if TYPE_CHECKING:
    from deniability.verify.bundle import VerifiedBundle
    from deniability.verify.trust import TrustPolicy
    from deniability.verify.withdrawal import WithdrawalFile

_V0_CHECKED = (
    "V0 checked: the bytes, the signature, the subjects, the model's digests, the protocol, the "
    "controls and their seeds, that no family and no copy of the model is missing, and every rate, "
    "bound, p-value, test and the result, computed again from the residuals."
)
_UNCHECKED = (
    "Not checked: the residuals themselves. They are the signer's word; no picture was made and no "
    "search was run again."
)


def verify_evaluation_file(
    out: Output,
    raw: bytes,
    request: VerificationRequest,
    trust: TrustPolicy,
    source: str,
    obtained: Path | None,
    withdrawals: tuple[WithdrawalFile, ...],
) -> None:
    """Verify an evaluation at V0, and say what that leaves open.

    Raises:
        UsageError: a picture or model was brought, which nothing would be done with.
        DeniabilityError: as `verify_evaluation`.

    """
    from deniability.cli.evaluate import evaluation_json, tell_evaluation  # noqa: PLC0415
    from deniability.verify.evaluation import verify_evaluation  # noqa: PLC0415
    from deniability.verify.withdrawal import refuse_withdrawn  # noqa: PLC0415

    for option, value in (
        ("--image", request.image),
        ("--model", request.model),
        ("--latents", request.latents),
        ("--obtained", obtained),
    ):
        if value is not None:
            raise UsageError(
                "not an option for an evaluation",
                where=option,
                hint="It is checked at V0; to measure again, run deny evaluate yourself.",
            )
    where = str(request.bundle)
    verified = verify_evaluation(raw, trust=trust, where=where)
    report = VerificationReport(checked=[_V0_CHECKED], unchecked=[_UNCHECKED])
    report.warnings += refuse_withdrawn(
        withdrawals,
        signer=verified.signer,
        payload_digest=verified.payload_digest,
        stamped=verified.times.earliest,
        where=where,
    )
    report.add_withdrawals(len(withdrawals))
    for stamp in verified.times.stamps:
        report.checked.append(
            f"It existed at {stamp.time:%Y-%m-%dT%H:%M:%SZ}, says {stamp.authority}."
        )
    first = f"{FIRST_LINES[Level.V0]}: the residuals are the signer's word"
    out.line(first)
    tell_evaluation(out, verified.evaluation)
    out.field("signed by", f"key {verified.signer.keyid} ({source})")
    for note in report.warnings:
        out.field("note", note)
    for line in (*report.checked, *report.unchecked):
        out.detail(f"* {line}")
    out.result(
        evaluation_json(verified.evaluation)
        | {
            "verified": True,
            "level": Level.V0.value,
            "summary": first,
            "keyid": verified.signer.keyid,
            "payload": verified.payload_digest,
            "notes": report.warnings,
            "checked": report.checked,
            "notChecked": report.unchecked,
        }
    )


def compare_evaluation(
    path: Path | None, verified: VerifiedBundle, trust: TrustPolicy, report: VerificationReport
) -> bool:
    """Hold the evaluation that was brought against what a bundle cites; tell whether it was.

    Raises:
        UncheckedError: its signer is not trusted.
        CommitmentError: the bundle cites none, another, or other figures.

    """
    from deniability.errors import CommitmentError  # noqa: PLC0415
    from deniability.verify.cited import check_against  # noqa: PLC0415
    from deniability.verify.evaluation import verify_evaluation  # noqa: PLC0415
    from deniability.verify.parse import MAX_BUNDLE_BYTES  # noqa: PLC0415
    from deniability.wire.files import read_capped  # noqa: PLC0415

    if path is None:
        if verified.exclusion.evaluation is not None:
            report.unchecked.append(
                "The known error rate was not compared with the evaluation that is cited (use "
                "--evaluation FILE)."
            )
        return False
    if verified.exclusion.evaluation is None:
        raise CommitmentError(
            "the bundle cites no evaluation", where="--evaluation", found=str(path)
        )
    raw = read_capped(path, MAX_BUNDLE_BYTES, what="evaluation")
    evaluated = verify_evaluation(raw, trust=trust, where=str(path))
    check_against(verified.exclusion, evaluated, where=str(path))
    report.checked.append(
        "The evaluation that you brought is the one cited, holds at V0, and says these figures: "
        + evaluated.evaluation.result.sentence
    )
    return True
