"""Whose signatures a verifier believes: keys that come from the verifier, never from a bundle."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deniability.crypto.keys import PublicKey, read_public_key
from deniability.errors import InputError, KeyFileError, OutputError, UncheckedError
from deniability.wire.files import write_atomic

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

#: How trusted keys are named in a trust folder.
SUFFIX = ".pub.pem"
#: Most keys read from one trust folder.
MAX_KEYS = 1000
#: Fewest hex digits that name a key.
MIN_PREFIX = 8

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


@dataclass(frozen=True)
class TrustedKey:
    """One file of a trust folder: the key, the name that the user gave it, and where it is."""

    name: str
    key: PublicKey
    path: Path


@dataclass(frozen=True)
class TrustPolicy:
    """The keys whose signatures count, without repeats, in the order given.

    `tsa_roots` are the roots of the timestamp authorities that the verifier trusts.
    """

    keys: tuple[PublicKey, ...] = ()
    tsa_roots: tuple[Certificate, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", tuple(dict.fromkeys(self.keys)))

    @classmethod
    def from_key_files(cls, paths: Iterable[str | os.PathLike[str]]) -> TrustPolicy:
        """Trust the public keys in these files; raises KeyFileError for one that is none."""
        return cls(tuple(read_public_key(path) for path in paths))

    def key_for(self, keyid: str, *, where: str | None = None) -> PublicKey:
        """Return the trusted key of that name.

        Raises UncheckedError if there is none: the signature can then not be judged at all.
        """
        for key in self.keys:
            if key.keyid == keyid:
                return key
        raise UncheckedError(
            "the signer is not among the trusted keys",
            where=where,
            expected=f"one of {len(self.keys)} trusted keys" if self.keys else "a trusted key",
            found=f"key {keyid}",
            hint="Get the signer's public key by another way than this file, then use "
            "--key FILE or: deny trust add FILE.",
        )


def default_trust_folder() -> Path:
    """Return the user's trust folder; `XDG_CONFIG_HOME` decides where it is set."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if Path(base).is_absolute():
        return Path(base) / "deniability" / "trust"
    # Lazily: with --key no folder is needed.
    from platformdirs import user_config_dir  # noqa: PLC0415

    return Path(user_config_dir("deniability", appauthor=False)) / "trust"


def load_trust_store(folder: str | os.PathLike[str]) -> TrustPolicy:
    """Trust every `*.pub.pem` in a folder; a missing folder trusts nobody.

    Raises KeyFileError naming the first file that is not a public key, and InputError if the
    folder cannot be listed or holds too many.
    """
    return TrustPolicy.from_key_files(_key_files(folder))


def list_trust_store(folder: str | os.PathLike[str]) -> tuple[TrustedKey, ...]:
    """Return the keys of a trust folder with their names, in order of name; raises likewise."""
    return tuple(
        TrustedKey(path.name.removesuffix(SUFFIX), read_public_key(path), path)
        for path in _key_files(folder)
    )


def _key_files(folder: str | os.PathLike[str]) -> list[Path]:
    where = str(folder)
    try:
        paths = sorted(path for path in Path(folder).iterdir() if path.name.endswith(SUFFIX))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else None
        raise InputError(
            "the trust folder cannot be read", where=where, found=reason or str(cause)
        ) from cause
    if len(paths) > MAX_KEYS:
        raise InputError("too many trusted keys", where=where, expected=f"at most {MAX_KEYS}")
    return paths


def add_to_trust_store(folder: str | os.PathLike[str], key: PublicKey, name: str) -> Path:
    """Write `key` as `name`.pub.pem in a trust folder, made if missing; return the file.

    Adding the same key under the same name again does nothing. Raises InputError for a name
    that is not plain, OutputError if another key has that name or the folder cannot be written.
    """
    if not _NAME.match(name):
        raise InputError(
            "not a name for a key",
            where=repr(name),
            expected="up to 100 letters, digits, dots, hyphens and underscores",
        )
    target = Path(folder) / f"{name}{SUFFIX}"
    try:
        Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        taken = target.exists()
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else None
        raise OutputError(
            "the trust folder cannot be made", where=str(folder), found=reason or str(cause)
        ) from cause
    if taken:
        if read_public_key(target) == key:
            return target
        raise OutputError(
            "another key has this name", where=str(target), hint="Choose another name."
        )
    write_atomic(target, key.pem, overwrite=False)
    return target


def remove_from_trust_store(folder: str | os.PathLike[str], wanted: str) -> Path:
    """Stop trusting a key; return the file that was removed.

    Args:
        folder: the trust folder.
        wanted: the name of one key, or at least `MIN_PREFIX` first digits of its keyid. A file
            that holds no key can be removed by its name.

    Raises InputError if no key is meant, or more than one; OutputError if it stays there.

    """
    paths = _key_files(folder)
    meant = [path for path in paths if _is_meant(path, wanted)]
    if len(meant) != 1:
        names = ", ".join(path.name.removesuffix(SUFFIX) for path in meant[:8])
        raise InputError(
            "several trusted keys are meant" if meant else "no such trusted key",
            where=wanted,
            expected="the name of one key, or its key id",
            found=names or None,
            hint="deny trust list shows them.",
        )
    try:
        meant[0].unlink()
    except OSError as cause:
        raise OutputError(
            "the key cannot be removed", where=str(meant[0]), found=cause.strerror
        ) from cause
    return meant[0]


def _is_meant(path: Path, wanted: str) -> bool:
    if path.name.removesuffix(SUFFIX) == wanted:
        return True
    if len(wanted) < MIN_PREFIX:
        return False
    try:
        return read_public_key(path).keyid.startswith(wanted)
    except KeyFileError:
        return False
