"""`deny timestamp`: have authorities say that a file's signature exists now."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deniability.cli.dating import TsaRootOption, read_roots
from deniability.cli.options import Json, Quiet
from deniability.cli.terminal import Output


def timestamp(
    file: Annotated[Path, typer.Argument(help="Bundle, registration or chain.")],
    tsa: Annotated[
        list[str],
        typer.Option("--tsa", help="URL of an RFC 3161 timestamp authority to ask; repeatable."),
    ],
    tsa_root: TsaRootOption = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1, max=600, help="Seconds for each authority.")
    ] = 30.0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Timestamp a bundle, registration or chain, so that it shows when it existed."""
    from deniability.evidence.timestamp import add_timestamps  # noqa: PLC0415

    out = Output(json, quiet)
    made = add_timestamps(file, tsa, roots=read_roots(tsa_root), timeout=timeout)
    tell_stamps(out, file, made)
    out.result({"file": str(file), "timestamps": describe_stamps(made)})


def tell_stamps(out: Output, file: Path, made: list) -> None:  # type: ignore[type-arg]
    """Say what was added to a file."""
    for entry in describe_stamps(made):
        if entry["time"] is None:
            out.field(
                "timestamp",
                f"{file} by {entry['authority']} ({entry['tsa']}); not checked: no root of it "
                "among yours (--tsa-root)",
            )
        else:
            out.field("timestamp", f"{file} at {entry['time']} by {entry['authority']}")


def describe_stamps(made: list) -> list[dict[str, str | None]]:  # type: ignore[type-arg]
    """Return added timestamps as JSON."""
    return [
        {
            "tsa": entry.url,
            "authority": entry.shown.authority,
            "time": f"{entry.shown.time:%Y-%m-%dT%H:%M:%SZ}"
            if hasattr(entry.shown, "time")
            else None,
        }
        for entry in made
    ]
