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

#: Exit code where a seed makes the picture; that of `prove` for `reached`.
REACHED = 10
_RANGE = re.compile(r"([0-9]{1,78})(?::([0-9]{1,78}))?")
_TOO_LONG = 86_400.0  # seconds for all seeds, if none are named
#: As many times nearer than the next, it is hardly by chance.
_STANDS_OUT = 1000.0


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

    It signs nothing. Which seeds there are follows from the model's entropy source and seed bits.
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
    raise typer.Exit(_tell(out, generator, done))


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


def _tell(out: Output, generator: Generator, done: Enumeration) -> int:
    compared, entropy = done.compared, generator.spec.entropy
    first, last = done.seeds.start, done.seeds.stop - 1
    code = REACHED if compared.reached else 0
    extent = "all there are" if done.complete else f"of {done.space:,}; no other was"
    labels = "" if done.labels == 1 else f", each with all {done.labels} labels"
    out.line(
        f"Every seed from {first} to {last} was generated and compared: {compared.seeds:,}, "
        f"{extent}{labels}."
    )
    out.line(_answer(done))
    out.detail("This is no evidence: nothing is signed, and who doubts it has to run it again.")
    if compared.not_finite:
        out.field("note", f"{compared.not_finite} outputs were not finite, and are not counted.")
    if entropy.source == "torch-cpu":
        out.detail(
            "torch draws numbers that differ in their last bits between processors: a picture "
            "that was made elsewhere can be missed by a little. Look at the nearest."
        )
    out.field("entropy", f"{entropy.source}, {entropy.seed_bits} seed bits", detail=True)
    for near in compared.nearest:
        out.field("nearest", _line(near, done))
    out.result(
        {
            "seeds": {"first": str(first), "last": str(last)},
            "compared": str(compared.seeds),
            "complete": done.complete,
            "labels": done.labels,
            "reached": compared.reached > 0,
            "outputsReached": compared.reached,
            "notFinite": compared.not_finite,
            "pixelForPixel": done.exact,
            "nearest": [
                {"seed": str(near.seed), "residual": f"{near.residual:.5e}"}
                | ({} if done.labels == 1 else {"label": near.label})
                for near in compared.nearest
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
    if compared.reached:
        how = "pixel for pixel" if done.exact else "to within rounding"
        other = compared.reached - 1
        more = f", and {other} other outputs to within rounding" if other else ""
        return f"Seed {nearest[0].seed} makes the picture {how}{more}."
    if not nearest:
        return "No output could be compared."
    if len(nearest) > 1 and nearest[1].residual > _STANDS_OUT * nearest[0].residual:
        return (
            f"None makes the picture; but seed {nearest[0].seed} is more than "
            f"{_STANDS_OUT:.0f} times nearer than any other. It may have been used, and the "
            "picture been computed or edited otherwise: run deny prove."
        )
    return "None makes the picture."


def _line(near: Near, done: Enumeration) -> str:
    label = "" if done.labels == 1 else f", label {near.label}"
    return f"seed {near.seed}{label}, residual {near.residual:.1e}"
