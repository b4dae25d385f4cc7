"""Control sets made on demand, kept for the next accusation of the same kind.

A set belongs to a registration, a kind of observation, a device class, a precision and an engine
version; another of these is another file name, so nothing is ever borrowed. What is read back is
checked like anything else; a file that does not pass is made again.
"""

from __future__ import annotations

import os
from pathlib import Path

from deniability.crypto.canonical import canonical_json
from deniability.crypto.digest import sha256_hex
from deniability.errors import DeniabilityError, OutputError
from deniability.evidence.calibrate import CalibratedSet, calibrate
from deniability.evidence.progress import Progress
from deniability.evidence.register import OpenRegistration
from deniability.evidence.state import RunState
from deniability.evidence.subject import device_class
from deniability.evidence.tensors import describe_bytes as describe
from deniability.evidence.tensors import latent_digest, read_sidecar, write_tensors
from deniability.imaging.handling import Handling
from deniability.inversion.executor import Executor
from deniability.verify.bundle import check_controls
from deniability.verify.parse import MAX_BUNDLE_BYTES, parse_model
from deniability.wire.base import WireModel
from deniability.wire.controls import ControlSet
from deniability.wire.files import read_capped, write_atomic
from deniability.wire.protocol import ENGINE_VERSION
from deniability.wire.registration import FileDescriptor


class _Entry(WireModel):
    controls: ControlSet
    sidecar: FileDescriptor


def default_cache_folder() -> Path:
    """Return the user's cache folder for control sets; `XDG_CACHE_HOME` decides where it is set."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if Path(base).is_absolute():
        return Path(base) / "deniability" / "controls"
    from platformdirs import user_cache_dir  # noqa: PLC0415 - only needed here

    return Path(user_cache_dir("deniability", appauthor=False)) / "controls"


def controls_for(
    opened: OpenRegistration,
    handling: Handling,
    *,
    folder: Path,
    state: RunState | None,
    progress: Progress,
    batch_limit: int | None = None,
    executor: Executor | None = None,
) -> CalibratedSet:
    """Return the controls of a kind: the registration's, cached ones, or new ones.

    Raises:
        GeneratorError: the model cannot be run.

    """
    kind = handling.kind.digest()
    device = device_class(opened.procedure.generator.device)
    registered = opened.sets.get(kind)
    if registered is not None and registered.controls.device_class == device:
        return registered
    name = sha256_hex(
        canonical_json(
            {
                "device": device,
                "engine": ENGINE_VERSION,
                "kind": kind,
                "precision": "float32",
                "registration": opened.verified.payload_digest,
            }
        )
    )
    path = folder / f"{name}.json"
    cached = _read(path, opened, handling)
    if cached is not None:
        progress.note("Controls for this kind of file are reused from an earlier run.")
        return cached
    progress.note(
        "Controls for this kind of file are made now; the next picture of its kind reuses them."
    )
    made = calibrate(
        opened.procedure,
        handling,
        state=state,
        progress=progress,
        batch_limit=batch_limit,
        executor=executor,
    )
    try:
        _write(path, made)
    except OutputError as error:
        progress.note(f"These controls could not be kept for the next run: {error}")
    return made


def _read(path: Path, opened: OpenRegistration, handling: Handling) -> CalibratedSet | None:
    if not path.exists():
        return None
    procedure = opened.procedure
    try:
        raw = read_capped(path, MAX_BUNDLE_BYTES, what="control set")
        entry = parse_model(raw, _Entry, where=str(path))
        check_controls(
            entry.controls,
            procedure.model,
            procedure.protocol,
            dimension=procedure.generator.dimension,
            beacon=procedure.beacon,
            where=str(path),
        )
        latents = read_sidecar(path.with_suffix(".safetensors"), entry.sidecar)["latents"]
    except (DeniabilityError, KeyError):
        return None
    same = entry.controls.kind == handling.kind and len(latents) == len(entry.controls.controls)
    if not same or any(
        control.latent is not None and control.latent != latent_digest(latent)
        for control, latent in zip(entry.controls.controls, latents, strict=True)
    ):
        return None
    return CalibratedSet(entry.controls, latents)


def _write(path: Path, made: CalibratedSet) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            "cannot make the cache folder", where=str(path.parent), found=error.strerror
        ) from error
    side = path.with_suffix(".safetensors")
    data = write_tensors(side, {"latents": made.latents})
    entry = _Entry(controls=made.controls, sidecar=describe(side.name, data))
    write_atomic(path, canonical_json(entry.to_wire()))
