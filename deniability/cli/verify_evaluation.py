"""What `deny verify` makes of an evaluation: alone, and beside the bundle that cites it."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deniability.cli.exhibits import borrowed, check_model_file, described
from deniability.cli.failure import UsageError
from deniability.cli.options import choose_device
from deniability.cli.outputs import latents_beside
from deniability.cli.terminal import Output
from deniability.cli.verification import (
    FIRST_LINES,
    Level,
    VerificationReport,
    VerificationRequest,
)
from deniability.crypto.digest import sha256_file
from deniability.errors import CommitmentError, DeniabilityError, InputError, UncheckedError
from deniability.verify.parse import MAX_BUNDLE_BYTES
from deniability.wire.files import read_capped
from deniability.wire.statement import EVALUATION_TYPE

if TYPE_CHECKING:
    from deniability.evidence.progress import Progress
    from deniability.verify.bundle import VerifiedBundle, VerifiedRegistration
    from deniability.verify.evaluation import VerifiedEvaluation
    from deniability.verify.trust import TrustPolicy
    from deniability.verify.withdrawal import WithdrawalFile
    from deniability.wire.evaluation import Evaluation

_V0_CHECKED = (
    "V0 checked: the bytes, the signature, the subjects, the model's digests, the protocol, the "
    "controls and their seeds, that no family and no copy of the model is missing, and every rate, "
    "bound, p-value, test and the result, computed again from the residuals."
)
_UNCHECKED = (
    "Not checked: the residuals themselves. They are the signer's word; no picture was made and no "
    "search was run again (use --model, and --replay N)."
)
_FIRST = {
    Level.V0: f"{FIRST_LINES[Level.V0]}: the residuals are the signer's word",
    Level.V1: "authentic and consistent; its rule was measured again on the model, the search was "
    "not re-run: the residuals are the signer's word",
    Level.V2: "authentic and consistent; its rule was measured again on the model and the search "
    "was re-run in part",
}


def is_evaluation(raw: bytes) -> bool:
    """Tell whether a file says that it is an evaluation; nothing of it is verified here."""
    try:
        payload = base64.b64decode(json.loads(raw)["dsseEnvelope"]["payload"], validate=True)
        return bool(json.loads(payload)["predicateType"] == EVALUATION_TYPE)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def verify_evaluation_file(
    out: Output,
    raw: bytes,
    request: VerificationRequest,
    trust: TrustPolicy,
    source: str,
    withdrawals: tuple[WithdrawalFile, ...],
) -> None:
    """Verify an evaluation and say how far.

    Raises:
        UsageError: pictures or a registration were brought, and no model to use them with.
        DeniabilityError: as `verify_evaluation`; or what the model contradicts.

    """
    from deniability.verify.evaluation import verify_evaluation  # noqa: PLC0415
    from deniability.verify.withdrawal import refuse_withdrawn  # noqa: PLC0415

    if request.model is None:
        for option, value in (("--image", request.image), ("--registration", request.registration)):
            if value is not None:
                raise UsageError(
                    "nothing is done with it without the model",
                    where=option,
                    hint="Name the model with --model.",
                )
    where = str(request.bundle)
    verified = verify_evaluation(raw, trust=trust, where=where)
    report = VerificationReport(checked=[_V0_CHECKED])
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
    if request.model is None:
        report.unchecked.append(_UNCHECKED)
    else:
        _replay(request, request.model, verified, trust, report, out)
    _tell(out, request.level, verified, source, report)


def _replay(
    request: VerificationRequest,
    model: str,
    verified: VerifiedEvaluation,
    trust: TrustPolicy,
    report: VerificationReport,
    out: Output,
) -> None:
    """V1 and V2: in an isolated child, or here where there is none and the model is trusted."""
    from deniability.cli.isolation import plan, replay_evaluation_isolated  # noqa: PLC0415
    from deniability.cli.progress import reporting  # noqa: PLC0415

    evaluation = verified.evaluation
    report.borrowed = borrowed(request, evaluation.generator)
    if report.borrowed and request.require is not Level.V0:
        raise UncheckedError(
            f"level {request.require} is not reached: the model's description would come from the "
            "evaluation",
            where=", ".join(report.borrowed),
            hint="State it yourself, in generator.toml beside the model or by options.",
        )
    check_model_file(model, evaluation.model)
    pictures = _pictures(request.folders, evaluation)
    path, registration = _registration(request, model, verified, trust, report)
    request = replace(request, registration=path)
    how = plan(request, trust_model=request.trust_model)
    report.isolation = {"mechanism": "none", "reason": how.why_not}
    with reporting(out) as progress:
        if how.isolation is None:
            report.warnings.append(how.sentence)
            _replay_here(request, model, verified, trust, pictures, report, progress)
            return
        answer = replay_evaluation_isolated(
            how.isolation, request, verified, registration, pictures, progress
        )
    report.isolation = how.isolation.to_json()
    for level, lines in zip((Level.V1, Level.V2), answer.lines, strict=False):
        _add(report, level, lines, request.level)
    report.replays.extend(answer.values)
    report.checked.append(how.sentence)


def _replay_here(
    request: VerificationRequest,
    model: str,
    verified: VerifiedEvaluation,
    trust: TrustPolicy,
    pictures: dict[str, list[Path]],
    report: VerificationReport,
    progress: Progress,
) -> None:
    from deniability.evidence.replay.evaluation import replay_evaluation  # noqa: PLC0415
    from deniability.evidence.replay.evaluation_case import open_evaluation  # noqa: PLC0415
    from deniability.evidence.replay.evaluation_search import replay_measured  # noqa: PLC0415
    from deniability.generators.load import load_generator  # noqa: PLC0415

    evaluation = verified.evaluation
    generator = load_generator(
        model,
        device=choose_device(request.device),
        options=request.flags.options(),
        fallback=described(evaluation.generator),
        expected=[file.sha256 for file in evaluation.model.files],
    )
    case = open_evaluation(
        verified,
        generator=generator,
        registration=request.registration,
        trust=trust,
        pictures=pictures,
        progress=progress,
    )
    first = replay_evaluation(case, progress=progress)
    _add(report, Level.V1, first.lines, request.level)
    report.replays.append(first.to_json())
    if request.replay is not None:
        second = replay_measured(case, count=request.replay, progress=progress)
        _add(report, Level.V2, second.lines, request.level)
        report.replays.append(second.to_json())


def _add(report: VerificationReport, level: Level, lines: tuple[str, ...], reached: Level) -> None:
    """Sort sentences into what was checked and, of the last level, what was not."""
    for line in lines:
        if not line.startswith("Not checked"):
            report.checked.append(f"{level.upper()} checked: {line}")
        elif level is reached:
            report.unchecked.append(line)


def _pictures(folders: tuple[Path, ...], evaluation: Evaluation) -> dict[str, list[Path]]:
    """Find the pictures of each group of the signer's by their digests; nothing is decoded.

    Raises:
        InputError: a folder cannot be read.
        CommitmentError: folders were brought, and no group is there as a whole.

    """
    there: dict[str, Path] = {}
    for folder in folders:
        try:
            paths = [path for path in sorted(folder.iterdir()) if path.is_file()]
        except OSError as cause:
            raise InputError(
                "cannot be read",
                where=str(folder),
                expected="a folder with pictures of the evaluation",
                found=cause.strerror,
            ) from cause
        there |= {sha256_file(path)[0]: path for path in paths}
    found: dict[str, list[Path]] = {}
    for group in evaluation.groups:
        wanted = [file.sha256 for file in group.files or ()]
        if group.name.startswith("nonmembers-") and set(wanted) <= there.keys():
            found[group.name] = [there[digest] for digest in wanted]
    if folders and not found:
        raise CommitmentError(
            "the folders do not hold the pictures of any group of the evaluation",
            where="--image",
            found=", ".join(map(str, folders))[:300],
        )
    return found


def _registration(
    request: VerificationRequest,
    model: str,
    verified: VerifiedEvaluation,
    trust: TrustPolicy,
    report: VerificationReport,
) -> tuple[Path | None, VerifiedRegistration | None]:
    """Find and verify the registration that an evaluation names.

    Raises:
        UncheckedError: its signer is not trusted, or its latents file is not beside it.
        CommitmentError: the one that was brought is another.

    """
    from deniability.evidence.register import registration_path  # noqa: PLC0415
    from deniability.verify.bundle import verify_registration  # noqa: PLC0415

    path = request.registration or registration_path(model)
    wanted = verified.evaluation.registration.payload
    try:
        raw = read_capped(path, MAX_BUNDLE_BYTES, what="registration")
        found = verify_registration(raw, trust=trust, where=str(path))
        if found.payload_digest != wanted:
            raise CommitmentError(
                "not the registration that the evaluation names",
                where=str(path),
                expected=f"payload sha256 {wanted}",
                found=found.payload_digest,
            )
        if not latents_beside(path).exists():
            raise UncheckedError(
                "the latents file is not beside the registration",
                where=str(latents_beside(path)),
                expected=f"sha256 {found.registration.sidecar.sha256}",
            )
    except DeniabilityError:
        if request.registration is not None:
            raise
        return None, None  # whatever is beside the model: it was not asked for
    report.checked.append(f"The registration that it names is {path}, signed by a trusted key.")
    return path, found


def _tell(
    out: Output,
    level: Level,
    verified: VerifiedEvaluation,
    source: str,
    report: VerificationReport,
) -> None:
    from deniability.cli.evaluate import evaluation_json, tell_evaluation  # noqa: PLC0415

    first = _FIRST[level]
    out.line(first)
    tell_evaluation(out, verified.evaluation)
    out.field("signed by", f"key {verified.signer.keyid} ({source})")
    notes = list(report.warnings)
    if report.borrowed:
        notes.append(
            "taken from the evaluation and not checked: the model's " + ", ".join(report.borrowed)
        )
    for note in notes:
        out.field("note", note)
    for line in (*report.checked, *report.unchecked):
        out.detail(f"* {line}")
    out.result(
        evaluation_json(verified.evaluation)
        | {
            "verified": True,
            "level": level.value,
            "summary": first,
            "keyid": verified.signer.keyid,
            "payload": verified.payload_digest,
            "notes": notes,
            "takenFromBundle": report.borrowed,
            "checked": report.checked,
            "notChecked": report.unchecked,
            "replays": report.replays,
            "isolation": report.isolation,
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
