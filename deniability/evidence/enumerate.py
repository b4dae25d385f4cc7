"""`deny enumerate`: every seed of a range compared with a file, here or on a cluster, resumable."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

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
from deniability.evidence.enumeration_log import SeedLog, size
from deniability.evidence.progress import Progress, Silent
from deniability.evidence.prove import MAX_IMAGE_BYTES, Exhibit, read_exhibit, same_pixels
from deniability.evidence.state import RunState
from deniability.evidence.subject import describe_model
from deniability.generators.base import Generator
from deniability.generators.entropy import entropy_source, latents_from_seed
from deniability.imaging.handling import Handling
from deniability.inversion.cost import forward_timing
from deniability.inversion.executor import Executor, LocalExecutor
from deniability.inversion.memory import lanes_that_fit
from deniability.stats.verdict import LOSSLESS_FLOOR, reached_threshold
from deniability.wire.files import read_capped
from deniability.wire.numbers import decimal_string
from deniability.wire.protocol import ENGINE_VERSION, UNEDITED_PRESET, preset

#: So many times nearer than the next, a seed is hardly near by chance.
STANDS_OUT = 1000
#: Fresh outputs by which a JPEG's threshold is found, as many as the quick preset has controls.
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
        beside: residual of the next nearest seed; where there is none, the smallest of fresh
            outputs.
        file: sha256 of the picture.

    """

    seeds: range
    space: int
    compared: Compared
    labels: int
    exact: bool
    threshold: float
    beside: float
    file: str

    @property
    def complete(self) -> bool:
        """Whether no seed is left."""
        return size(self.seeds) == self.space

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
        if not self.compared.nearest:
            return False
        residual = self.compared.nearest[0].residual
        return residual <= LOSSLESS_FLOOR or self.beside > STANDS_OUT * residual


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
    log = SeedLog(seeds, CHUNK, nearest, report)
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
    if log.compared.seeds != size(seeds):
        raise DeniabilityError(
            "not every seed was compared",
            expected=f"{size(seeds)} seeds",
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
        beside=alone[1].residual if len(alone) > 1 else _beside(generator, task),
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


def _run(
    generator: Generator, task: ComparisonTask, log: SeedLog, executor: Executor | None
) -> None:
    log.begin()
    (executor or LocalExecutor()).run(generator, task, log.chunks(), log)


def _threshold(generator: Generator, handling: Handling) -> float:
    """Return the residual at or below which `prove` would call an output the picture.

    The cell of a JPEG does not quite hold the output that was saved so; by how much it is missed,
    fresh outputs tell.
    """
    kind, protocol = handling.kind, preset(UNEDITED_PRESET)
    truths: list[str | None] = []
    if kind.family != "lossless":
        for latent in _fresh(generator):
            with torch.no_grad():
                output = generator.quantise(generator(latent.to(generator.device)))
            saved = handling.save(output.cpu().numpy())
            value = float(ComparisonTask(handling, saved, 0.0, 1).residuals(generator, latent)[0])
            truths.append(decimal_string(value) if math.isfinite(value) else None)
    return float(reached_threshold(truths, protocol, family=kind.family))


def _fresh(generator: Generator) -> Iterator[Tensor]:
    """Draw latents `1 x d` that have nothing to do with the range."""
    for number in range(_OWN):
        seed = bytes.fromhex(sha256_hex(f"deniability enumerate {number}".encode()))
        yield torch.from_numpy(latents_from_seed(generator.spec, seed))[None]


def _beside(generator: Generator, task: ComparisonTask) -> float:
    found = (float(task.residuals(generator, latent)[0]) for latent in _fresh(generator))
    return min(filter(math.isfinite, found), default=math.inf)


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
