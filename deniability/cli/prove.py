"""`deny prove`: search a model for an accused picture, and sign what was found."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
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
    ExecutorName,
    ExecutorOption,
    Force,
    Json,
    ModelFlags,
    Preset,
    Quiet,
    RayAddress,
    Resume,
    SigningKey,
    choose_device,
    open_executor,
    with_model_flags,
)
from deniability.cli.terminal import Output

if TYPE_CHECKING:
    from deniability.crypto.keys import PrivateKey
    from deniability.evidence.cite import Citation
    from deniability.evidence.progress import Progress
    from deniability.evidence.prove import Exhibit, Proof
    from deniability.evidence.register import OpenRegistration
    from deniability.generators.base import Generator
    from deniability.inversion.executor import Executor
    from deniability.verify.evaluation import VerifiedEvaluation
    from deniability.verify.trust import TrustPolicy
    from deniability.wire.edits import HandlingName
    from deniability.wire.exclusion import Exclusion
    from deniability.wire.protocol import Protocol


#: Exit codes by verdict (DESIGN section 6).
VERDICT_CODES = {"excluded": 0, "reached": 10, "inconclusive": 11}
#: Excluded, but only some of the preset's families of handling were searched.
NARROWED_CODE = 12
_SHOWN = 32  # numbers of a latent
HandlingOption = Annotated[
    list[str] | None,
    typer.Option(
        "--handling",
        help="Search only this family of handling of the preset (repeat for several; "
        "'unedited' for outputs as they are). The finding says so, and excluded exits with 12.",
    ),
]


def exit_code(exclusion: Exclusion) -> int:
    """Return the exit code for a finding."""
    verdict = exclusion.finding.verdict
    if verdict == "excluded" and exclusion.narrowed is not None:
        return NARROWED_CODE
    return VERDICT_CODES[verdict]


@dataclass(frozen=True)
class Job:
    """What one run of `prove` is to do.

    Attributes:
        image, model: the accused file, and what is accused of having made it.
        registration: to use, and whether it was named rather than found.
        preset: asked for, if any.
        output, figure: to write.
        key_file, key: to sign with.
        resume: go on with an interrupted run.
        stamping: authorities to ask for timestamps of the bundle.
        accused_at: when the accusation was made.
        executor: searches; this process if None.
        cited: binding of the service's outputs to the model.
        only: families of handling that the search is narrowed to.
        evaluated: evaluation of the procedure on this model, to be cited.

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
    stamping: Stamping = field(default_factory=Stamping)
    accused_at: datetime | None = None
    executor: Executor | None = None
    cited: Citation | None = None
    only: tuple[HandlingName, ...] | None = None
    evaluated: VerifiedEvaluation | None = None


@with_model_flags
def prove(
    images: Annotated[
        list[Path],
        typer.Argument(
            help="The accused picture, as received; or several, or a folder of them.",
            metavar="IMAGE...",
        ),
    ],
    model: Annotated[str, typer.Option("--model", help="Model file or folder; or builtin.")],
    registration: Annotated[
        Path | None,
        typer.Option("--registration", help="Default: MODEL.registration.json beside the model."),
    ] = None,
    preset: Preset = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The bundle; its latents go beside it. Default: bundle.json; of several pictures "
            "the folder, default: bundles.",
        ),
    ] = None,
    key: SigningKey = None,
    device: DeviceOption = Device.AUTO,
    executor: ExecutorOption = ExecutorName.LOCAL,
    ray_address: RayAddress = None,
    resume: Resume = False,
    force: Force = False,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", help="Picture of the case (PNG); default: beside the bundle."),
    ] = None,
    no_figure: Annotated[bool, typer.Option("--no-figure", help="Draw none.")] = False,
    tsa: TsaOption = None,
    tsa_root: TsaRootOption = None,
    accused_at: AccusedAtOption = None,
    binding: Annotated[
        Path | None,
        typer.Option(
            "--binding",
            help="What deny bind wrote of this model's service; it goes into the bundle.",
        ),
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(
            "--evaluation",
            help="What deny evaluate wrote of this model: the bundle cites it as the known error "
            "rate.",
        ),
    ] = None,
    handling: HandlingOption = None,
    json: Json = False,
    quiet: Quiet = False,
    *,
    flags: ModelFlags,
) -> None:
    """Search a model for an accused picture: excluded (0), reached (10), inconclusive (11).

    Excluded under narrowed handling exits with 12.
    """
    from deniability.cli.keyfiles import read_signing_key, signing_key_path  # noqa: PLC0415
    from deniability.cli.outputs import figure_beside  # noqa: PLC0415
    from deniability.cli.progress import reporting  # noqa: PLC0415
    from deniability.wire.protocol import preset as named  # noqa: PLC0415

    out = Output(json, quiet)
    if preset is not None:
        named(preset)
    if figure is not None and no_figure:
        raise UsageError("--figure and --no-figure exclude each other", where="--no-figure")
    options = flags.options()
    stamping = Stamping.of(tsa, tsa_root)
    accused = read_accused_at(accused_at)
    several = len(images) > 1 or images[0].is_dir()
    target = output or Path("bundles" if several else "bundle.json")
    if several and figure is not None:
        raise UsageError("one figure for several pictures", where="--figure", found=str(figure))
    drawn = None if no_figure else figure or figure_beside(target)
    key_file = signing_key_path(key)
    signer = read_signing_key(key_file)
    with resumable(), open_executor(executor, ray_address, model, options) as workers:
        from deniability.evidence.register import registration_path  # noqa: PLC0415

        job = Job(
            image=images[0],
            model=model,
            registration=registration or registration_path(model),
            registration_named=registration is not None,
            preset=preset,
            output=target,
            figure=drawn,
            key_file=key_file,
            key=signer,
            resume=resume,
            stamping=stamping,
            accused_at=accused,
            executor=workers,
            cited=None if binding is None else read_cited(binding, signer, stamping),
            only=narrowed_to(handling),
            evaluated=None if evaluation is None else read_evaluated(evaluation, signer, stamping),
        )

        def load() -> Generator:
            from deniability.generators.load import load_generator  # noqa: PLC0415

            return load_generator(model, device=choose_device(device), options=options)

        if several:
            from deniability.cli.prove_many import prove_many  # noqa: PLC0415

            raise typer.Exit(prove_many(out, images, job, force=force, load=load))
        refuse_losses(job, force=force)
        generator = load()
        with reporting(out) as progress:
            read_accused(job, generator)  # a wrong picture shows before hours of registration
            opened = open_or_register(job, generator, progress)
            proof, figure_file = run_job(job, opened, progress)
    raise typer.Exit(_tell(out, job, proof, figure_file))


def narrowed_to(names: list[str] | None) -> tuple[HandlingName, ...] | None:
    """Read the families of handling that a search is narrowed to; raises UsageError."""
    from deniability.wire.edits import EDITS  # noqa: PLC0415

    if not names:
        return None
    known: dict[str, HandlingName] = {"unedited": "unedited", **{name: name for name in EDITS}}
    for name in names:
        if name not in known:
            raise UsageError(
                "no such family of handling",
                where="--handling",
                expected=" or ".join(known),
                found=name,
            )
    return tuple(dict.fromkeys(known[name] for name in names))


def read_cited(path: Path, key: PrivateKey, stamping: Stamping) -> Citation:
    """Read the binding to cite, by this key or one of the trust store."""
    from deniability.evidence.cite import read_citation  # noqa: PLC0415

    return read_citation(path, trust=_own_and_trusted(key, stamping))


def read_evaluated(path: Path, key: PrivateKey, stamping: Stamping) -> VerifiedEvaluation:
    """Read the evaluation to cite, by this key or one of the trust store."""
    from deniability.evidence.cite import read_evaluation  # noqa: PLC0415

    return read_evaluation(path, trust=_own_and_trusted(key, stamping))


def _own_and_trusted(key: PrivateKey, stamping: Stamping) -> TrustPolicy:
    """Return the policy for what is cited: this key, the trust store, the authorities."""
    from deniability.verify.trust import (  # noqa: PLC0415
        TrustPolicy,
        default_trust_folder,
        load_trust_store,
    )

    keys = (key.public, *load_trust_store(default_trust_folder()).keys)
    return TrustPolicy(keys, stamping.roots)


def refuse_losses(job: Job, *, force: bool) -> None:
    """Refuse to write a result over something else; raises OutputError."""
    from deniability.cli.outputs import latents_beside, refuse_loss  # noqa: PLC0415

    found = job.registration
    inputs = (job.image, Path(job.model), found, latents_beside(found), job.key_file)
    refuse_loss(job.output, what="bundle", force=force, inputs=inputs)
    if job.figure is not None:
        results = (job.output, latents_beside(job.output))
        refuse_loss(job.figure, what="picture", force=force, inputs=(*inputs, *results))
    if not job.registration_named and not found.exists():  # it will be made
        refuse_loss(found, what="registration", force=force, inputs=(job.image, Path(job.model)))


def read_accused(job: Job, generator: Generator) -> Exhibit:
    """Read the picture; refuse a binding of another model, and an unwritable output."""
    from deniability.evidence.cite import check_citation  # noqa: PLC0415
    from deniability.evidence.prove import read_exhibit  # noqa: PLC0415
    from deniability.evidence.register import check_writable  # noqa: PLC0415

    exhibit = read_exhibit(job.image, generator, protocol=protocol_of(job), only=job.only)
    if job.cited is not None:
        check_citation(job.cited, generator)
    check_writable(job.output)
    return exhibit


def protocol_of(job: Job) -> Protocol | None:
    """Return the preset asked for, or that a registration names; for an early refusal only."""
    from deniability.crypto.encoding import b64decode_strict  # noqa: PLC0415
    from deniability.errors import ParseError  # noqa: PLC0415
    from deniability.verify.parse import (  # noqa: PLC0415
        MAX_BUNDLE_BYTES,
        parse_bundle,
        parse_statement,
    )
    from deniability.wire.files import read_capped  # noqa: PLC0415
    from deniability.wire.protocol import DEFAULT_PRESET, PRESETS, preset  # noqa: PLC0415

    if job.preset is not None:
        return preset(job.preset)
    where = str(job.registration)
    if not job.registration.exists():
        return preset(DEFAULT_PRESET)
    raw = read_capped(job.registration, MAX_BUNDLE_BYTES, what="registration")
    payload = parse_bundle(raw, where=where).dsse_envelope.payload
    predicate = parse_statement(b64decode_strict(payload, where, ParseError), where=where).predicate
    named = predicate.get("protocol")
    return PRESETS.get(str(named.get("name"))) if isinstance(named, dict) else None


def run_job(job: Job, opened: OpenRegistration, progress: Progress) -> tuple[Proof, Path | None]:
    """Search for one accused picture, sign, and draw the case."""
    from deniability.evidence.cite import signers  # noqa: PLC0415
    from deniability.evidence.prove import prove as prove_case  # noqa: PLC0415

    chain = chain_of(job, opened, progress)
    proof = prove_case(
        job.image,
        opened,
        key=job.key,
        output=job.output,
        resume=job.resume,
        progress=progress,
        chain=chain,
        cited=job.cited,
        executor=job.executor,
        only=job.only,
        evaluated=job.evaluated,
    )
    verified = job.stamping.stamp_bundle(proof.path, job.key, progress, also=signers(job.cited))
    proof = replace(proof, verified=verified)
    return proof, _draw(job, proof, opened.procedure.generator, progress)


def chain_of(job: Job, opened: OpenRegistration, progress: Progress) -> bytes | None:
    """Return the key's chain of registrations that has this one, and note it if there is none."""
    from deniability.evidence.chain import (  # noqa: PLC0415
        chain_beside,
        chain_for,
        default_chain_folder,
    )

    chain = chain_for(
        opened.verified.payload_digest,
        job.key,
        folder=default_chain_folder(),
        beside=chain_beside(job.registration),
    )
    if chain is None:
        progress.note(
            "The bundle has no chain of registrations: the registration is in none of this key."
        )
    return chain


def open_or_register(job: Job, generator: Generator, progress: Progress) -> OpenRegistration:
    """Open the registration, or make one where none was named and none is there."""
    from deniability.cli.register import protocol_for, run_registration  # noqa: PLC0415
    from deniability.evidence.register import check_writable, open_registration  # noqa: PLC0415
    from deniability.verify.trust import (  # noqa: PLC0415
        TrustPolicy,
        default_trust_folder,
        load_trust_store,
    )
    from deniability.wire.protocol import preset  # noqa: PLC0415

    if not job.registration_named and not job.registration.exists():
        progress.note(
            f"This model is not registered yet; it is registered first: {job.registration}"
        )
        check_writable(job.registration)
        return run_registration(
            generator,
            protocol_for(generator, progress.note) if job.preset is None else preset(job.preset),
            job.key,
            job.registration,
            resume=job.resume,
            progress=progress,
            executor=job.executor,
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


def _draw(job: Job, proof: Proof, generator: Generator, progress: Progress) -> Path | None:
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


def _tell(out: Output, job: Job, proof: Proof, figure: Path | None) -> int:
    from deniability.cli.keyfiles import public_file_of  # noqa: PLC0415
    from deniability.cli.outputs import latents_beside  # noqa: PLC0415
    from deniability.report.error_rate import error_rate_line  # noqa: PLC0415
    from deniability.report.wording import caveats, numbers, verify_command  # noqa: PLC0415

    exclusion = proof.verified.exclusion
    finding = exclusion.finding
    code = exit_code(exclusion)
    latents = latents_beside(proof.path)
    public = public_file_of(job.key_file, job.key)
    light = verify_command(proof.path, key=public)
    full = verify_command(proof.path, key=public, image=job.image, model=job.model)
    out.line(finding.sentence)
    verified = proof.verified
    for caveat in caveats(
        verified.dating,
        accused_at=job.accused_at,
        deployment=verified.deployment,
        narrowed=exclusion.narrowed,
    ):
        out.field("note", caveat)
    rate = error_rate_line(exclusion, compared=job.evaluated is not None)
    out.field("error rate", rate, detail=exclusion.evaluation is None)
    for name, text in numbers(exclusion):
        out.field(name, text)
    latent = _latent(proof)
    if latent is not None:
        shown = ", ".join(f"{value:.4f}" for value in latent[:_SHOWN])
        more = f", ... ({len(latent)} numbers, all in the latents file)"
        out.field("latent", shown + (more if len(latent) > _SHOWN else ""))
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
    latent = proof.traces[reached.family or 0].restarts[reached.restart].latent
    return None if latent is None else [float(value) for value in latent]
