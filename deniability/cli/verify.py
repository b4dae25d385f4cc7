"""`deny verify`: check a bundle as far as what is at hand allows, and say how far that was."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deniability.cli.attestation import (
    Witnesses,
    add_attested,
    check_level,
    refuse_own_bundle,
    signing_examiner,
    write_attestation,
)
from deniability.cli.dating import (
    AccusedAtOption,
    TsaRootOption,
    check_dating,
    read_accused_at,
    read_roots,
)
from deniability.cli.exhibits import check_image, check_sidecar, run_replays
from deniability.cli.failure import UsageError
from deniability.cli.options import (
    Device,
    DeviceOption,
    Json,
    ModelFlags,
    Quiet,
    with_model_flags,
)
from deniability.cli.terminal import Output
from deniability.cli.verification import (
    Level,
    VerificationReport,
    VerificationRequest,
    check_request,
    tell,
)
from deniability.cli.verify_binding import (
    check_deployment,
    refuse_others,
    verify_binding_file,
)
from deniability.cli.verify_evaluation import (
    compare_evaluation,
    is_evaluation,
    verify_evaluation_file,
)
from deniability.cli.withdraw import check_withdrawals, read_withdrawals
from deniability.errors import StatementError
from deniability.wire.statement import BINDING_TYPE, EVALUATION_TYPE

if TYPE_CHECKING:
    from deniability.verify.attribution import VerifiedAttribution
    from deniability.verify.bundle import VerifiedBundle
    from deniability.verify.trust import TrustPolicy

_V0_CHECKED = (
    "V0 checked: the bytes, the signature, the subject, the model's digests, the protocol, every "
    "seed, every commitment, and the finding, computed again from the residuals."
)


@with_model_flags
def verify(
    bundle: Annotated[
        Path, typer.Argument(help="The bundle; or an attribution, a binding or an evaluation.")
    ],
    image: Annotated[
        list[Path] | None,
        typer.Option(
            "--image",
            help="The accused picture; of a binding the folder of its pictures, of an evaluation "
            "that of strangers' pictures, repeatable there.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="The model: V1. It is run, isolated. Of an attribution repeat it for every "
            "candidate.",
        ),
    ] = None,
    trust_model: Annotated[
        bool,
        typer.Option(
            "--trust-model",
            help="I trust this model's maker: run it even where it cannot be isolated.",
        ),
    ] = False,
    time_limit: Annotated[
        int | None,
        typer.Option(
            "--time-limit",
            min=1,
            help="Seconds that the isolated model may run; default: an hour, with --replay a day.",
        ),
    ] = None,
    memory_limit: Annotated[
        int | None,
        typer.Option(
            "--memory-limit",
            min=1,
            help="GiB that the isolated model may use; default: three quarters of this machine's.",
        ),
    ] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option("--key", help="Public key of a signer to trust; default: the trust store."),
    ] = None,
    latents: Annotated[
        Path | None,
        typer.Option(
            "--latents",
            help="Default: the file beside the bundle; of an attribution the folder of the files.",
        ),
    ] = None,
    replay: Annotated[
        int | None,
        typer.Option(
            "--replay",
            min=1,
            help="V2: search again, with this many fresh controls of your own; of an evaluation "
            "for so many pictures of each group.",
        ),
    ] = None,
    require: Annotated[
        Level, typer.Option("--require", help="Fail unless this level is reached.")
    ] = Level.V0,
    device: DeviceOption = Device.AUTO,
    attestation: Annotated[
        list[Path] | None,
        typer.Option("--attestation", help="What an examiner signed with --attest; repeatable."),
    ] = None,
    examiner: Annotated[
        list[Path] | None,
        typer.Option(
            "--examiner", help="Public key of an examiner whose word you take; repeatable."
        ),
    ] = None,
    examiners: Annotated[
        int,
        typer.Option("--examiners", min=1, help="How many different examiners have to state it."),
    ] = 1,
    withdrawal: Annotated[
        list[Path] | None,
        typer.Option(
            "--withdrawal", help="Withdrawal or revocation, or a folder of them; repeatable."
        ),
    ] = None,
    attest: Annotated[
        Path | None,
        typer.Option("--attest", help="Sign what was checked here, as an examiner: file to write."),
    ] = None,
    attest_key: Annotated[
        Path | None,
        typer.Option("--attest-key", help="Private key for --attest; default: deny keygen's."),
    ] = None,
    tsa_root: TsaRootOption = None,
    accused_at: AccusedAtOption = None,
    chain: Annotated[
        Path | None,
        typer.Option("--chain", help="The signer's chain of registrations as published elsewhere."),
    ] = None,
    beacon_file: Annotated[
        Path | None,
        typer.Option("--beacon-file", help="The beacon's round as you got it yourself (JSON)."),
    ] = None,
    obtained: Annotated[
        Path | None,
        typer.Option(
            "--obtained",
            help="The list of outputs of the service, as you got it from whoever obtained them: "
            "that of the binding has to be the same.",
        ),
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(
            "--evaluation",
            help="The evaluation that the bundle cites: its figures have to be the same.",
        ),
    ] = None,
    registration: Annotated[
        Path | None,
        typer.Option(
            "--registration",
            help="The registration that an evaluation names, its latents file beside it. Default: "
            "MODEL.registration.json beside the model, if it is that one.",
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    *,
    flags: ModelFlags,
) -> None:
    """Check a bundle: V0 alone, V1 with --image and --model, V2 with --replay too."""
    from deniability.verify.bundle import VerifiedBundle  # noqa: PLC0415

    out = Output(json, quiet)
    models, images = model or [], image or []
    witnesses = Witnesses(tuple(attestation or ()), tuple(examiner or ()), examiners)
    report = VerificationReport(checked=[_V0_CHECKED], accused_at=read_accused_at(accused_at))
    request = VerificationRequest(
        bundle,
        next(iter(images), None),
        next(iter(models), None),
        *(latents, flags, replay, device, require),
        vouched=bool(witnesses.files),
        trust_model=trust_model,
        time_limit=time_limit,
        memory_limit=memory_limit,
        folders=tuple(images),
        registration=registration,
    )
    raw = _read_for(request)
    signing = signing_examiner(attest, attest_key)
    withdrawals = read_withdrawals(withdrawal)
    trust, source = _trust(key, tsa_root)
    try:
        verified = _verify_bytes(raw, bundle, trust)
    except StatementError as cause:
        if cause.found not in {BINDING_TYPE, EVALUATION_TYPE}:
            raise
        refuse_others(
            {
                "--accused-at": accused_at,
                "--attest": attest,
                "--attestation": attestation,
                "--beacon-file": beacon_file,
                "--chain": chain,
                "--evaluation": evaluation,
                "--model (the second)": models[1:] or None,
            }
        )
        if cause.found == EVALUATION_TYPE:
            refuse_others({"--latents": latents, "--obtained": obtained})
            verify_evaluation_file(out, raw, request, trust, source, withdrawals)
        else:
            refuse_others({"--replay": replay})
            verify_binding_file(out, raw, request, trust, source, obtained, withdrawals)
        return
    if not isinstance(verified, VerifiedBundle):
        from deniability.cli.candidates import (  # noqa: PLC0415
            Published,
            refuse_examiners,
            verify_candidates,
        )

        refuse_examiners(attest, attestation)
        refuse_others({"--evaluation": evaluation})
        report.warnings += check_withdrawals(withdrawals, verified, bundle)
        report.add_withdrawals(len(withdrawals))
        published = Published(chain, beacon_file, obtained, withdrawals)
        verify_candidates(out, request, models, verified, trust, source, published, report)
        return
    if len(models) > 1:
        raise UsageError("several models for a bundle about one", where="--model", found=models[1])
    check_dating(verified, trust, published=chain, beacon_file=beacon_file, report=report)
    report.warnings += check_withdrawals(withdrawals, verified, bundle)
    verified = check_deployment(verified, obtained, withdrawals, report)
    report.add_withdrawals(len(withdrawals))
    attested = witnesses.heard(verified, withdrawals, trust)
    check_level(request, attested)
    if signing is not None:
        refuse_own_bundle(verified, signing)
    check_image(request, verified.exclusion, report)
    sidecar = check_sidecar(request, verified.exclusion.latents, report)
    if request.level is not Level.V0:
        run_replays(request, verified, sidecar, report, out)
    report.unchecked += _levels_left(request.level)
    if attest is not None and signing is not None:
        write_attestation(
            attest, signing, verified, raw, request, report, latents=sidecar is not None
        )
    add_attested(report, request, attested)
    tell(
        *(out, request.level, verified, source, report),
        evaluated=compare_evaluation(evaluation, verified, trust, report),
    )


def _read_for(request: VerificationRequest) -> bytes:
    """Read the file; refuse what is of no use for it, or cannot reach the level asked for."""
    raw = _read(request.bundle)
    evaluated = request.unusual and is_evaluation(raw)
    check_request(request, request.require, pictures=not evaluated)
    if evaluated:
        return raw
    if request.registration is not None:
        raise UsageError("an option for an evaluation alone", where="--registration")
    if len(request.folders) > 1:
        raise UsageError("several pictures for one", where="--image", found=str(request.folders[1]))
    return raw


def _levels_left(reached: Level) -> list[str]:
    """Say which levels were not checked, and what they need."""
    lines = {
        Level.V1: "V1 was not checked: whether the latents give these residuals (needs --image and "
        "--model).",
        Level.V2: "V2 was not checked: whether a search of your own and fresh controls agree "
        "(needs --replay N).",
    }
    return [line for level, line in lines.items() if level > reached]


def _trust(keys: list[Path] | None, roots: list[Path] | None) -> tuple[TrustPolicy, str]:
    from deniability.verify.trust import (  # noqa: PLC0415
        TrustPolicy,
        default_trust_folder,
        load_trust_store,
    )

    authorities = read_roots(roots)
    if keys:
        policy, source = TrustPolicy.from_key_files(keys), "given with --key"
    else:
        folder = default_trust_folder()
        policy, source = load_trust_store(folder), f"trusted in {folder}"
    return replace(policy, tsa_roots=authorities), source


def _read(path: Path) -> bytes:
    from deniability.errors import ParseError  # noqa: PLC0415
    from deniability.verify.parse import MAX_BUNDLE_BYTES  # noqa: PLC0415
    from deniability.wire.files import read_capped  # noqa: PLC0415

    return read_capped(path, MAX_BUNDLE_BYTES, what="bundle", too_large=ParseError)


def _verify_bytes(
    raw: bytes, path: Path, trust: TrustPolicy
) -> VerifiedBundle | VerifiedAttribution:
    # A trace is a hundred thousand objects that all stay, and none of them is garbage.
    enabled = gc.isenabled()
    gc.disable()
    try:
        from deniability.verify.finding import verify_finding  # noqa: PLC0415

        return verify_finding(raw, trust=trust, where=str(path))
    finally:
        if enabled:
            gc.enable()
