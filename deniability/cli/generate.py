"""`deny generate`: make an own output from a seed, as the registered service would."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deniability.cli.options import (
    Device,
    DeviceOption,
    Force,
    Json,
    ModelFlags,
    Quiet,
    choose_device,
    with_model_flags,
)
from deniability.cli.terminal import Output


@with_model_flags
def generate(
    model: Annotated[
        str, typer.Argument(help="Model file or folder; or builtin, or builtin-twin.")
    ],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the first picture.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="PNG file, or with --count a folder for them."),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="This many pictures, of seeds from SEED.")
    ] = None,
    device: DeviceOption = Device.AUTO,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    *,
    flags: ModelFlags,
) -> None:
    """Make pictures with a model, to see what prove says of its own outputs."""
    from deniability.cli.outputs import refuse_loss  # noqa: PLC0415
    from deniability.wire.files import write_atomic  # noqa: PLC0415

    out = Output(json, quiet)
    options = flags.options()
    paths = _paths(seed, output, count)
    for path in paths.values():
        refuse_loss(path, what="picture", force=force, inputs=(Path(model),))
    from deniability.generators.load import load_generator  # noqa: PLC0415
    from deniability.report.case import own_picture  # noqa: PLC0415

    generator = load_generator(model, device=choose_device(device), options=options)
    pictures = []
    if count is not None:
        _make_folder(next(iter(paths.values())).parent)
    for number, path in paths.items():
        write_atomic(path, own_picture(generator, number))
        out.line(str(path))
        pictures.append({"seed": str(number), "file": str(path)})
    out.result({"pictures": pictures, "model": generator.digest})


def _paths(seed: int, output: Path | None, count: int | None) -> dict[int, Path]:
    if count is None:
        return {seed: output or Path(f"seed-{seed}.png")}
    folder = output or Path("outputs")
    return {number: folder / f"seed-{number}.png" for number in range(seed, seed + count)}


def _make_folder(folder: Path) -> None:
    from deniability.errors import OutputError  # noqa: PLC0415

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise OutputError(
            "the folder cannot be made", where=str(folder), found=cause.strerror
        ) from cause
