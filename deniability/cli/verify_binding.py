"""What `deny verify` makes of a binding: alone, and inside the bundle that cites it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deniability.cli.exhibits import borrowed, check_model_file, check_sidecar, described
from deniability.cli.failure import UsageError
from deniability.cli.options import choose_device
from deniability.cli.terminal import Output
from deniability.cli.verification import (
    FIRST_LINES,
    Level,
    VerificationReport,
    VerificationRequest,
)
from deniability.errors import CommitmentError, UncheckedError, WithdrawnError

if TYPE_CHECKING:
    from deniability.verify.binding import VerifiedBinding
    from deniability.verify.bundle import VerifiedBundle
    from deniability.verify.trust import TrustPolicy
    from deniability.verify.withdrawal import WithdrawalFile
    from deniability.wire.binding import Binding

_V0_CHECKED = (
    "V0 checked: the bytes, the signature, the subjects, the model's digests, the protocol, the "
    "thresholds, which pictures were found, the list, and the result, computed again."
)


def refuse_others(given: Mapping[str, object]) -> None:
    """Refuse options that mean nothing for such a file.

    Raises:
        UsageError: one was given.

    """
    for option, value in given.items():
        if value is not None:
            raise UsageError(
                "not an option for a file of this kind",
                where=option,
                hint="Verify the bundle that it belongs to with this option.",
            )


def verify_binding_file(
    out: Output,
    raw: bytes,
    request: VerificationRequest,
    trust: TrustPolicy,
    source: str,
    obtained: Path | None,
    withdrawals: tuple[WithdrawalFile, ...],
) -> None:
    """Verify a binding and say how far.

    Raises:
        DeniabilityError: as `verify_binding`; or what the pictures or the list contradict.

    """
    from deniability.verify.binding import verify_binding  # noqa: PLC0415
    from deniability.verify.withdrawal import refuse_withdrawn  # noqa: PLC0415

    where = str(request.bundle)
    verified = verify_binding(raw, trust=trust, where=where)
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
    if obtained is not None:
        _compare_list(verified.binding, obtained, report)
    images = _check_folder(request, verified.binding, report)
    sidecar = check_sidecar(request, verified.binding.latents, report)
    if request.level is Level.V0:
        report.unchecked.append(
            "V1 was not checked: whether the latents give these residuals (needs --image FOLDER "
            "and --model)."
        )
    else:
        _replay(request, verified, images, sidecar, report, out)
    _tell(out, request.level, verified, source, report)


def _replay(
    request: VerificationRequest,
    verified: VerifiedBinding,
    images: list[Path],
    sidecar: Path | None,
    report: VerificationReport,
    out: Output,
) -> None:
    """Level V1: in an isolated child, or here where there is none and the model is trusted."""
    from deniability.cli.isolation import plan, replay_binding_isolated  # noqa: PLC0415
    from deniability.cli.progress import reporting  # noqa: PLC0415

    if request.model is None or sidecar is None:
        return
    binding = verified.binding
    report.borrowed = borrowed(request, binding.generator)
    if report.borrowed and request.require is not Level.V0:
        raise UncheckedError(
            f"level {request.require} is not reached: the model's description would come from the "
            "binding",
            where=", ".join(report.borrowed),
            hint="State it yourself, in generator.toml beside the model or by options.",
        )
    check_model_file(request.model, binding.model)
    how = plan(request, trust_model=request.trust_model)
    report.isolation = {"mechanism": "none", "reason": how.why_not}
    with reporting(out) as progress:
        if how.isolation is None:
            from deniability.evidence.replay.binding import replay_binding  # noqa: PLC0415
            from deniability.generators.load import load_generator  # noqa: PLC0415

            report.warnings.append(how.sentence)
            generator = load_generator(
                request.model,
                device=choose_device(request.device),
                options=request.flags.options(),
                fallback=described(binding.generator),
            )
            found = replay_binding(
                verified, images=images, generator=generator, sidecar=sidecar, progress=progress
            )
            _add(report, found.lines)
            report.replays.append(found.to_json())
            return
        answer = replay_binding_isolated(
            how.isolation, request, verified, images, sidecar, progress
        )
    report.isolation = how.isolation.to_json()
    _add(report, answer.lines[0])
    report.replays.extend(answer.values)
    report.checked.append(how.sentence)


def _add(report: VerificationReport, lines: tuple[str, ...]) -> None:
    for line in lines:
        if line.startswith("Not checked"):
            report.unchecked.append(line)
        else:
            report.checked.append(f"V1 checked: {line}")


def _compare_list(binding: Binding, path: Path, report: VerificationReport) -> None:
    """Compare the list in a binding with that of whoever obtained the outputs.

    Raises:
        UncheckedError: the binding has none.
        CommitmentError: they differ.

    """
    from deniability.crypto.digest import sha256_file  # noqa: PLC0415

    if binding.obtained is None:
        raise UncheckedError(
            "the binding has no list of what was obtained: its signer chose the pictures",
            where="--obtained",
            hint="Ask the signer to bind again, with deny bind --obtained LIST.",
        )
    found = sha256_file(path)[0]
    if found != binding.obtained.sha256:
        raise CommitmentError(
            "the list of what was obtained is another one than the binding's",
            where=f"{path}: obtained.sha256",
            expected=binding.obtained.sha256,
            found=found,
        )
    report.checked.append(
        f"The list of {binding.obtained.count} files that you brought is the binding's; all of "
        "them are among its pictures, and no others."
    )


def _check_folder(
    request: VerificationRequest, binding: Binding, report: VerificationReport
) -> list[Path]:
    """Find the pictures by their digests, if they are there; nothing is decoded.

    Raises:
        CommitmentError: one is missing or another one.

    """
    from deniability.crypto.digest import sha256_file  # noqa: PLC0415
    from deniability.errors import InputError  # noqa: PLC0415

    if request.image is None:
        report.unchecked.append("The pictures were not compared (use --image FOLDER).")
        return []
    folder = request.image
    try:
        there = [path for path in sorted(folder.iterdir()) if path.is_file()]
    except OSError as cause:
        raise InputError(
            "cannot be read",
            where=str(folder),
            expected="the folder with the binding's pictures",
            found=cause.strerror,
        ) from cause
    found = {sha256_file(path)[0]: path for path in there}
    for picture in binding.pictures:
        if picture.file.sha256 not in found:
            raise CommitmentError(
                "a picture of the binding is not in the folder",
                where=f"{folder}: {picture.file.name}",
                expected=picture.file.sha256,
            )
    report.checked.append(f"All {len(binding.pictures)} pictures are there, byte for byte.")
    return [found[picture.file.sha256] for picture in binding.pictures]


def check_deployment(
    verified: VerifiedBundle,
    obtained: Path | None,
    withdrawals: tuple[WithdrawalFile, ...],
    report: VerificationReport,
) -> VerifiedBundle:
    """Hold what the verifier brought against the binding that a bundle cites.

    A binding that was taken back shows nothing any more; the finding does not rest on it.

    Raises:
        UncheckedError: a list was brought, and there is nothing to compare it with.
        CommitmentError: the list is another one.

    """
    deployment = verified.deployment
    if deployment is None or deployment.binding is None or deployment.signer is None:
        if obtained is not None:
            raise UncheckedError(
                "the bundle has no binding that could be verified, so no list to compare",
                where="--obtained",
            )
        return verified
    from deniability.verify.withdrawal import refuse_withdrawn  # noqa: PLC0415

    binding = deployment.binding
    try:
        refuse_withdrawn(
            withdrawals,
            signer=deployment.signer,
            payload_digest=str(deployment.payload_digest),
            stamped=deployment.time,
            where="the binding",
        )
    except WithdrawnError as taken_back:
        deployment = replace(deployment, withdrawn=taken_back.what)
    if obtained is not None:
        _compare_list(binding, obtained, report)
        deployment = replace(deployment, listed=True)
    report.checked.append(
        f"The binding in the bundle: {binding.result.sentence} It was checked at V0 only; deny "
        "verify on its own file goes further."
    )
    return replace(verified, deployment=deployment)


def _tell(
    out: Output, level: Level, verified: VerifiedBinding, source: str, report: VerificationReport
) -> None:
    first = FIRST_LINES[level]
    out.line(first)
    from deniability.cli.bind import binding_json, tell_binding  # noqa: PLC0415

    tell_binding(out, verified.binding)
    out.field("signed by", f"key {verified.signer.keyid} ({source})")
    notes = list(report.warnings)
    if report.borrowed:
        notes.append(
            "taken from the binding and not checked: the model's " + ", ".join(report.borrowed)
        )
    for note in notes:
        out.field("note", note)
    for line in (*report.checked, *report.unchecked):
        out.detail(f"* {line}")
    out.result(
        binding_json(verified.binding)
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
