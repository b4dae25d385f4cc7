"""Where the user's keys are, and reading the one to sign with."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deniability.errors import KeyFileError

if TYPE_CHECKING:
    from deniability.crypto.keys import PrivateKey

PRIVATE_SUFFIX = ".key.pem"
PUBLIC_SUFFIX = ".pub.pem"
DEFAULT_NAME = "default"
#: Environment variable with the passphrase, for runs without a terminal.
PASSPHRASE = "DENY_PASSPHRASE"  # noqa: S105 - its name, not its value


def default_key_folder() -> Path:
    """Return the user's key folder; `XDG_DATA_HOME` decides where it is set."""
    base = os.environ.get("XDG_DATA_HOME", "")
    if Path(base).is_absolute():
        return Path(base) / "deniability" / "keys"
    from platformdirs import user_data_dir  # noqa: PLC0415 - only needed here

    return Path(user_data_dir("deniability", appauthor=False)) / "keys"


def signing_key_path(given: Path | None) -> Path:
    """Return the private key file to use: the given one, or the default one."""
    return given or default_key_folder() / f"{DEFAULT_NAME}{PRIVATE_SUFFIX}"


def read_signing_key(path: Path) -> PrivateKey:
    """Read a private key, asking for its passphrase where it has one.

    Raises:
        KeyFileError: there is none, it cannot be used, or its passphrase cannot be asked for.

    """
    from deniability.crypto.keys import (  # noqa: PLC0415
        MAX_KEY_BYTES,
        is_encrypted,
        read_private_key,
    )
    from deniability.errors import InputError  # noqa: PLC0415
    from deniability.wire.files import read_capped  # noqa: PLC0415

    try:
        encrypted = is_encrypted(read_capped(path, MAX_KEY_BYTES, what="key file"))
    except InputError:
        encrypted = False  # read_private_key says better what is wrong
    return read_private_key(path, _passphrase(path) if encrypted else None)


def _passphrase(path: Path) -> bytes:
    if value := os.environ.get(PASSPHRASE):
        return os.fsencode(value)
    return ask_passphrase(f"Passphrase of {path}: ", where=str(path))


def ask_passphrase(prompt: str, *, where: str) -> bytes:
    """Ask on the terminal, without showing what is typed."""
    import getpass  # noqa: PLC0415

    from deniability.cli.terminal import escape  # noqa: PLC0415

    if sys.stdin is None or not sys.stdin.isatty():
        raise KeyFileError(
            "a passphrase is needed, and there is no terminal to ask for it on",
            where=where,
            hint=f"Put it into the environment variable {PASSPHRASE}.",
        )
    try:
        return getpass.getpass(escape(prompt)).encode()
    except EOFError as cause:
        raise KeyFileError("no passphrase was given", where=where) from cause


def public_file_of(private: Path, key: PrivateKey) -> Path | None:
    """Return the file beside a private key that holds its public key, if it is there."""
    from deniability.crypto.keys import read_public_key  # noqa: PLC0415

    path = private.with_name(private.name.removesuffix(PRIVATE_SUFFIX) + PUBLIC_SUFFIX)
    try:
        return path if read_public_key(path) == key.public else None
    except KeyFileError:
        return None
