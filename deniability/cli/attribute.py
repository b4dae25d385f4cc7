"""`deny attribute`: which of several models made a picture, if any of them did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deniability.cli.dating import (
    AccusedAtOption,
    Stamping,
    TsaOption,
    TsaRootOption,
    read_accused_at,
)
from deniability.cli.failure import UsageError, resumable
from deniability.cli.options import (
    Device,
    DeviceOption,
    Force,
    Json,
    ModelFlags,
    Preset,
    Quiet,
    Resume,
    SigningKey,
    choose_device,
    with_model_flags,
)
from deniability.cli.prove import (
    NARROWED_CODE,
    HandlingOption,
    Job,
    chain_of,
    narrowed_to,
    open_or_register,
    read_accused,
)
from deniability.cli.terminal import Output

if TYPE_CHECKING:
    from deniability.evidence.attribute import Attributed
    from deniability.evidence.progress import Progress
    from deniability.evidence.register import OpenRegistration
    from deniability.generators.base import Generator
    from deniability.verify.attribution import VerifiedAttribution
    from deniability.verify.trust import TrustPolicy
    from deniability.wire.attribution import Attribution

#: Exit codes by verdict: 0 where the question is answered, 11 where it is not.
ATTRIBUTION_CODES = {"attributed": 0, "none-of-these": 0, "several": 11, "inconclusive": 11}


def attribution_code(attribution: Attribution) -> int:
    """Return the exit code for an attribution; the first of those for narrowed handling is 12."""
    code = ATTRIBUTION_CODES[attribution.finding.verdict]
    narrowed = attribution.candidates[0].narrowed is not None
    return NARROWED_CODE if code == 0 and narrowed else code


@with_model_flags
def attribute(
    image: Annotated[Path, typer.Argument(help="The accused picture, as received.")],
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            help="Model file or folder, or builtin; repeat it for every candidate. Each is "
            "described by its own generator.toml; flags below are of all of them.",
        ),
    ],
    registration: Annotated[
        list[Path] | None,
        typer.Option(
            "--registration",
            help="Registration of one of the models, told by its digest; repeatable. Default: "
            "MODEL.registration.json beside each model.",
        ),
    ] = None,
    preset: Preset = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="The attribution; the latents of each model go beside it."
        ),
    ] = Path("attribution.json"),
    key: SigningKey = None,
    device: DeviceOption = Device.AUTO,
    resume: Resume = False,
    force: Force = False,
    tsa: TsaOption = None,
    tsa_root: TsaRootOption = None,
    accused_at: AccusedAtOption = None,
    handling: HandlingOption = None,
    json: Json = False,
    quiet: Quiet = False,
    *,
    flags: ModelFlags,
) -> None:
    """Search several models for a picture: attributed to one, or none of these (0); or not (11).

    Exit code 0: attributed to one of the models, or none of these. 11: several reach it and cannot
    be told apart, or it is inconclusive. 12: as 0, but under narrowed handling.
    """
    from deniability.cli.keyfiles import read_signing_key, signing_key_path  # noqa: PLC0415
    from deniability.cli.progress import reporting  # noqa: PLC0415
    from deniability.wire.protocol import preset as named  # noqa: PLC0415

    out = Output(json, quiet)
    if preset is not None:
        named(preset)
    if repeated := sorted({name for name in model if model.count(name) > 1}):
        raise UsageError("the same model twice", where="--model", found=repeated[0])
    options = flags.options()
    stamping = Stamping.of(tsa, tsa_root)
    accused = read_accused_at(accused_at)
    key_file = signing_key_path(key)
    signer = read_signing_key(key_file)
    with resumable():
        from deniability.evidence.attribute import check_models  # noqa: PLC0415
        from deniability.evidence.register import registration_path  # noqa: PLC0415
        from deniability.generators.load import load_generator  # noqa: PLC0415

        chosen = choose_device(device)
        generators = {name: load_generator(name, device=chosen, options=options) for name in model}
        check_models(generators)
        given = _given_registrations(registration or [], generators, _registrars(signer.public))
        jobs = {
            name: Job(
                image=image,
                model=name,
                registration=given.get(name) or registration_path(name),
                registration_named=name in given,
                preset=preset,
                output=output,
                figure=None,
                key_file=key_file,
                key=signer,
                resume=resume,
                stamping=stamping,
                accused_at=accused,
                only=narrowed_to(handling),
            )
            for name in model
        }
        _refuse_losses(list(jobs.values()), generators, force=force)
        with reporting(out) as progress:
            done = _run(jobs, generators, progress)
            stamping.stamp_quietly(output, progress, what="attribution")
            verified = _read_again(done, signer.public, stamping)
    raise typer.Exit(_tell(out, jobs, generators, done, verified))


def _registrars(key: Any) -> TrustPolicy:
    """Return whose registrations are taken: one's own key's, and those of the trust store."""
    from deniability.verify.trust import (  # noqa: PLC0415
        TrustPolicy,
        default_trust_folder,
        load_trust_store,
    )

    return TrustPolicy((key, *load_trust_store(default_trust_folder()).keys))


def _given_registrations(
    paths: list[Path], generators: dict[str, Generator], trust: TrustPolicy
) -> dict[str, Path]:
    """Tell of which model each named registration is; raises UsageError if of none, or twice."""
    from deniability.verify.bundle import verify_registration  # noqa: PLC0415
    from deniability.verify.parse import MAX_BUNDLE_BYTES  # noqa: PLC0415
    from deniability.wire.files import read_capped  # noqa: PLC0415

    found: dict[str, Path] = {}
    for path in paths:
        raw = read_capped(path, MAX_BUNDLE_BYTES, what="registration")
        digest = verify_registration(raw, trust=trust, where=str(path)).registration.model.digest
        names = [name for name, generator in generators.items() if generator.digest == digest]
        if not names:
            raise UsageError(
                "this registration is of none of the models",
                where=f"--registration {path}",
                expected="that of a model named with --model",
                found=f"model sha256:{digest}",
            )
        if names[0] in found:
            raise UsageError(
                "two registrations of one model",
                where=f"--registration {path}",
                found=f"{found[names[0]]}, of {names[0]} too",
            )
        found[names[0]] = path
    return found


def _refuse_losses(jobs: list[Job], generators: dict[str, Generator], *, force: bool) -> None:
    """Refuse to write a result over something else; raises OutputError."""
    from deniability.cli.outputs import (  # noqa: PLC0415
        latents_beside,
        refuse_latents,
        refuse_loss,
    )
    from deniability.evidence.attribute import candidate_sidecar  # noqa: PLC0415

    output = jobs[0].output
    inputs = [jobs[0].image, jobs[0].key_file]
    for job in jobs:
        inputs += [Path(job.model), job.registration, latents_beside(job.registration)]
    refuse_loss(output, what="attribution", force=force, inputs=tuple(inputs))
    for job in jobs:
        side = candidate_sidecar(output, generators[job.model].digest)
        # An interrupted run has written those of the models that it finished.
        over = force or job.resume
        refuse_latents(side, what="attribution", force=over, inputs=tuple(inputs))
        if not job.registration_named and not job.registration.exists():  # it will be made
            refuse_loss(
                job.registration,
                what="registration",
                force=force,
                inputs=(job.image, *(Path(other.model) for other in jobs)),
            )


def _run(jobs: dict[str, Job], generators: dict[str, Generator], progress: Progress) -> Attributed:
    from deniability.evidence.attribute import (  # noqa: PLC0415
        Candidate,
        attribute,
        check_sizes,
    )
    from deniability.wire.protocol import preset  # noqa: PLC0415

    jobs = _with_presets(jobs)
    # A wrong picture shows before hours of registration.
    families = [len(read_accused(job, generators[name]).families) for name, job in jobs.items()]
    opened: dict[str, OpenRegistration] = {}
    protocols = []
    for name, job in jobs.items():
        if job.registration_named or job.registration.exists():
            opened[name] = open_or_register(job, generators[name], progress)
            protocols.append(opened[name].procedure.protocol)
        else:
            assert job.preset is not None  # noqa: S101 - `_with_presets` has seen to it
            protocols.append(preset(job.preset))
    check_sizes(protocols, families)
    for name, job in jobs.items():
        if name not in opened:
            opened[name] = open_or_register(job, generators[name], progress)
    # Only now: each of these registrations has made the chain longer.
    candidates = [
        Candidate(opened[name], chain_of(job, opened[name], progress)) for name, job in jobs.items()
    ]
    job = next(iter(jobs.values()))
    return attribute(
        job.image,
        candidates,
        key=job.key,
        output=job.output,
        resume=job.resume,
        progress=progress,
        only=job.only,
    )


def _with_presets(jobs: dict[str, Job]) -> dict[str, Job]:
    """Name the preset of models that are still to be registered: that of the others, if any."""
    from deniability.cli.prove import protocol_of  # noqa: PLC0415
    from deniability.wire.protocol import SEVERAL_PRESET  # noqa: PLC0415

    there = [job for job in jobs.values() if job.registration_named or job.registration.exists()]
    used = protocol_of(there[0]) if there else None
    name = SEVERAL_PRESET if used is None else used.name
    return {
        model: job if job in there or job.preset is not None else replace(job, preset=name)
        for model, job in jobs.items()
    }


def _read_again(done: Attributed, key: Any, stamping: Stamping) -> VerifiedAttribution:
    """Read the timestamped file with the user's roots."""
    from deniability.verify.attribution import verify_attribution  # noqa: PLC0415
    from deniability.verify.parse import MAX_BUNDLE_BYTES  # noqa: PLC0415
    from deniability.verify.trust import TrustPolicy  # noqa: PLC0415
    from deniability.wire.files import read_capped  # noqa: PLC0415

    return verify_attribution(
        read_capped(done.path, MAX_BUNDLE_BYTES, what="attribution"),
        trust=TrustPolicy((key,), stamping.roots),
        where=str(done.path),
    )


def _tell(
    out: Output,
    jobs: dict[str, Job],
    generators: dict[str, Generator],
    done: Attributed,
    verified: VerifiedAttribution,
) -> int:
    from deniability.cli.keyfiles import public_file_of  # noqa: PLC0415
    from deniability.report.wording import (  # noqa: PLC0415
        candidate_line,
        candidates_caveats,
        verify_command,
    )

    finding = verified.attribution.finding
    code = attribution_code(verified.attribution)
    names = {generator.digest: name for name, generator in generators.items()}
    job = next(iter(jobs.values()))
    public = public_file_of(job.key_file, job.key)
    light = verify_command(done.path, key=public)
    full = verify_command(done.path, key=public, image=job.image, model=list(jobs))
    out.line(finding.sentence)
    for caveat in candidates_caveats(verified.bundles, accused_at=job.accused_at):
        out.field("note", caveat)
    results = []
    for bundle, side in zip(verified.bundles, done.sidecars, strict=True):
        exclusion = bundle.exclusion
        name = names[exclusion.model.digest]
        out.field("model", f"{name}, {candidate_line(exclusion)}")
        out.field("latents", str(side))
        results.append(
            {
                "model": name,
                "digest": exclusion.model.digest,
                "finding": exclusion.finding.to_wire(),
                "registration": str(jobs[name].registration),
                "latents": str(side),
            }
        )
    out.field("attribution", str(done.path))
    out.detail("Hand over the attribution, the latents and your public key; then anyone can run:")
    out.line(f"  {light}")
    out.detail(f"  {full}")
    out.result(
        {
            "finding": finding.to_wire(),
            "candidates": results,
            "attribution": str(done.path),
            "payload": verified.payload_digest,
            "keyid": job.key.public.keyid,
            "verifyCommand": light,
            "fullVerifyCommand": full,
        },
        exit_code=code,
    )
    return code
