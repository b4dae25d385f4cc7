"""Step 2 of SPEC.md: every timestamp of a file, against the roots that the verifier brought."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from deniability.crypto.encoding import b64decode_strict
from deniability.crypto.timestamps import Stamp, UnknownAuthority, check_token, parse_roots
from deniability.errors import DeniabilityError, InputError, TimestampError
from deniability.wire.files import read_capped
from deniability.wire.statement import SignedTimestamp

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

#: Largest file of roots, and most of them.
MAX_ROOTS_BYTES = 2**20
MAX_ROOTS = 1000


@dataclass(frozen=True)
class Times:
    """What the timestamps of one signature show.

    Attributes:
        stamps: by authorities that the verifier trusts.
        unknown: names of authorities that it has no root of: not checked.

    """

    stamps: tuple[Stamp, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def earliest(self) -> datetime | None:
        """The earliest time that is shown, if any is."""
        return min((stamp.time for stamp in self.stamps), default=None)


def check_timestamps(
    tokens: Sequence[SignedTimestamp],
    signature: bytes,
    *,
    roots: Sequence[Certificate],
    where: str,
) -> Times:
    """Check every token of a signature.

    Raises:
        TimestampError: one of them is bad; one by an unknown authority is not.

    """
    stamps: list[Stamp] = []
    unknown: list[str] = []
    seen: set[str] = set()
    for index, token in enumerate(tokens):
        field = f"{where}: rfc3161Timestamps.{index}"
        if token.signed_timestamp in seen:
            raise TimestampError("the same timestamp twice", where=field)
        seen.add(token.signed_timestamp)
        raw = b64decode_strict(token.signed_timestamp, field)
        shown = check_token(raw, signature, roots=roots, where=field)
        if isinstance(shown, UnknownAuthority):
            unknown.append(shown.authority)
        else:
            stamps.append(shown)
    return Times(tuple(stamps), tuple(unknown))


def load_roots(paths: Iterable[str | os.PathLike[str]]) -> tuple[Certificate, ...]:
    """Read roots of timestamp authorities from PEM files.

    Raises:
        InputError: a file is missing, holds no certificates, or there are too many.

    """
    found: list[Certificate] = []
    for path in paths:
        pem = read_capped(path, MAX_ROOTS_BYTES, what="file of certificates")
        try:
            found += parse_roots(pem, where=str(path))
        except DeniabilityError as cause:
            raise InputError(cause.what, where=cause.where, expected=cause.expected) from cause
        if len(found) > MAX_ROOTS:
            raise InputError("too many certificates", where=str(path))
    return tuple(dict.fromkeys(found))


def load_root_folder(folder: Path) -> tuple[Certificate, ...]:
    """Read every `*.pem` of a folder; a missing folder trusts no authority.

    Raises:
        InputError: the folder or a file in it cannot be read.

    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.endswith(".pem"))
    except FileNotFoundError:
        return ()
    except OSError as cause:
        raise InputError(
            "the folder of timestamp authorities cannot be read",
            where=str(folder),
            found=cause.strerror,
        ) from cause
    return load_roots(paths)
