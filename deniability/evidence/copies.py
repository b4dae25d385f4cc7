"""Copies of a model that differ from it a little, by a rule: noise, rounding, pruning, tuning.

How near a copy can come before its outputs are those of the model is what an evaluation reports.
The model's weights are changed in place while a copy's pictures are made, whatever its format.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deniability.errors import GeneratorError
from deniability.evidence.procedure import Procedure
from deniability.generators.base import Generator
from deniability.generators.entropy import latents_from_seed
from deniability.imaging.draws import shake256_normal
from deniability.wire.roles import evaluation_copy_seed, evaluation_seed

#: Latents at which a copy is compared with the model.
_COMPARED = 64
#: Of the tuning: steps, outputs in a step, rate in deviations of a tensor, and what it aims at.
_STEPS, _BATCH, _RATE, _BRIGHTER = 40, 32, 0.001, 1.05
_LEVELS = 127  # steps of 8 bits on each side of 0

#: Seed of what is random, by number.
Seeds = Callable[[int], bytes]


@dataclass(frozen=True)
class ModelCopy:
    """A copy of the model, and how far its outputs are from the model's.

    Attributes:
        name: of the group.
        distance: mean squared difference of outputs at the same latents, pictures on [-1, 1].
        change: makes the model into the copy.

    """

    name: str
    distance: float
    change: Callable[[Sequence[Tensor]], None]


def model_copy(procedure: Procedure, name: str) -> ModelCopy:
    """Make the copy that an evaluation calls `name`.

    Raises:
        GeneratorError: the model has no weights that can be changed so, or gives no pictures then.

    """
    generator, protocol = procedure.generator, procedure.protocol.digest

    def seeds(index: int) -> bytes:
        return evaluation_copy_seed(procedure.model, protocol, name, index, beacon=procedure.beacon)

    trained: list[Tensor] = []

    def change(tensors: Sequence[Tensor]) -> None:
        weights = weights_among(generator, tensors)
        if trained:  # tuning is done once
            for weight, after in zip(weights, trained, strict=True):
                weight.copy_(after)
            return
        _CHANGES[name.partition("-")[0]](generator, weights, name, seeds)
        if name == "fine-tuned":
            trained.extend(weight.detach().clone() for weight in weights)

    latents = np.stack(
        [
            latents_from_seed(
                generator.spec,
                evaluation_seed(
                    procedure.model, protocol, "", name, index, beacon=procedure.beacon
                ),
            )
            for index in range(_COMPARED)
        ]
    )
    drawn = torch.from_numpy(latents).to(generator.device)
    with torch.no_grad():
        before = generator(drawn)
        with generator.altered(change):
            after = generator(drawn)
    distance = float((2 * (after - before)).double().square().mean())  # on [-1, 1]
    if not np.isfinite(distance):
        raise GeneratorError("the copy gives no pictures: its output is not finite", where=name)
    if distance == 0:
        raise GeneratorError("the copy's outputs are the model's, to the last bit", where=name)
    return ModelCopy(name, distance, change)


@contextlib.contextmanager
def as_copy(generator: Generator, copied: ModelCopy | None) -> Iterator[None]:
    """Have the generator be the copy for the time of the context; itself for None."""
    if copied is None:
        yield
        return
    with generator.altered(copied.change):
        yield


def weights_among(generator: Generator, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the parameters of more than one number, or failing that all such tensors.

    Raises:
        GeneratorError: there are none.

    """
    own = {id(parameter) for parameter in generator.module.parameters()}
    several = [tensor for tensor in tensors if tensor.numel() > 1]
    found = [tensor for tensor in several if id(tensor) in own] or several
    if not found:
        raise GeneratorError("the model has no weights that could be changed")
    return found


def add_noise(weights: Sequence[Tensor], share: float, seeds: Seeds) -> None:
    """Add Gaussian noise of this share of each tensor's deviation; tensor i has seed i."""
    for index, weight in enumerate(weights):
        noise = torch.from_numpy(shake256_normal(seeds(index), weight.numel()))
        noise = noise.to(weight.dtype).reshape(weight.shape).to(weight.device)
        weight.add_(noise * (weight.std() * share))


def _noise(_: Generator, weights: Sequence[Tensor], name: str, seeds: Seeds) -> None:
    add_noise(weights, float(name.removeprefix("noise-")), seeds)


def _rounded(_: Generator, weights: Sequence[Tensor], __: str, ___: Seeds) -> None:
    for weight in weights:
        rows = weight.reshape(len(weight), -1) if weight.ndim > 1 else weight.reshape(1, -1)
        step = rows.abs().amax(dim=1, keepdim=True) / _LEVELS
        even = torch.where(step > 0, (rows / step).round() * step, rows)
        weight.copy_(even.reshape(weight.shape))


def _pruned(_: Generator, weights: Sequence[Tensor], name: str, __: Seeds) -> None:
    share = float(name.removeprefix("pruned-"))
    for weight in weights:
        size = weight.abs().flatten()
        count = int(share * size.numel())
        if count:
            smallest = torch.argsort(size, stable=True)[:count]
            left = weight.flatten().clone()
            left[smallest] = 0.0
            weight.copy_(left.reshape(weight.shape))


def _tuned(generator: Generator, weights: Sequence[Tensor], _: str, seeds: Seeds) -> None:
    """Train towards brighter outputs; the targets are the model's before the first step."""
    spec = generator.spec
    batches = []
    for step in range(_STEPS):
        numbers = [latents_from_seed(spec, seeds(step * _BATCH + i)) for i in range(_BATCH)]
        latents = torch.from_numpy(np.stack(numbers)).to(generator.device)
        batches.append((latents, (generator(latents) * _BRIGHTER).clamp(0.0, 1.0)))
    groups = [{"params": [w], "lr": _RATE * float(w.std())} for w in weights]
    try:
        for weight in weights:
            weight.requires_grad_(True)
        optimiser = torch.optim.Adam(groups)
        with torch.enable_grad():
            for latents, wanted in batches:
                optimiser.zero_grad()
                loss = (generator(latents) - wanted).square().mean()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
    except RuntimeError as error:
        raise GeneratorError(
            "the model cannot be trained here", found=str(error).splitlines()[0][:200]
        ) from error
    finally:
        for weight in weights:
            weight.grad = None
            weight.requires_grad_(False)


_CHANGES: dict[str, Callable[[Generator, Sequence[Tensor], str, Seeds], None]] = {
    "noise": _noise,
    "int8": _rounded,
    "pruned": _pruned,
    "fine": _tuned,
}
