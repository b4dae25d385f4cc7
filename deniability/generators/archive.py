"""PyTorch's zip archives, read with distrust and written anew.

TorchScript, `torch.export` and `torch.save` all write a zip with one top folder and plain stored
records. What is scanned here and what torch then opens must be the same: so the records that were
accepted are written into a fresh archive in memory, and torch never sees the file's own zip
structure, in which two readers might disagree.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping

from deniability.errors import GeneratorError

#: Largest number of records in an archive.
MAX_RECORDS = 100_000
#: Largest record of code or description (as opposed to weights).
MAX_TEXT_BYTES = 256 << 20


class Archive:
    """The records of one archive, by name without the top folder.

    Args:
        data: the whole file.
        where: its name, for messages.

    Raises GeneratorError if it is not a zip that torch could have written.

    """

    def __init__(self, data: bytes, where: str) -> None:
        self.where = where
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
            raise self.refusal("a damaged archive", found=str(error)) from error
        members = self._zip.infolist()
        if not members or len(members) > MAX_RECORDS:
            raise self.refusal(
                "not an archive that torch wrote", found=f"a zip of {len(members)} records"
            )
        # Weights are stored, so a file that grows much when read is a decompression bomb.
        if sum(member.file_size for member in members) > 16 * len(data) + MAX_TEXT_BYTES:
            raise self.refusal("the archive's records are too large for its size")
        self.root = members[0].filename.split("/")[0] if "/" in members[0].filename else ""
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in members:
            name = member.filename.removeprefix(f"{self.root}/") if self.root else member.filename
            if self.root and name == member.filename:
                raise self.refusal("a record lies outside the archive's folder", found=repr(name))
            if name in self._members:
                raise self.refusal("two records have the same name", found=repr(name))
            self._members[name] = member

    @property
    def names(self) -> Iterable[str]:
        """Names of all records, without the top folder."""
        return self._members.keys()

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def read(self, name: str, *, max_bytes: int | None = None) -> bytes:
        """Return one record. Raises GeneratorError if it is absent, damaged or too large."""
        member = self._members.get(name)
        if member is None:
            raise self.refusal("a record is missing from the archive", expected=repr(name))
        if max_bytes is not None and member.file_size > max_bytes:
            raise self.refusal(f"the record {name!r} is too large")
        try:
            return self._zip.read(member)
        except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError) as error:
            # RuntimeError: encrypted. NotImplementedError (compression method) is one of them.
            raise self.refusal(f"the record {name!r} is damaged", found=str(error)) from error

    def text(self, name: str) -> str:
        """Return one record as UTF-8 text. Raises GeneratorError if it is not."""
        try:
            return self.read(name, max_bytes=MAX_TEXT_BYTES).decode()
        except UnicodeDecodeError as error:
            raise self.refusal(f"the record {name!r} is not UTF-8 text") from error

    def refusal(
        self,
        what: str,
        *,
        expected: str | None = None,
        found: str | None = None,
        hint: str | None = None,
    ) -> GeneratorError:
        """Return the error to raise about this archive."""
        return GeneratorError(what, where=self.where, expected=expected, found=found, hint=hint)

    def rewritten(self, keep: Iterable[str], replaced: Mapping[str, bytes]) -> io.BytesIO:
        """Return a fresh archive of the records `keep`, with those in `replaced` put instead."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED, allowZip64=True) as fresh:
            for name in keep:
                if name not in replaced:
                    fresh.writestr(f"model/{name}", self.read(name))
            for name, data in replaced.items():
                fresh.writestr(f"model/{name}", data)
        buffer.seek(0)
        return buffer
