"""Names of results, and the refusal to write over anything that cannot be made again."""

from __future__ import annotations

from pathlib import Path

from deniability.errors import InputError, OutputError

#: How every bundle and registration begins, its keys being in canonical order.
_OURS = b'{"dsseEnvelope":{"payload":"'
_PNG = b"\x89PNG\r\n\x1a\n"


def refuse_loss(path: Path, *, what: str, force: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Refuse to write a result over something else.

    Args:
        path: to be written.
        what: kind of result: "bundle", "registration" or "picture".
        force: replace one of the same kind.
        inputs: files that the command reads, never to be replaced.

    Raises:
        OutputError: the path is taken.

    """
    if not path.exists() or path.is_dir():
        return  # a folder is refused where it is written to
    if any(_same(path, other) for other in inputs):
        raise OutputError("is what this command reads", where=str(path), hint="Name another file.")
    if not force:
        raise OutputError(
            "exists already",
            where=str(path),
            hint="Name another file with -o, or replace this one with --force.",
        )
    start = _PNG if what == "picture" else _OURS
    if not _beginning(path, len(start)).startswith(start):
        raise OutputError(
            f"exists and is not a {what}, so --force does not replace it",
            where=str(path),
            hint="Name another file.",
        )


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


def _beginning(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as cause:
        raise InputError("cannot be read", where=str(path), found=cause.strerror) from cause


def latents_beside(bundle: Path) -> Path:
    """Return where the latents of a bundle are when both kept the names they were written under."""
    return bundle.with_name(f"{bundle.name.removesuffix('.json')}.latents.safetensors")


def figure_beside(bundle: Path) -> Path:
    """Return where the figure of a bundle goes by default."""
    return bundle.with_name(f"{bundle.name.removesuffix('.json')}.figure.png")
