"""Whose signatures a verifier believes: keys that come from the verifier, never from a bundle."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deniability.crypto.keys import PublicKey, read_public_key
from deniability.errors import InputError, OutputError, UncheckedError
from deniability.wire.files import write_atomic

#: How trusted keys are named in a trust folder.
SUFFIX = ".pub.pem"
#: Most keys read from one trust folder.
MAX_KEYS = 1000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


@dataclass(frozen=True)
class TrustPolicy:
    """The keys whose signatures count, without repeats, in the order given."""

    keys: tuple[PublicKey, ...] = ()

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
    where = str(folder)
    try:
        paths = sorted(path for path in Path(folder).iterdir() if path.name.endswith(SUFFIX))
    except FileNotFoundError:
        return TrustPolicy()
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else None
        raise InputError(
            "the trust folder cannot be read", where=where, found=reason or str(cause)
        ) from cause
    if len(paths) > MAX_KEYS:
        raise InputError("too many trusted keys", where=where, expected=f"at most {MAX_KEYS}")
    return TrustPolicy.from_key_files(paths)


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
