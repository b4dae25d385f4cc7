"""`deny prove`: search a model for an accused picture, and sign what was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
from deniability.cli.terminal import Output

if TYPE_CHECKING:
    from deniability.crypto.keys import PrivateKey
    from deniability.evidence.progress import Progress
    from deniability.evidence.prove import Proof
    from deniability.evidence.register import OpenRegistration
    from deniability.generators.base import Generator


#: Exit codes by verdict (DESIGN section 6).
VERDICT_CODES = {"excluded": 0, "reached": 10, "inconclusive": 11}
_SHOWN = 32  # numbers of a latent


@dataclass(frozen=True)
class _Job:
    """What one run of `prove` is to do.

    Attributes:
        image, model: the accused file, and what is accused of having made it.
        registration: to use, and whether it was named rather than found.
        preset: asked for, if any.
        output, figure: to write.
        key_file, key: to sign with.
        resume: go on with an interrupted run.

    """

    image: Path
    model: str
    registration: Path
    registration_named: bool
    preset: str | None
    output: Path
    figure: Path | None
    key_file: Path
    key: PrivateKey
    resume: bool


@with_model_flags
def prove(
    image: Annotated[Path, typer.Argument(help="The accused picture, as received.")],
    model: Annotated[str, typer.Option("--model", help="Model file; or builtin.")],
    registration: Annotated[
        Path | None,
        typer.Option("--registration", help="Default: MODEL.registration.json beside the model."),
    ] = None,
    preset: Preset = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The bundle; its latents go beside it.")
    ] = Path("bundle.json"),
    key: SigningKey = None,
    device: DeviceOption = Device.AUTO,
    resume: Resume = False,
    force: Force = False,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", help="Picture of the case (PNG); default: beside the bundle."),
    ] = None,
    no_figure: Annotated[bool, typer.Option("--no-figure", help="Draw none.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    *,
    flags: ModelFlags,
) -> None:
    """Search a model for an accused picture: excluded (0), reached (10), inconclusive (11)."""
    from deniability.cli.keyfiles import read_signing_key, signing_key_path  # noqa: PLC0415
    from deniability.cli.outputs import figure_beside, latents_beside, refuse_loss  # noqa: PLC0415
    from deniability.cli.progress import reporting  # noqa: PLC0415
    from deniability.wire.protocol import preset as named  # noqa: PLC0415

    out = Output(json, quiet)
    if preset is not None:
        named(preset)
    if figure is not None and no_figure:
        raise UsageError("--figure and --no-figure exclude each other", where="--no-figure")
    options = flags.options()
    drawn = None if no_figure else figure or figure_beside(output)
    key_file = signing_key_path(key)
    signer = read_signing_key(key_file)
    with resumable():
        from deniability.evidence.register import registration_path  # noqa: PLC0415

        found = registration or registration_path(model)
        inputs = (image, Path(model), found, latents_beside(found), key_file)
        refuse_loss(output, what="bundle", force=force, inputs=inputs)
        if drawn is not None:
            results = (output, latents_beside(output))
            refuse_loss(drawn, what="picture", force=force, inputs=(*inputs, *results))
        if registration is None and not found.exists():  # it will be made
            refuse_loss(found, what="registration", force=force, inputs=(image, Path(model)))
        from deniability.generators.load import load_generator  # noqa: PLC0415

        job = _Job(
            image=image,
            model=model,
            registration=found,
            registration_named=registration is not None,
            preset=preset,
            output=output,
            figure=drawn,
            key_file=key_file,
            key=signer,
            resume=resume,
        )
        generator = load_generator(model, device=choose_device(device), options=options)
        with reporting(out) as progress:
            proof, figure_file = _run(job, generator, progress)
    raise typer.Exit(_tell(out, job, proof, figure_file))


def _run(job: _Job, generator: Generator, progress: Progress) -> tuple[Proof, Path | None]:
    from deniability.evidence.prove import prove as prove_case  # noqa: PLC0415
    from deniability.evidence.prove import read_exhibit  # noqa: PLC0415
    from deniability.evidence.register import check_writable  # noqa: PLC0415

    read_exhibit(job.image, generator)  # a wrong picture shows before hours of registration
    check_writable(job.output)
    opened = _registration(job, generator, progress)
    proof = prove_case(
        job.image,
        opened,
        key=job.key,
        output=job.output,
        resume=job.resume,
        progress=progress,
    )
    return proof, _draw(job, proof, generator, progress)


def _registration(job: _Job, generator: Generator, progress: Progress) -> OpenRegistration:
    """Open the registration, or make one where none was named and none is there."""
    from deniability.cli.register import run_registration  # noqa: PLC0415
    from deniability.evidence.register import open_registration  # noqa: PLC0415
    from deniability.verify.trust import (  # noqa: PLC0415
        TrustPolicy,
        default_trust_folder,
        load_trust_store,
    )
    from deniability.wire.protocol import DEFAULT_PRESET, preset  # noqa: PLC0415

    if not job.registration_named and not job.registration.exists():
        progress.note(
            f"This model is not registered yet; it is registered first: {job.registration}"
        )
        return run_registration(
            generator,
            preset(job.preset or DEFAULT_PRESET),
            job.key,
            job.registration,
            resume=job.resume,
            progress=progress,
        )
    trust = TrustPolicy((job.key.public, *load_trust_store(default_trust_folder()).keys))
    opened = open_registration(job.registration, generator, trust=trust)
    found = opened.verified.registration.protocol.name
    if job.preset is not None and job.preset != found:
        raise UsageError(
            "the model is registered under another preset",
            where=str(job.registration),
            expected=job.preset,
            found=found,
            hint="Leave --preset out, or register under the other one with "
            "deny register --preset NAME -o FILE and name that file with --registration.",
        )
    return opened


def _draw(job: _Job, proof: Proof, generator: Generator, progress: Progress) -> Path | None:
    """Draw the case; a figure that cannot be drawn takes nothing from the finding."""
    from deniability.errors import DeniabilityError  # noqa: PLC0415
    from deniability.report.case import draw_case  # noqa: PLC0415

    if job.figure is None:
        return None
    try:
        return draw_case(job.figure, proof, generator)
    except DeniabilityError as error:
        progress.note(f"The figure could not be drawn: {error}")
        return None


def _tell(out: Output, job: _Job, proof: Proof, figure: Path | None) -> int:
    from deniability.cli.keyfiles import public_file_of  # noqa: PLC0415
    from deniability.cli.outputs import latents_beside  # noqa: PLC0415
    from deniability.report.wording import CAVEATS, numbers, verify_command  # noqa: PLC0415

    exclusion = proof.verified.exclusion
    finding = exclusion.finding
    code = VERDICT_CODES[finding.verdict]
    latents = latents_beside(proof.path)
    public = public_file_of(job.key_file, job.key)
    light = verify_command(proof.path, key=public)
    full = verify_command(proof.path, key=public, image=job.image, model=job.model)
    out.line(finding.sentence)
    for name, text in numbers(exclusion):
        out.field(name, text)
    latent = _latent(proof)
    if latent is not None:
        shown = ", ".join(f"{value:.4f}" for value in latent[:_SHOWN])
        more = f", ... ({len(latent)} numbers, all in the latents file)"
        out.field("latent", shown + (more if len(latent) > _SHOWN else ""))
    for caveat in CAVEATS:
        out.field("note", caveat)
    out.field("bundle", str(proof.path))
    out.field("latents", str(latents))
    if figure is not None:
        out.field("figure", f"{figure} (it shows the accused picture)")
    out.detail("Hand over the bundle, its latents and your public key; then anyone can run:")
    out.line(f"  {light}")
    out.detail(f"  {full}")
    if public is None:
        out.detail(
            f"The public key is not beside {job.key_file}. Make it with: "
            f"openssl pkey -in {job.key_file} -pubout -out SIGNER.pub.pem"
        )
    result: dict[str, Any] = {
        "finding": finding.to_wire(),
        "latent": latent,
        "bundle": str(proof.path),
        "latents": str(latents),
        "figure": None if figure is None else str(figure),
        "registration": str(job.registration),
        "payload": proof.verified.payload_digest,
        "keyid": job.key.public.keyid,
        "verifyCommand": light,
        "fullVerifyCommand": full,
    }
    out.result(result, exit_code=code)
    return code


def _latent(proof: Proof) -> list[float] | None:
    """Return the latent that makes the picture, if one was found."""
    reached = proof.verified.exclusion.finding.reached
    if reached is None:
        return None
    latent = proof.trace.restarts[reached.restart].latent
    return None if latent is None else [float(value) for value in latent]
