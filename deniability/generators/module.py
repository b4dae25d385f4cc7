"""What every adapter returns: a module that has been opened but not yet described."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from deniability.generators.base import Forward
from deniability.generators.layout import Layout
from deniability.wire.generator import ModelFormat, Prior

#: Name and shape (without batch axis) of each input of a module.
Inputs = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class LoadedModule:
    """A module in evaluation mode on its device, its parameters detached.

    Attributes:
        module: for its weights.
        forward: its forward pass.
        format: where it came from.
        candidates: inputs that it may take, the likeliest first.
        certain: the file states its inputs, so `candidates` is its one entry.
        static_batch: batch size that the file prescribes, if it does.
        prior: of each input, where the kind of model says it.
        output_range: likewise.
        layouts: those that the weights may be put into, the best first; none: they stay.

    """

    module: nn.Module
    forward: Forward
    format: ModelFormat
    candidates: tuple[Inputs, ...] = ()
    certain: bool = False
    static_batch: int | None = None
    layouts: tuple[Layout, ...] = ()
    prior: Prior | None = None
    output_range: tuple[str, str] | None = None
    factory: str | None = None
    state_dict_key: str | None = None
    prefix: str | None = None


def candidates_of(module: nn.Module) -> tuple[Inputs, ...]:
    """Guess the latent's shape from the first layers that have weights, the likeliest first."""
    found: list[tuple[int, ...]] = []
    for part in module.modules():
        kind = getattr(part, "original_name", type(part).__name__)
        weight = getattr(part, "weight", None)
        if not isinstance(weight, torch.Tensor):
            continue
        if kind.startswith("ConvTranspose2d"):
            width = weight.shape[0]
            found += [(width, 1, 1), (width,)]
        elif kind.startswith("Conv2d") and weight.ndim == 4:
            width = weight.shape[1]
            found += [(width, 1, 1), (width,)]
        elif kind.startswith("Linear"):
            width = weight.shape[1]
            found += [(width,), (width, 1, 1)]
        if len(found) >= 6:
            break
    return as_candidates(found)


def candidates_of_tensors(tensors: dict[str, torch.Tensor]) -> tuple[Inputs, ...]:
    """Guess likewise from a state dict alone, which does not say what kind of layers it feeds."""
    for tensor in tensors.values():
        if tensor.ndim == 4:
            return as_candidates([(tensor.shape[0], 1, 1)])
        if tensor.ndim == 2:
            return as_candidates([(tensor.shape[1],)])
    return ()


def as_candidates(shapes: list[tuple[int, ...]]) -> tuple[Inputs, ...]:
    """Return one-part inputs of these shapes, each once, in order."""
    return tuple((("z", shape),) for shape in dict.fromkeys(shapes))
