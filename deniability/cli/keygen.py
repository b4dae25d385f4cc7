"""`deny keygen`: make a signing key and trust it."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from deniability.cli.failure import UsageError
from deniability.cli.keyfiles import (
    DEFAULT_NAME,
    PASSPHRASE,
    PRIVATE_SUFFIX,
    PUBLIC_SUFFIX,
    ask_passphrase,
    default_key_folder,
)
from deniability.cli.options import Json, Quiet
from deniability.cli.terminal import Output

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class KeyAlgorithm(StrEnum):
    """What kinds of key there are."""

    ECDSA_P256 = "ecdsa-p256"
    ED25519 = "ed25519"


def keygen(
    name: Annotated[str, typer.Option("--name", help="Name of the key.")] = DEFAULT_NAME,
    algorithm: Annotated[
        KeyAlgorithm, typer.Option("--algorithm", help="Kind of key.")
    ] = KeyAlgorithm.ECDSA_P256,
    passphrase_prompt: Annotated[
        bool, typer.Option("--passphrase-prompt", help="Ask for a passphrase to protect it with.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where the two key files go.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a signing key, and trust it on this machine."""
    from deniability.crypto.keys import generate_key, private_pem  # noqa: PLC0415
    from deniability.verify.trust import add_to_trust_store, default_trust_folder  # noqa: PLC0415
    from deniability.wire.files import write_atomic  # noqa: PLC0415

    out = Output(json, quiet)
    if not _NAME.fullmatch(name):
        raise UsageError(
            "not a name for a key",
            where="--name",
            expected="up to 100 letters, digits, dots, hyphens and underscores",
            found=repr(name),
        )
    target = folder or default_key_folder()
    private, public = target / f"{name}{PRIVATE_SUFFIX}", target / f"{name}{PUBLIC_SUFFIX}"
    trusted = default_trust_folder() / f"{name}{PUBLIC_SUFFIX}"
    _refuse_existing(private, public, trusted)
    passphrase = _new_passphrase() if passphrase_prompt else None
    key = generate_key(algorithm.value)
    _make_folder(target, private=folder is None)
    write_atomic(private, private_pem(key, passphrase), mode=0o600, overwrite=False)
    write_atomic(public, key.public.pem, overwrite=False)
    add_to_trust_store(trusted.parent, key.public, name)
    out.field("private key", str(private))
    out.field("public key", str(public))
    out.field("key id", key.public.keyid)
    out.detail(f"Trusted on this machine: {trusted}")
    out.detail("Keep the private key to yourself; give the public key to whoever shall verify.")
    out.result(
        {
            "privateKey": str(private),
            "publicKey": str(public),
            "trusted": str(trusted),
            "algorithm": key.algorithm,
            "keyid": key.public.keyid,
        }
    )


def _refuse_existing(*paths: Path) -> None:
    for path in paths:
        if os.path.lexists(path):
            raise UsageError(
                "a key of this name exists already",
                where=str(path),
                hint="Choose another name with --name; keys are never overwritten.",
            )


def _make_folder(folder: Path, *, private: bool) -> None:
    from deniability.errors import OutputError  # noqa: PLC0415

    try:
        folder.mkdir(mode=0o700 if private else 0o777, parents=True, exist_ok=True)
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else str(cause)
        raise OutputError(
            "the folder for the keys cannot be made", where=str(folder), found=reason
        ) from cause


def _new_passphrase() -> bytes:
    if value := os.environ.get(PASSPHRASE):
        return os.fsencode(value)
    first = ask_passphrase("New passphrase: ", where="--passphrase-prompt")
    if first != ask_passphrase("The same again: ", where="--passphrase-prompt"):
        raise UsageError("the two passphrases differ", where="--passphrase-prompt")
    if not first:
        raise UsageError(
            "the passphrase is empty",
            where="--passphrase-prompt",
            hint="Type one, or leave the option out.",
        )
    return first
