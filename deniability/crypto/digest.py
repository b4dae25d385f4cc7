"""SHA-256 of bytes, of files, and of a model that is several files."""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deniability.crypto.canonical import MAX_SAFE_INTEGER, canonical_json
from deniability.errors import CommitmentError, InputError

_CHUNK = 1 << 20
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, order=True)
class FileDigest:
    """One file of a model: its name inside the model, its size in bytes, its hex sha256.

    The path is relative, with forward slashes, and stays inside the model's folder. Raises
    CommitmentError if it does not, or if size or sha256 cannot be right.
    """

    path: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        parts = self.path.split("/")
        if any(part in {"", ".", ".."} for part in parts) or not _is_plain(self.path):
            raise CommitmentError(
                "a file's name leaves its model's folder or has characters that names must not",
                where=repr(self.path),
                expected="a relative path with forward slashes and no '.' or '..' parts",
            )
        if not 0 <= self.size <= MAX_SAFE_INTEGER:
            raise CommitmentError("a file's size is impossible", where=self.path)
        if len(self.sha256) != 64 or not _HEX.issuperset(self.sha256):
            raise CommitmentError(
                "not a sha256", where=self.path, expected="64 lower-case hex digits"
            )


def sha256_hex(data: bytes) -> str:
    """Return the sha256 of `data` as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | os.PathLike[str]) -> tuple[str, int]:
    """Return (hex sha256, size in bytes) of a file, read in chunks.

    Raises InputError if it is missing, not a plain file, or cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with Path(path).open("rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError("not a plain file", where=str(path))
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else None
        raise InputError(
            "file cannot be read", where=str(path), found=reason or str(cause)
        ) from cause
    return digest.hexdigest(), size


def model_digest(files: Sequence[FileDigest]) -> str:
    """Return the hex digest of a model: sha256 of the canonical JSON list of its files.

    The list holds `{"path", "sha256", "size"}`, sorted by path (code point order), so names
    count: swapping two shards changes the digest.

    Raises CommitmentError if there is no file or a path comes twice.
    """
    if not files:
        raise CommitmentError("a model has no files")
    ordered = sorted(files)
    for one, other in itertools.pairwise(ordered):
        if one.path == other.path:
            raise CommitmentError("a model lists one file twice", where=one.path)
    members = [{"path": f.path, "sha256": f.sha256, "size": f.size} for f in ordered]
    return sha256_hex(canonical_json(members))


def _is_plain(path: str) -> bool:
    return path.isprintable() and "\\" not in path and len(path) <= 1024
