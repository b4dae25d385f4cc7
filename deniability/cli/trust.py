"""`deny trust`: whose signatures `deny verify` believes without being given a key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deniability.cli.options import Json, Quiet
from deniability.cli.terminal import Output

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The keys whose signatures deny verify believes.",
)


@app.command("add")
def add(
    file: Annotated[Path, typer.Argument(help="Public key file.")],
    name: Annotated[
        str | None, typer.Option("--name", help="Name to keep it under; default: the file's.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Trust a public key that you got by a way you trust."""
    from deniability.crypto.keys import read_public_key  # noqa: PLC0415
    from deniability.verify.trust import (  # noqa: PLC0415
        SUFFIX,
        add_to_trust_store,
        default_trust_folder,
    )

    out = Output(json, quiet)
    key = read_public_key(file)
    chosen = name or file.name.removesuffix(SUFFIX).removesuffix(".pem")
    path = add_to_trust_store(default_trust_folder(), key, chosen)
    out.field("trusted", str(path))
    out.field("key id", key.keyid)
    out.result({"trusted": str(path), "keyid": key.keyid})


@app.command("list")
def list_keys(json: Json = False, quiet: Quiet = False) -> None:
    """Show the trusted keys."""
    from deniability.verify.trust import default_trust_folder, load_trust_store  # noqa: PLC0415

    out = Output(json, quiet)
    folder = default_trust_folder()
    keys = load_trust_store(folder).keys
    for key in keys:
        out.line(f"{key.keyid}  {key.algorithm}")
    out.detail(f"{len(keys)} trusted keys in {folder}")
    out.result({"folder": str(folder), "keys": [key.keyid for key in keys]})
