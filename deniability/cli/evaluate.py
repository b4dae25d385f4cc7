"""`deny evaluate`: how often the procedure is wrong on a model, measured and signed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deniability.cli.dating import Stamping, TsaOption, TsaRootOption
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
from deniability.cli.prove import Job, open_or_register
from deniability.cli.terminal import Output

if TYPE_CHECKING:
    from deniability.evidence.evaluate import Evaluated
    from deniability.wire.evaluation import Evaluation

#: A measurement that contradicts the promised rate, or own outputs farther than controls.
CONTRADICTED = 11


def evaluation_code(evaluation: Evaluation) -> int:
    """Return the exit code for an evaluation."""
    result = evaluation.result
    return 0 if result.promise_held and result.uniform else CONTRADICTED


@with_model_flags
def evaluate(
    model: Annotated[
        str, typer.Argument(help="Model file or folder; or builtin.", metavar="MODEL")
    ],
    nonmembers: Annotated[
        list[Path] | None,
        typer.Option(
            "--nonmembers",
            help="Folder of pictures that the model did not make; they are brought to its size. "
            "Repeatable.",
        ),
    ] = None,
    other: Annotated[
        list[str] | None,
        typer.Option(
            "--other",
            help="Another generator with outputs of the same size, described by its own "
            "generator.toml. Repeatable.",
        ),
    ] = None,
    family: Annotated[
        list[str] | None,
        typer.Option(
            "--family",
            help="Evaluate only this family of handling, such as lossless or saved-jpeg-75-420; "
            "repeatable. The evaluation says so.",
        ),
    ] = None,
    own: Annotated[int, typer.Option("--own", help="Own outputs in each family.")] = 300,
    strangers: Annotated[
        int,
        typer.Option(
            "--strangers", help="Outputs of each copy and other generator, in each family."
        ),
    ] = 30,
    registration: Annotated[
        Path | None,
        typer.Option("--registration", help="Default: MODEL.registration.json beside the model."),
    ] = None,
    preset: Preset = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The evaluation.")] = Path(
        "evaluation.json"
    ),
    plots: Annotated[
        Path | None,
        typer.Option("--plots", help="Folder for plots (PNG): calibration, ROC, residuals, cost."),
    ] = None,
    key: SigningKey = None,
    device: DeviceOption = Device.AUTO,
    executor: ExecutorOption = ExecutorName.LOCAL,
    ray_address: RayAddress = None,
    resume: Resume = False,
    force: Force = False,
    tsa: TsaOption = None,
    tsa_root: TsaRootOption = None,
    json: Json = False,
    quiet: Quiet = False,
    *,
    flags: ModelFlags,
) -> None:
    """Measure how often the procedure is wrong on a model: as promised (0), or not (11)."""
    from deniability.cli.keyfiles import read_signing_key, signing_key_path  # noqa: PLC0415
    from deniability.cli.outputs import latents_beside, refuse_loss  # noqa: PLC0415
    from deniability.cli.progress import reporting  # noqa: PLC0415
    from deniability.wire.protocol import preset as named  # noqa: PLC0415

    out = Output(json, quiet)
    if preset is not None:
        named(preset)
    others, folders = other or [], tuple(nonmembers or ())
    for option, names in (("--other", others), ("--nonmembers", [str(f) for f in folders])):
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise UsageError("the same twice", where=option, found=repeated[0])
    options = flags.options()
    stamping = Stamping.of(tsa, tsa_root)
    key_file = signing_key_path(key)
    signer = read_signing_key(key_file)
    with resumable(), open_executor(executor, ray_address, model, options) as workers:
        from deniability.evidence.evaluate import Extent  # noqa: PLC0415
        from deniability.evidence.evaluate import evaluate as measure  # noqa: PLC0415
        from deniability.evidence.evaluate_groups import Strangers  # noqa: PLC0415
        from deniability.evidence.register import registration_path  # noqa: PLC0415
        from deniability.generators.load import load_generator  # noqa: PLC0415

        registered = registration or registration_path(model)
        inputs = (Path(model), registered, latents_beside(registered), key_file)
        refuse_loss(output, what="evaluation", force=force, inputs=inputs)
        if plots is not None:
            _refuse_plots(plots, force=force)
        chosen = choose_device(device)
        generator = load_generator(model, device=chosen, options=options)
        brought = {name: load_generator(name, device=chosen) for name in others}
        job = Job(
            image=Path(),
            model=model,
            registration=registered,
            registration_named=registration is not None,
            preset=preset,
            output=output,
            figure=None,
            key_file=key_file,
            key=signer,
            resume=resume,
            executor=workers,
        )
        with reporting(out) as progress:
            done = measure(
                open_or_register(job, generator, progress),
                key=signer,
                output=output,
                strangers=Strangers(brought, folders),
                extent=Extent(own, strangers, tuple(family) if family else None),
                resume=resume,
                progress=progress,
                executor=workers,
            )
    stamping.stamp(out, output)
    raise typer.Exit(_tell(out, done, job, plots))


def _refuse_plots(folder: Path, *, force: bool) -> None:
    """Find out before hours of work that the plots can be drawn and written."""
    from deniability.cli.outputs import refuse_loss  # noqa: PLC0415
    from deniability.report.evaluation_plots import PLOTS, check_plots  # noqa: PLC0415

    check_plots(folder)
    for name in PLOTS:
        refuse_loss(folder / name, what="picture", force=force)


def _tell(out: Output, done: Evaluated, job: Job, plots: Path | None) -> int:
    from deniability.cli.keyfiles import public_file_of  # noqa: PLC0415
    from deniability.report.evaluation_plots import draw_evaluation  # noqa: PLC0415
    from deniability.report.wording import verify_command  # noqa: PLC0415

    evaluation = done.verified.evaluation
    code = evaluation_code(evaluation)
    public = public_file_of(job.key_file, job.key)
    light = verify_command(done.path, key=public)
    tell_evaluation(out, evaluation)
    drawn = [] if plots is None else draw_evaluation(plots, evaluation)
    for path in drawn:
        out.field("plot", str(path))
    out.field("evaluation", str(done.path))
    out.detail("Cite it in a bundle with: deny prove IMAGE --model MODEL --evaluation FILE")
    out.line(f"  {light}")
    out.result(
        evaluation_json(evaluation)
        | {
            "evaluation": str(done.path),
            "plots": [str(path) for path in drawn],
            "registration": str(job.registration),
            "payload": done.verified.payload_digest,
            "keyid": job.key.public.keyid,
            "verifyCommand": light,
        },
        exit_code=code,
    )
    return code


def tell_evaluation(out: Output, evaluation: Evaluation) -> None:
    """Print the result, the tables, what was not examined, and what it does not show."""
    from deniability.report.error_rate import (  # noqa: PLC0415
        cost_rows,
        evaluation_rows,
        laid_out,
        own_rows,
    )

    out.line(evaluation.result.sentence)
    for caption, rows in (
        ("Own outputs, by family:", own_rows(evaluation)),
        (
            "Denied, by group from near to far (of near ones nothing is promised):",
            evaluation_rows(evaluation),
        ),
        ("Cost of a picture:", cost_rows(evaluation)),
    ):
        out.line(caption)
        for line in laid_out(rows):
            out.line(f"  {line}")
    for group in evaluation.groups:
        out.detail(f"* {group.name}: {group.how}")
    for entry in evaluation.not_applied:
        out.field("not examined", f"{entry.name}: {entry.reason}")
    for line in evaluation.scope:
        out.detail(f"- {line}")


def evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return the result and every number as JSON, p-values of own outputs as fractions."""
    from deniability.stats.evaluation import own_p_values  # noqa: PLC0415

    families = []
    for family in evaluation.families:
        shown = family.to_wire()
        del shown["controls"]
        values = own_p_values(family, evaluation.protocol)
        families.append(
            shown
            | {
                "controls": len(family.controls.controls),
                "ownPValues": [[p.numerator, p.denominator] for p in values],
            }
        )
    return {
        "result": evaluation.result.to_wire(),
        "model": evaluation.model.digest,
        "protocol": evaluation.protocol.name,
        "groups": [group.to_wire() for group in evaluation.groups],
        "families": families,
        "narrowed": None if evaluation.narrowed is None else list(evaluation.narrowed),
        "notApplied": [entry.to_wire() for entry in evaluation.not_applied],
        "scope": list(evaluation.scope),
    }
