"""`deny enumerate`: generate every seed of a range, and compare it with a picture."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deniability.cli.failure import UsageError, resumable
from deniability.cli.options import (
    Device,
    DeviceOption,
    ExecutorName,
    ExecutorOption,
    Json,
    ModelFlags,
    Quiet,
    RayAddress,
    Resume,
    choose_device,
    open_executor,
    with_model_flags,
)
from deniability.cli.quantities import duration
from deniability.cli.terminal import Output

if TYPE_CHECKING:
    from deniability.enumeration.compare import Near
    from deniability.evidence.enumerate import Enumeration
    from deniability.generators.base import Generator

#: Exit codes, as those of `prove`: a seed makes the picture; one may, or some were not compared.
REACHED, INCONCLUSIVE = 10, 11
_RANGE = re.compile(r"([0-9]{1,78})(?::([0-9]{1,78}))?")
_TOO_LONG = 86_400.0  # seconds for all seeds, if none are named


@with_model_flags
def enumerate_seeds(
    image: Annotated[Path, typer.Argument(help="The accused picture, as received.")],
    model: Annotated[str, typer.Option("--model", help="Model file or folder; or builtin.")],
    seeds: Annotated[
        str | None,
        typer.Option(
            "--seeds",
            help="Compare only these: FIRST:LAST, or one. Default: all that the entropy source "
            "has.",
        ),
    ] = None,
    nearest: Annotated[
        int, typer.Option("--nearest", min=1, max=1000, help="How many of the nearest to show.")
    ] = 5,
    device: DeviceOption = Device.AUTO,
    executor: ExecutorOption = ExecutorName.LOCAL,
    ray_address: RayAddress = None,
    resume: Resume = False,
    json: Json = False,
    quiet: Quiet = False,
    *,
    flags: ModelFlags,
) -> None:
    """Generate the picture of every seed and compare it: none makes it (0), or one does (10).

    11: none does, but one is close, or not all could be compared. It signs nothing. Which seeds
    there are follows from the model's entropy source and seed bits.
    """
    from deniability.cli.progress import reporting  # noqa: PLC0415

    out, wanted, options = Output(json, quiet), _range(seeds), flags.options()
    with resumable(), open_executor(executor, ray_address, model, options) as workers:
        from deniability.evidence.enumerate import (  # noqa: PLC0415
            default_state_folder,
            enumerate_seeds,
        )
        from deniability.generators.load import load_generator  # noqa: PLC0415

        generator = load_generator(model, device=choose_device(device), options=options)
        if wanted is None:
            _refuse_endless(generator)
        with reporting(out) as progress:
            done = enumerate_seeds(
                image,
                generator,
                wanted,
                nearest=nearest,
                state=default_state_folder(image, generator, wanted),
                resume=resume,
                progress=progress,
                executor=workers,
            )
    raise typer.Exit(_tell(out, generator, done, nearest))


def _range(text: str | None) -> range | None:
    """Read FIRST:LAST; raises UsageError."""
    if text is None:
        return None
    match = _RANGE.fullmatch(text.strip())
    first, last = (0, -1) if match is None else (int(match[1]), int(match[2] or match[1]))
    if match is None or last < first or last >= 1 << 256:
        raise UsageError(
            "not a range of seeds", where="--seeds", expected="FIRST:LAST, or one seed", found=text
        )
    return range(first, last + 1)


def _refuse_endless(generator: Generator) -> None:
    """Refuse to begin with all seeds where that takes days; raises UsageError."""
    from deniability.evidence.enumerate import expected_seconds  # noqa: PLC0415

    count, seconds = expected_seconds(generator)
    if seconds <= _TOO_LONG:
        return
    entropy = generator.spec.entropy
    raise UsageError(
        "all seeds are too many",
        where="--seeds",
        expected="a range of them",
        found=f"{count:,} of {entropy.source} (2^{count.bit_length() - 1}), about "
        f"{_years(seconds)} on this device",
        hint=f"Name those that can have been used, such as --seeds 0:{min(count, 10**6) - 1}; or "
        f"all, with --seeds 0:{count - 1}.",
    )


def _years(seconds: float) -> str:
    days = seconds / 86400
    return duration(seconds) if days < 1000 else f"{days / 365:.1e} years"


def _tell(out: Output, generator: Generator, done: Enumeration, most: int) -> int:
    compared, entropy = done.compared, generator.spec.entropy
    first, last = done.seeds.start, done.seeds.stop - 1
    code = {"none": 0, "reached": REACHED}.get(done.answer, INCONCLUSIVE)
    extent = "all there are" if done.complete else f"of {done.space:,}; other seeds were not"
    labels = "" if done.labels == 1 else f", each with all {done.labels} labels"
    out.line("Not evidence: nothing is signed, and who doubts it has to run it again.")
    out.line(
        f"Nothing statistical: every seed from {first} to {last} was generated and compared: "
        f"{compared.seeds:,}, {extent}{labels}."
    )
    out.line(_answer(done))
    if compared.not_finite:
        out.field("note", f"{compared.not_finite} outputs were not finite: nothing is said of them")
    if entropy.source == "torch-cpu":
        out.detail(
            "torch draws numbers that differ in their last bits between processors: a picture "
            "that was made elsewhere can be missed by a little. Look at the nearest."
        )
    out.field("entropy", f"{entropy.source}, {entropy.seed_bits} seed bits", detail=True)
    for near in compared.nearest[:most]:
        out.field("nearest", _line(near, done))
    out.result(
        {
            "seeds": {"first": str(first), "last": str(last)},
            "compared": str(compared.seeds),
            "complete": done.complete,
            "labels": done.labels,
            "answer": str(done.answer),
            "threshold": f"{done.threshold:.5e}",
            "seedsReached": compared.reached,
            "notFinite": compared.not_finite,
            "pixelForPixel": done.exact,
            "nearest": [
                {"seed": str(near.seed), "residual": f"{near.residual:.5e}"}
                | ({} if done.labels == 1 else {"label": near.label})
                for near in compared.nearest[:most]
            ],
            "entropy": entropy.to_wire(),
            "model": generator.digest,
            "picture": done.file,
            "signed": False,
        },
        exit_code=code,
    )
    return code


def _answer(done: Enumeration) -> str:
    compared, nearest = done.compared, done.compared.nearest
    if done.answer == "reached":
        how = "pixel for pixel" if done.exact else "to within rounding"
        other = compared.reached - 1
        more = f", and {other} other seeds to within rounding" if other > 0 else ""
        return f"Seed {nearest[0].seed} makes the picture {how}{more}."
    if done.answer == "close":
        compared_with = "the next" if len(nearest) > 1 else "the nearest of fresh outputs"
        return (
            f"Close: seed {nearest[0].seed} has residual {nearest[0].residual:.1e}, "
            f"{compared_with} {done.beside:.1e}. It may be this seed, computed elsewhere or edited "
            "afterwards: run deny prove."
        )
    if done.answer == "incomplete":
        return "No output that could be compared makes the picture."
    return "None makes the picture."


def _line(near: Near, done: Enumeration) -> str:
    label = "" if done.labels == 1 else f", label {near.label}"
    return f"seed {near.seed}{label}, residual {near.residual:.1e}"
