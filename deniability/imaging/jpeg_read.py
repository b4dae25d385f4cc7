"""JPEG coefficients as stored: of untrusted files in a child process, of our own files here.

The library that reads them takes paths only, believes the header and exits on errors. So an
untrusted file reaches it only after its markers were parsed, its size was capped and Pillow
decoded it; as a private copy without application data; in a bounded process, isolated where the
system can, whose every complaint is a refusal and whose output has one possible length.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deniability.crypto.digest import sha256_hex
from deniability.errors import ImageError
from deniability.imaging import _jpeg_child
from deniability.imaging.jpeg_markers import JpegHeader
from deniability.imaging.jpeg_variants import LOCK
from deniability.sandbox.boot import UNCONFINED
from deniability.sandbox.choose import cheap_isolation
from deniability.sandbox.interface import Grants, Isolation, Limits, Program
from deniability.sandbox.python import environment

#: Coefficients of one file: all components concatenated, int16, length m.
Coefficients = npt.NDArray[np.int16]

_kept: dict[tuple[str, tuple[tuple[int, int], ...]], Coefficients] | None = None
_HINT = "Use the file as it was received; if it is this one, it cannot be examined."


def read_untrusted(
    header: JpegHeader, shapes: tuple[tuple[int, int], ...], *, where: str
) -> Coefficients:
    """Read the coefficients of a file that somebody else made.

    Args:
        header: its markers; `header.bare` is what is read.
        shapes: rows and columns of blocks of each component.
        where: name of the file, for errors.

    Returns:
        The coefficients, components in order, blocks row-major, 64 in natural order each.

    """
    key = (sha256_hex(header.bare), shapes)
    if _kept is not None and key in _kept:
        return _kept[key].copy()
    count = sum(64 * rows * columns for rows, columns in shapes)
    expected = len(_jpeg_child.MAGIC) + 2 * count
    output = _run(header, shapes, expected, where, cheap_isolation())
    if len(output) != expected or not output.startswith(_jpeg_child.MAGIC):
        raise ImageError(
            "the JPEG coefficients could not be read",
            where=where,
            expected=f"{expected} bytes from the reader",
            found=f"{len(output)}",
            hint=_HINT,
        )
    values = np.frombuffer(output, dtype="<i2", offset=len(_jpeg_child.MAGIC))
    coefficients = values.astype(np.int16)
    if _kept is not None:
        _kept[key] = coefficients.copy()
    return coefficients


def keep_coefficients() -> None:
    """Keep what is read from now on: for a process that will not be able to start another."""
    global _kept  # noqa: PLW0603 - one process, one seal
    _kept = {}


def _run(
    header: JpegHeader,
    shapes: tuple[tuple[int, int], ...],
    expected: int,
    where: str,
    isolation: Isolation | None,
) -> bytes:
    pixels = header.width * header.height
    seconds = 30 + pixels // 500_000
    limits = (2**30 + 64 * pixels, seconds, max(len(header.bare), expected) + 65536)
    try:
        with tempfile.TemporaryDirectory(prefix="deniability-") as folder:
            private = Path(folder).resolve()
            (private / "file.jpg").write_bytes(header.bare)
            (private / "scratch").mkdir()
            with (private / "out").open("wb") as out, (private / "err").open("wb") as err:
                done = subprocess.run(  # noqa: S603 - our own script, no shell
                    _command(private, limits, shapes, isolation),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    cwd=folder,
                    env=_environment(folder) if isolation is None else _small(private / "scratch"),
                    timeout=2 * seconds,
                    check=False,
                )
            if isolation is not None and done.returncode == UNCONFINED:
                return _run(header, shapes, expected, where, isolation=None)
            complaint = _last_line((private / "err").read_bytes())
            if done.returncode or complaint:
                raise ImageError(
                    "damaged picture: its JPEG coefficients cannot be read cleanly",
                    where=where,
                    found=complaint or f"the reader ended with status {done.returncode}",
                    hint=_HINT,
                )
            with (private / "out").open("rb") as result:
                return result.read(expected + 1)
    except subprocess.TimeoutExpired as error:
        raise ImageError(
            "reading the JPEG coefficients took too long", where=where, hint=_HINT
        ) from error
    except OSError as error:
        raise _no_room(error, where) from error


def _command(
    private: Path,
    limits: tuple[int, int, int],
    shapes: tuple[tuple[int, int], ...],
    isolation: Isolation | None,
) -> list[str]:
    """Return the command of the reader: isolated where that can be had, bounded everywhere."""
    arguments = (
        str(private / "file.jpg"),
        *map(str, limits),
        *(f"{rows}x{columns}" for rows, columns in shapes),
    )
    if isolation is None:
        return [sys.executable, "-P", "-W", "ignore", _jpeg_child.__file__, *arguments]
    memory, seconds, file_size = limits
    program = Program(_jpeg_child.__name__, arguments)
    bounds = Limits(memory=memory, seconds=seconds, file_size=file_size)
    grants = Grants(scratch=private / "scratch", read=(private / "file.jpg",))
    return isolation.command(program, grants, bounds)


def _environment(folder: str) -> dict[str, str]:
    """Our environment without Python's switches, and with the private folder for temporaries."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTHON") or name in ("PYTHONPATH", "PYTHONHOME")
    }
    private = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder)
    return {**kept, **private, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _small(folder: Path) -> dict[str, str]:
    """Return the environment of an isolated reader: threads would take address space."""
    return {**environment(folder), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _last_line(raw: bytes) -> str:
    lines = raw[-4096:].decode("ascii", "replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return "".join(c if " " <= c <= "~" else "?" for c in last)[:200]


def _no_room(error: OSError, where: str) -> ImageError:
    return ImageError(
        "a temporary copy of the JPEG could not be made or read",
        where=where,
        found=error.strerror or type(error).__name__,
        hint="Free some space in the folder for temporary files, or name another one in TMPDIR.",
    )


def read_own(files: Iterable[bytes]) -> list[Coefficients]:
    """Read the coefficients of files that this process has just encoded. About 0.3 ms each."""
    import jpeglib  # noqa: PLC0415 - only when a JPEG is examined

    coefficients = []
    try:
        with LOCK, tempfile.TemporaryDirectory(prefix="deniability-") as folder:
            path = Path(folder) / "own.jpg"
            for data in files:
                path.write_bytes(data)
                image = jpeglib.read_dct(str(path))
                planes = (image.Y, image.Cb, image.Cr)[: image.num_components]
                coefficients.append(np.concatenate([plane.reshape(-1) for plane in planes]))
    except OSError as error:
        raise _no_room(error, "own output saved as JPEG") from error
    return coefficients
