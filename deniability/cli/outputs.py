"""Names of results, and the refusal to write over anything that cannot be made again."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from deniability.errors import DeniabilityError, InputError, OutputError

#: A tensor that only this kind of latents file has.
_TENSOR = {
    "bundle": "restarts",
    "attribution": "restarts",
    "registration": "controls.0",
    "binding": "bound",
}
_MAX_HEADER_BYTES = 2**20
_PNG = b"\x89PNG\r\n\x1a\n"


def refuse_loss(path: Path, *, what: str, force: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Refuse to write a result over something else.

    Args:
        path: to be written.
        what: kind of result: "bundle", "attribution", "registration", "binding", "evaluation" or
            "picture".
            The latents file beside a bundle, registration or binding is guarded with it.
        force: replace one of the same kind.
        inputs: files that the command reads, never to be replaced.

    Raises:
        OutputError: the path is taken.

    """
    _refuse_one(path, what, what, force=force, inputs=inputs)
    if what in {"bundle", "registration", "binding"}:
        refuse_latents(latents_beside(path), what=what, force=force, inputs=inputs)


def refuse_latents(path: Path, *, what: str, force: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Refuse to write the latents of a result over something else; raises as `refuse_loss`."""
    _refuse_one(path, what, f"{what}'s latents file", force=force, inputs=inputs)


def _refuse_one(
    path: Path, what: str, called: str, *, force: bool, inputs: tuple[Path, ...]
) -> None:
    if any(_same(path, other) for other in inputs):
        raise OutputError(
            "is what this command reads, or another of its results",
            where=str(path),
            hint="Name another file.",
        )
    if not path.exists() or path.is_dir():
        return  # a folder is refused where it is written to
    if not force:
        raise OutputError(
            "exists already",
            where=str(path),
            hint="Name another file with -o, or replace this one with --force.",
        )
    if not (
        _is_picture(path) if what == "picture" else _is_ours(path, what, latents=called != what)
    ):
        raise OutputError(
            f"exists and is not a {called}, so --force does not replace it",
            where=str(path),
            hint="Name another file.",
        )


def _same(path: Path, other: Path) -> bool:
    try:
        return path.resolve() == other.resolve() or path.samefile(other)
    except OSError:
        return False


def _is_picture(path: Path) -> bool:
    return _beginning(path, len(_PNG)) == _PNG


def _is_ours(path: Path, what: str, *, latents: bool) -> bool:
    """Tell whether a file is a result of this kind, or such a one's latents file."""
    if latents:
        beginning = _beginning(path, 8 + _MAX_HEADER_BYTES)
        size = int.from_bytes(beginning[:8], "little")
        header = _object(beginning[8 : 8 + size])
        return _TENSOR[what] in header
    return bool(_predicate_type(path) == _predicate_types()[what])


def _predicate_types() -> dict[str, str]:
    from deniability.wire.exclusion import EXCLUSION_TYPE  # noqa: PLC0415
    from deniability.wire.registration import REGISTRATION_TYPE  # noqa: PLC0415
    from deniability.wire.statement import (  # noqa: PLC0415
        ATTRIBUTION_TYPE,
        BINDING_TYPE,
        EVALUATION_TYPE,
    )

    return {
        "bundle": EXCLUSION_TYPE,
        "attribution": ATTRIBUTION_TYPE,
        "registration": REGISTRATION_TYPE,
        "binding": BINDING_TYPE,
        "evaluation": EVALUATION_TYPE,
    }


def _predicate_type(path: Path) -> Any:
    """Return what a file says it is, unverified; None if it says nothing."""
    from deniability.verify.parse import MAX_BUNDLE_BYTES  # noqa: PLC0415
    from deniability.wire.files import read_capped  # noqa: PLC0415

    try:
        envelope = _object(read_capped(path, MAX_BUNDLE_BYTES, what="file")).get("dsseEnvelope")
        payload = envelope.get("payload") if isinstance(envelope, dict) else None
        statement = base64.b64decode(payload) if isinstance(payload, str) else b""
    except (DeniabilityError, ValueError):
        return None
    return _object(statement).get("predicateType")


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _beginning(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as cause:
        raise InputError("cannot be read", where=str(path), found=cause.strerror) from cause


def latents_beside(bundle: Path) -> Path:
    """Return where the latents of a bundle are when both kept the names they were written under."""
    return bundle.parent / f"{bundle.name.removesuffix('.json')}.latents.safetensors"


def figure_beside(bundle: Path) -> Path:
    """Return where the figure of a bundle goes by default."""
    return bundle.parent / f"{bundle.name.removesuffix('.json')}.figure.png"
