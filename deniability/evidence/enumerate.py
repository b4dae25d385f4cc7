"""`deny enumerate`: every seed of a range compared with a file, here or on a cluster, resumable."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deniability.crypto.canonical import canonical_json
from deniability.crypto.digest import sha256_hex
from deniability.enumeration.compare import (
    CHUNK,
    Compared,
    ComparisonTask,
    Near,
    seed_space,
)
from deniability.errors import DeniabilityError, GeneratorError, InputError
from deniability.evidence.cache import default_cache_folder
from deniability.evidence.progress import Progress, Silent
from deniability.evidence.prove import MAX_IMAGE_BYTES, Exhibit, read_exhibit, same_pixels
from deniability.evidence.state import RunState
from deniability.evidence.subject import describe_model
from deniability.generators.base import Generator
from deniability.generators.entropy import entropy_source, latents_from_seed
from deniability.imaging.handling import Handling
from deniability.inversion.cost import forward_timing
from deniability.inversion.executor import SLICE_SECONDS, Chunk, Executor, LocalExecutor
from deniability.inversion.memory import lanes_that_fit
from deniability.stats.verdict import LOSSLESS_FLOOR, reached_threshold
from deniability.wire.files import read_capped
from deniability.wire.numbers import decimal_string
from deniability.wire.protocol import ENGINE_VERSION, default_preset

#: So many times nearer than the next, a seed is hardly near by chance.
STANDS_OUT = 1000
_STATE = "seeds"
#: Own outputs by which the threshold of a JPEG's kind is found, as many as the quick preset has.
_OWN = 99


class Answer(StrEnum):
    """What comparing a range came to.

    REACHED: a seed makes the picture. CLOSE: none does, but one nearly does. INCOMPLETE: none of
    those that could be compared. NONE: none.
    """

    REACHED = "reached"
    CLOSE = "close"
    INCOMPLETE = "incomplete"
    NONE = "none"


@dataclass(frozen=True)
class Enumeration:
    """What comparing every seed of a range has shown.

    Attributes:
        seeds: the range.
        space: how many different seeds the entropy source has.
        compared: what they came to; residuals of the nearest are those of one forward pass each.
        labels: combined class labels that each seed was compared with.
        exact: whether the nearest output, stored as the service does, is the file pixel for pixel.
        threshold: residual at or below which an output counts as the picture, as in `prove`.
        file: sha256 of the picture.

    """

    seeds: range
    space: int
    compared: Compared
    labels: int
    exact: bool
    threshold: float
    file: str

    @property
    def complete(self) -> bool:
        """Whether no seed is left."""
        return _size(self.seeds) == self.space

    @property
    def answer(self) -> Answer:
        """What it comes to."""
        if self.exact or self.compared.reached:
            return Answer.REACHED
        if self.close:
            return Answer.CLOSE
        return Answer.INCOMPLETE if self.compared.not_finite else Answer.NONE

    @property
    def close(self) -> bool:
        """Whether the nearest is as near as rounding could be, or far nearer than the next.

        Other processors, precisions and serving stacks make nearly the same picture of a seed.
        """
        residuals = [near.residual for near in self.compared.nearest[:2]]
        return bool(residuals) and (
            residuals[0] <= LOSSLESS_FLOOR or residuals[-1] > STANDS_OUT * residuals[0]
        )


def enumerate_seeds(
    image: Path,
    generator: Generator,
    seeds: range | None = None,
    *,
    nearest: int = 5,
    state: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> Enumeration:
    """Generate the output of every seed of a range, with every label, and compare it with a file.

    Args:
        image: the accused file.
        generator: whose description names the entropy source.
        seeds: consecutive; None for all there are.
        nearest: how many of the nearest to keep; two are always kept.
        state: folder for what an interruption must not lose; None: nothing is kept.
        resume: go on with what is there.
        progress: is told what happens.
        executor: does the work; this process if None.

    Raises:
        InputError: the range lies outside the seed space.
        ImageError: the picture cannot be compared with the model's outputs.
        GeneratorError: the model failed, or its pictures do not follow from seeds.
        DeniabilityError: not every seed of the range was compared.

    """
    if generator.spec.format == "diffusers":
        raise GeneratorError(
            "the decoder of a latent diffusion model has no seeds to enumerate",
            expected="a model whose latents are drawn from a seed",
            found="latents that the sampler makes, which is not part of the model",
            hint="Use deny prove; or export what the service runs, from seed to picture.",
        )
    report, space = progress or Silent(), seed_space(generator.spec.entropy)
    seeds = range(space) if seeds is None else seeds
    if not seeds or seeds.step != 1 or seeds.start < 0 or seeds.stop > space:
        raise InputError(
            "not a range of seeds",
            where="--seeds",
            expected=f"FIRST:LAST within 0:{space - 1}",
            found=f"{seeds.start}:{seeds.stop - 1}",
        )
    exhibit = read_exhibit(image, generator)
    handling, file = exhibit.families[0]
    threshold, nearest = _threshold(generator, handling), max(2, nearest)
    task = ComparisonTask(handling.to("cpu"), file.to("cpu"), threshold, nearest)
    log = _Log(seeds, nearest, report)
    if state is None:
        _run(generator, task, log, executor)
    else:
        identity = _identity(exhibit, generator, seeds, task)
        with RunState(state, identity, resume=resume, note=report.note) as kept:
            log.kept = kept
            log.read()
            try:
                _run(generator, task, log, executor)
            finally:
                log.write()
            kept.remove()
    if log.compared.seeds != _size(seeds):
        raise DeniabilityError(
            "not every seed was compared",
            expected=f"{_size(seeds)} seeds",
            found=f"{log.compared.seeds}",
            hint="Run it again without --resume.",
        )
    # Batches of another size round differently; a forward pass of one is the same everywhere.
    alone = sorted(_alone(generator, task, near) for near in log.compared.nearest)
    return Enumeration(
        seeds=seeds,
        space=space,
        compared=replace(log.compared, nearest=tuple(alone)),
        labels=generator.spec.label_count,
        exact=_exact(generator, exhibit, alone),
        threshold=threshold,
        file=exhibit.file.sha256,
    )


def expected_seconds(generator: Generator) -> tuple[int, float]:
    """Return how many seeds there are, and how long all of them take here, about.

    Measures for a fraction of a second.
    """
    space = seed_space(generator.spec.entropy)
    source, rows = entropy_source(generator.spec), lanes_that_fit(generator)
    begun = time.perf_counter()
    drawn = source.latents(range(min(rows, space)))
    drawing = (time.perf_counter() - begun) / len(drawn)
    latents = torch.from_numpy(drawn).to(generator.device)
    forward = forward_timing(generator, latents).seconds
    return space, space * (drawing + generator.spec.label_count * forward)


def default_state_folder(image: Path, generator: Generator, seeds: range | None) -> Path:
    """Return where the state of an interrupted enumeration is kept: in the user's cache."""
    space = range(seed_space(generator.spec.entropy)) if seeds is None else seeds
    data = read_capped(image, MAX_IMAGE_BYTES, what="picture")
    name = f"{sha256_hex(data)} {generator.digest} {space.start} {space.stop}"
    return default_cache_folder().parent / "enumerations" / sha256_hex(name.encode())[:32]


def latent_of(generator: Generator, near: Near) -> Tensor:
    """Return the latent `d` of a seed with a label."""
    spec = generator.spec
    latent = torch.from_numpy(entropy_source(spec).latent(near.seed))
    for (column, _), value in zip(spec.labels, spec.label_values(near.label), strict=True):
        latent[column] = value
    return latent


def _run(generator: Generator, task: ComparisonTask, log: _Log, executor: Executor | None) -> None:
    log.begin()
    (executor or LocalExecutor()).run(generator, task, log.chunks(), log)


def _size(seeds: range) -> int:
    return seeds.stop - seeds.start  # `len` takes no more than 2^63 - 1


def _threshold(generator: Generator, handling: Handling) -> float:
    """Return the residual at or below which `prove` would call an output the picture.

    The cell of a JPEG does not quite hold the output that was saved so; by how much it is missed,
    fresh outputs tell.
    """
    kind, protocol = handling.kind, default_preset(generator.spec.dimension)
    truths: list[str | None] = []
    if kind.family != "lossless":
        for number in range(_OWN):
            seed = sha256_hex(f"{kind.digest()} {number}".encode())
            latent = torch.from_numpy(latents_from_seed(generator.spec, bytes.fromhex(seed)))[None]
            with torch.no_grad():
                output = generator.quantise(generator(latent.to(generator.device)))
            saved = handling.save(output.cpu().numpy())
            value = float(ComparisonTask(handling, saved, 0.0, 1).residuals(generator, latent)[0])
            truths.append(decimal_string(value) if math.isfinite(value) else None)
    return float(reached_threshold(truths, protocol, family=kind.family))


def _alone(generator: Generator, task: ComparisonTask, near: Near) -> Near:
    residual = float(task.residuals(generator, latent_of(generator, near)[None])[0])
    return replace(near, residual=residual) if math.isfinite(residual) else near


def _identity(exhibit: Exhibit, generator: Generator, seeds: range, task: ComparisonTask) -> str:
    about = {
        "chunk": CHUNK,
        "engine": ENGINE_VERSION,
        "file": exhibit.file.sha256,
        "first": str(seeds.start),
        "generator": generator.spec.to_wire(),
        "last": str(seeds.stop - 1),
        "model": describe_model(generator).to_wire(),
        "nearest": task.most,
        "threshold": decimal_string(task.reaches),
    }
    return sha256_hex(canonical_json(about))


def _exact(generator: Generator, exhibit: Exhibit, nearest: Sequence[Near]) -> bool:
    return bool(nearest) and same_pixels(generator, exhibit, latent_of(generator, nearest[0]))


class _Log:
    """Which chunks are done and what they came to; in constant memory, and on disk now and then."""

    def __init__(self, seeds: range, nearest: int, report: Progress) -> None:
        self._seeds, self._nearest, self._report = seeds, nearest, report
        self._count = -(-_size(seeds) // CHUNK)
        self._first = 0  # all chunks before it are done
        self._beyond: set[int] = set()  # and these
        self._partial: dict[int, Compared] = {}
        self._written = time.monotonic()
        self.compared = Compared()
        self.kept: RunState | None = None

    def begin(self) -> None:
        """Say how much there is to do."""
        self._report.phase("generating and comparing seeds", _size(self._seeds))
        self.tick()

    def chunks(self) -> Iterator[Chunk[range, Compared]]:
        """Make what is left, each when it is asked for."""
        for number in range(self._first, self._count):
            if self.wanted(number):
                work = self._seeds[number * CHUNK : (number + 1) * CHUNK]
                yield Chunk(number, work, self._partial.get(number))

    def wanted(self, number: int) -> bool:
        """Tell whether a chunk is not done yet."""
        return number >= self._first and number not in self._beyond

    def found(self, number: int, results: Sequence[Compared]) -> None:
        """Take what a chunk has come to."""
        for result in results:
            if self.wanted(number):
                self.compared = self.compared.joined(result, self._nearest)
                self._beyond.add(number)
                self._partial.pop(number, None)
        while self._first in self._beyond:
            self._beyond.remove(self._first)
            self._first += 1

    def partial(self, number: int, partial: Compared | None) -> None:
        """Keep how far a chunk is."""
        if partial is not None and self.wanted(number):
            self._partial[number] = partial
        if time.monotonic() - self._written >= SLICE_SECONDS:
            self.write()

    def tick(self) -> None:
        """Show how far it is."""
        done = self.compared.seeds + sum(part.seeds for part in self._partial.values())
        found = [near for part in (self.compared, *self._partial.values()) for near in part.nearest]
        self._report.advance(done, best=min(found).residual if found else None)

    def write(self) -> None:
        """Keep everything on disk, if there is somewhere to keep it."""
        self._written = time.monotonic()
        if self.kept is not None and (self.compared.seeds or self._partial):
            about = {
                "first": self._first,
                "beyond": sorted(self._beyond),
                "compared": asdict(self.compared),
                "partial": {str(number): asdict(part) for number, part in self._partial.items()},
            }
            self.kept.save(_STATE, {}, about)

    def read(self) -> None:
        """Go on from what is on disk.

        Raises:
            InputError: it is damaged.

        """
        assert self.kept is not None  # noqa: S101 - only called where there is a folder
        if (stored := self.kept.tensors(_STATE)) is None:
            return
        try:
            about = stored[1]
            self._first, self._beyond = int(about["first"]), set(map(int, about["beyond"]))
            self.compared = _compared(about["compared"])
            self._partial = {int(n): _compared(part) for n, part in about["partial"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self.kept.damaged(_STATE) from error


def _compared(stored: Any) -> Compared:
    nearest = tuple(Near(**near) for near in stored["nearest"])
    return replace(Compared(**{**stored, "nearest": ()}), nearest=nearest)
