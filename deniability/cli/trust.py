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
    """Show the trusted keys: key id, algorithm, name, file."""
    from deniability.verify.trust import default_trust_folder, list_trust_store  # noqa: PLC0415

    out = Output(json, quiet)
    folder = default_trust_folder()
    found = list_trust_store(folder)
    for entry in found:
        out.line(f"{entry.key.keyid}  {entry.key.algorithm:<10}  {entry.name}  {entry.path}")
    out.detail(f"{len({entry.key for entry in found})} trusted keys in {folder}")
    out.result(
        {
            "folder": str(folder),
            "keys": list(dict.fromkeys(entry.key.keyid for entry in found)),
            "entries": [
                {
                    "name": entry.name,
                    "keyid": entry.key.keyid,
                    "algorithm": entry.key.algorithm,
                    "file": str(entry.path),
                }
                for entry in found
            ],
        }
    )


@app.command("remove")
def remove(
    key: Annotated[
        str, typer.Argument(help="Its name, or its key id: all of it, or 8 digits and more.")
    ],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Stop trusting a key on this machine."""
    from deniability.verify.trust import (  # noqa: PLC0415
        default_trust_folder,
        remove_from_trust_store,
    )

    out = Output(json, quiet)
    path = remove_from_trust_store(default_trust_folder(), key)
    out.field("removed", str(path))
    out.detail("Only this machine stops trusting it; whoever owns it can revoke it: deny revoke.")
    out.result({"removed": str(path)})
