"""`deny bind`: outputs obtained from the live service, searched for in a registered model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deniability.crypto.canonical import canonical_json
from deniability.crypto.digest import sha256_file, sha256_hex
from deniability.crypto.encoding import b64encode
from deniability.crypto.keys import PrivateKey
from deniability.errors import InputError
from deniability.evidence.bind_search import Session
from deniability.evidence.outputs import signed_name
from deniability.evidence.progress import Progress, Silent
from deniability.evidence.register import (
    OpenRegistration,
    check_reproduction,
    check_writable,
    sidecar_path,
    state_folder,
)
from deniability.evidence.signing import sign_statement
from deniability.evidence.state import RunState
from deniability.evidence.subject import describe_environment, now
from deniability.evidence.tensors import describe_bytes, write_tensors
from deniability.inversion.executor import Executor
from deniability.stats.binding import binding_scope, decide_binding
from deniability.verify.binding import VerifiedBinding, verify_binding
from deniability.verify.parse import MAX_BUNDLE_BYTES
from deniability.verify.trust import TrustPolicy
from deniability.wire.binding import MAX_PICTURES, Binding, Obtained, listed_digests
from deniability.wire.exclusion import RegistrationReference
from deniability.wire.files import read_capped, write_atomic
from deniability.wire.registration import FileDescriptor
from deniability.wire.statement import BINDING_TYPE


@dataclass(frozen=True)
class Bound:
    """What `bind` wrote, verified from disk.

    Attributes:
        path: of the binding.
        verified: as read back.

    """

    path: Path
    verified: VerifiedBinding


def pictures_of(folder: Path) -> tuple[Path, ...]:
    """Return every file of a folder but hidden ones, in order of name; none is skipped.

    Raises:
        InputError: it cannot be read, has folders in it, or too many files or none.

    """
    try:
        paths = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as cause:
        raise InputError(
            "cannot be read", where=str(folder), expected="a folder", found=cause.strerror
        ) from cause
    inner = next((path for path in paths if not path.is_file()), None)
    if inner is not None:
        raise InputError(
            "not a file",
            where=str(inner),
            expected="a folder that holds the obtained files alone",
            hint="Nothing in the folder is left out; move what is not from the service away.",
        )
    if not 1 <= len(paths) <= MAX_PICTURES:
        raise InputError(
            "no files, or too many",
            where=str(folder),
            expected=f"1 to {MAX_PICTURES}",
            found=str(len(paths)),
        )
    return tuple(paths)


def listed_pictures(paths: Sequence[Path], obtained: bytes, *, where: str) -> tuple[Path, ...]:
    """Return the files that a list names by digest; all that it names have to be there.

    Raises:
        InputError: a listed file is missing, or it is no list.

    """
    wanted = listed_digests(obtained, where=where, error=InputError)
    found = {path: sha256_file(path)[0] for path in paths}
    missing = set(wanted) - set(found.values())
    if missing:
        raise InputError(
            "files of the list are not in the folder",
            where=where,
            expected=f"all {len(set(wanted))} of them",
            found=f"{len(missing)} missing, such as sha256 {min(missing)}",
            hint="Put every file that was obtained into the folder, found in the model or not.",
        )
    return tuple(path for path, digest in found.items() if digest in wanted)


def bind(
    paths: Sequence[Path],
    opened: OpenRegistration,
    *,
    key: PrivateKey,
    output: Path,
    obtained: bytes | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    batch_limit: int | None = None,
    executor: Executor | None = None,
) -> Bound:
    """Search for every picture, apply the rule, sign, write, and verify from disk.

    Args:
        paths: the pictures: all that the list names, or all there are without one.
        opened: the model's registration.
        key: that signs.
        output: file for the binding; latents go beside it.
        obtained: the list of these pictures that whoever obtained them wrote.
        resume: continue an interrupted run for the same output.
        progress: is told what happens.
        batch_limit: most restarts at once; the memory decides if None.
        executor: searches; in this process if None.

    Raises:
        InputError: two pictures have one name, or a listed one is missing.
        OutputError: the binding cannot be written.

    """
    report, procedure = progress or Silent(), opened.procedure
    check_writable(output)
    if obtained is not None:
        paths = listed_pictures(paths, obtained, where="--obtained")
    check_reproduction(procedure, opened.pictures)
    files = _described(paths)
    identity = sha256_hex(
        canonical_json(
            {
                "pictures": [file.to_wire() for file in files],
                "registration": opened.verified.payload_digest,
            }
        )
    )
    with RunState(state_folder(output), identity, resume=resume, note=report.note) as state:
        session = Session(opened, state, report, batch_limit, executor)
        report.phase("searching for the service's outputs", len(paths))
        for number, (path, file) in enumerate(zip(paths, files, strict=True), start=1):
            session.add(path, file)
            report.advance(number)
        side = sidecar_path(output)
        data = write_tensors(side, {"bound": session.latents, "pictures": opened.pictures})
        binding = _binding(session, opened, obtained, describe_bytes(side.name, data))
        raw = sign_statement(
            binding, predicate_type=BINDING_TYPE, subjects=procedure.model.files, key=key
        )
        write_atomic(output, raw)
        verified = verify_binding(
            read_capped(output, MAX_BUNDLE_BYTES, what="binding"),
            trust=TrustPolicy((key.public,)),
            where=str(output),
        )
        state.remove()
    return Bound(output, verified)


def _described(paths: Sequence[Path]) -> list[FileDescriptor]:
    files = []
    for path in paths:
        digest, size = sha256_file(path)
        files.append(FileDescriptor(name=signed_name(path), size=size, sha256=digest))
    if len({file.name for file in files}) != len(files):
        raise InputError("two pictures have one name", where=str(paths[0].parent))
    return files


def _binding(
    session: Session, opened: OpenRegistration, obtained: bytes | None, latents: FileDescriptor
) -> Binding:
    procedure, registration = opened.procedure, opened.verified.registration
    pictures, kinds = tuple(session.pictures), tuple(session.kinds.values())
    listed = None
    if obtained is not None:
        listed = Obtained(
            contents=b64encode(obtained),
            sha256=sha256_hex(obtained),
            count=len(listed_digests(obtained, where="--obtained", error=InputError)),
        )
    return Binding(
        result=decide_binding(pictures, kinds, model_digest=procedure.model.digest),
        scope=binding_scope(listed),
        model=procedure.model,
        generator=procedure.generator.spec,
        registration=RegistrationReference(
            payload=opened.verified.payload_digest, created_at=registration.created_at
        ),
        protocol=procedure.protocol,
        protocol_digest=procedure.protocol.digest,
        beacon=procedure.beacon,
        kinds=kinds,
        pictures=pictures,
        obtained=listed,
        latents=latents,
        environment=describe_environment(procedure.generator.device),
        created_at=now(),
    )
