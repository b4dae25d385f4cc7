"""The search for the pictures of a binding, one after the other."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from deniability.errors import ImageError, InputError
from deniability.evidence.calibrate import true_residuals
from deniability.evidence.outputs import same_output
from deniability.evidence.progress import Progress
from deniability.evidence.prove import Exhibit, is_pixel_for_pixel, polished, read_exhibit
from deniability.evidence.register import OpenRegistration
from deniability.evidence.restarts import RestartLog
from deniability.evidence.search import Targets, search
from deniability.evidence.state import RunState
from deniability.evidence.tensors import latent_digest
from deniability.imaging.handling import Pixels
from deniability.inversion.executor import Executor
from deniability.inversion.solution import Restart, Trace
from deniability.stats.binding import kind_threshold
from deniability.verify.binding import shows_the_same
from deniability.wire.binding import MAX_KINDS, BindingKind, BoundPicture
from deniability.wire.numbers import decimal_string
from deniability.wire.registration import FileDescriptor
from deniability.wire.roles import restart_seed


class Session:
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
        trace = polished(
            self._search(exhibit, threshold), exhibit, self._opened, exhibit.observed.handling
        )
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
        kind, pixels = exhibit.observed.handling.kind.digest(), exhibit.picture.canonical_digest
        if best is None or best.residual is None or best.latent is None:
            return BoundPicture(file=exhibit.file, stop="nonFinite", kind=kind, pixels=pixels)
        residual = decimal_string(best.residual)
        reached = Fraction(residual) <= Fraction(self.kinds[kind].threshold)
        stop = "reached" if reached else "exhausted" if best.stop == "exhausted" else "stalled"
        generator = self._opened.procedure.generator
        return BoundPicture(
            file=exhibit.file,
            stop=stop,  # type: ignore[arg-type]
            kind=kind,
            pixels=pixels,
            residual=residual,
            distance=decimal_string(best.distance or 0.0),
            restart=best.index,
            latent=latent_digest(best.latent),
            pixel_for_pixel=is_pixel_for_pixel(generator, exhibit, best) if reached else None,
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
