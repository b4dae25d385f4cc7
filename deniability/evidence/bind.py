"""`deny bind`: outputs obtained from the live service, each searched for in the registered model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from deniability.crypto.canonical import canonical_json
from deniability.crypto.digest import sha256_file, sha256_hex
from deniability.crypto.encoding import b64encode
from deniability.crypto.keys import PrivateKey
from deniability.errors import ImageError, InputError
from deniability.evidence.calibrate import true_residuals
from deniability.evidence.outputs import same_output, signed_name
from deniability.evidence.progress import Progress, Silent
from deniability.evidence.prove import Exhibit, is_pixel_for_pixel, polished, read_exhibit
from deniability.evidence.register import (
    OpenRegistration,
    check_reproduction,
    check_writable,
    sidecar_path,
    state_folder,
)
from deniability.evidence.restarts import RestartLog
from deniability.evidence.search import Targets, search
from deniability.evidence.signing import sign_statement
from deniability.evidence.state import RunState
from deniability.evidence.subject import describe_environment, now
from deniability.evidence.tensors import describe_bytes, latent_digest, write_tensors
from deniability.imaging.handling import Pixels
from deniability.inversion.executor import Executor
from deniability.inversion.solution import Restart, Trace
from deniability.stats.binding import binding_scope, decide_binding, kind_threshold
from deniability.verify.binding import VerifiedBinding, shows_the_same, verify_binding
from deniability.verify.parse import MAX_BUNDLE_BYTES
from deniability.verify.trust import TrustPolicy
from deniability.wire.binding import (
    BINDING_TYPE,
    MAX_KINDS,
    MAX_PICTURES,
    Binding,
    BindingKind,
    BoundPicture,
    Obtained,
    listed_digests,
)
from deniability.wire.exclusion import RegistrationReference
from deniability.wire.files import read_capped, write_atomic
from deniability.wire.numbers import decimal_string
from deniability.wire.registration import FileDescriptor
from deniability.wire.roles import restart_seed


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
        paths: the pictures, all of which count.
        opened: the model's registration.
        key: that signs.
        output: file for the binding; latents go beside it.
        obtained: the list of these pictures that whoever obtained them wrote.
        resume: continue an interrupted run for the same output.
        progress: is told what happens.
        batch_limit: most restarts at once; the memory decides if None.
        executor: searches; in this process if None.

    Raises:
        InputError: two pictures have one name.
        OutputError: the binding cannot be written.

    """
    report, procedure = progress or Silent(), opened.procedure
    check_writable(output)
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
        session = _Session(opened, state, report, batch_limit, executor)
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
    session: _Session, opened: OpenRegistration, obtained: bytes | None, latents: FileDescriptor
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


class _Session:
    """The pictures so far: their records, kinds, latents, and what their latents make."""

    def __init__(
        self,
        opened: OpenRegistration,
        state: RunState,
        report: Progress,
        batch_limit: int | None,
        executor: Executor | None,
    ) -> None:
        self._opened, self._state, self._report = opened, state, report
        self._batch_limit, self._executor = batch_limit, executor
        self._rows: list[Tensor] = []
        self._outputs: dict[int, Pixels] = {}  # of those that count, by place
        self.pictures: list[BoundPicture] = []
        self.kinds: dict[str, BindingKind] = {}

    @property
    def latents(self) -> Tensor:
        """The best latents in order of the pictures that have one."""
        empty = torch.zeros(0, self._opened.procedure.generator.dimension)
        return torch.stack(self._rows) if self._rows else empty

    def add(self, path: Path, file: FileDescriptor) -> None:
        """Search for one more picture; one that cannot be the model's output is not skipped."""
        try:
            exhibit = read_exhibit(path, self._opened.procedure.generator, called=file.name)
            if exhibit.file != file:
                raise InputError("has changed while it was read", where=str(path))
            threshold = self._threshold(exhibit)
        except ImageError as error:
            record = BoundPicture(file=file, stop="notExamined", reason=_reason(error))
            self._append(record, None)
            return
        trace = polished(self._search(exhibit, threshold), exhibit, self._opened)
        self._append(self._record(exhibit, trace.best), trace.best)

    def _threshold(self, exhibit: Exhibit) -> Fraction:
        handling, procedure = exhibit.observed.handling, self._opened.procedure
        kind = handling.kind
        entry = self.kinds.get(kind.digest())
        if entry is None:
            if len(self.kinds) == MAX_KINDS:
                raise ImageError(f"the pictures are of more than {MAX_KINDS} kinds")
            if kind.family not in procedure.protocol.families:
                raise ImageError(f"the protocol does not search for {kind.family} files")
            truths: tuple[str, ...] = ()
            if kind.family == "jpeg":
                truths = tuple(t or "notFinite" for t in true_residuals(procedure, handling))
            threshold = kind_threshold(kind, truths, procedure.protocol)
            entry = BindingKind(kind=kind, truths=truths, threshold=threshold)
            self.kinds[kind.digest()] = entry
        return Fraction(entry.threshold)

    def _search(self, exhibit: Exhibit, threshold: Fraction) -> Trace:
        procedure, observed = self._opened.procedure, exhibit.observed
        digest, picture = procedure.protocol.digest, exhibit.file.sha256
        engine = procedure.engine(observed.handling, threshold, batch_limit=self._batch_limit)
        log = RestartLog(self._state, f"picture-{picture[:16]}")
        (trace,) = search(
            engine,
            Targets.of(observed.observations),
            lambda _, index: restart_seed(procedure.model, digest, picture, index),
            log,
            executor=self._executor,
            on_step=lambda: self._report.advance(len(self.pictures), best=log.best),
        )
        return trace

    def _record(self, exhibit: Exhibit, best: Restart | None) -> BoundPicture:
        observed: dict[str, str] = {
            "kind": exhibit.observed.handling.kind.digest(),
            "pixels": exhibit.picture.canonical_digest,
        }
        if best is None or best.residual is None or best.latent is None:
            return BoundPicture(file=exhibit.file, stop="nonFinite", **observed)
        residual = decimal_string(best.residual)
        reached = Fraction(residual) <= Fraction(self.kinds[observed["kind"]].threshold)
        stop = "reached" if reached else "exhausted" if best.stop == "exhausted" else "stalled"
        generator = self._opened.procedure.generator
        return BoundPicture(
            file=exhibit.file,
            stop=stop,  # type: ignore[arg-type]
            residual=residual,
            distance=decimal_string(best.distance or 0.0),
            restart=best.index,
            latent=latent_digest(best.latent),
            pixel_for_pixel=is_pixel_for_pixel(generator, exhibit, best) if reached else None,
            **observed,
        )

    def _append(self, record: BoundPicture, best: Restart | None) -> None:
        """Keep a record; one that shows an earlier one's output says so and is not counted."""
        output, place = None, len(self.pictures)
        if record.stop == "reached" and best is not None and best.latent is not None:
            output = self._output(best.latent)
        first = next((i for i in range(place) if self._repeats(record, output, i)), None)
        if first is not None:
            earlier = self.pictures[first].repeats
            record = record.model_copy(update={"repeats": first if earlier is None else earlier})
        elif output is not None:
            self._outputs[place] = output
        self.pictures.append(record)
        if record.latent is not None and best is not None and best.latent is not None:
            self._rows.append(best.latent)

    def _repeats(self, record: BoundPicture, output: Pixels | None, place: int) -> bool:
        if shows_the_same(record, self.pictures[place]):
            return True
        other = self._outputs.get(place)
        return output is not None and other is not None and same_output(output, other)

    def _output(self, latent: Tensor) -> Pixels:
        generator = self._opened.procedure.generator
        with torch.no_grad():
            made = generator.quantise(generator(latent[None].to(generator.device)))
        pixels: Pixels = made.cpu().numpy()
        return pixels


def _reason(error: ImageError) -> str:
    said = error.what
    if error.expected is not None or error.found is not None:
        said += f" (expected {error.expected}, found {error.found})"
    return "".join(c if c.isprintable() else " " for c in said)[:500]
