"""A module with its kinks smoothed: the rectifiers averaged over Gaussian noise at their inputs.

A network of rectifiers is linear between kinks. Gauss-Newton's model ends at the first one, and a
long chain of them has so many that every step becomes short: the search creeps, and stops far from
the solution. E[f(x + σε)] has no kinks, the same slope far from 0, and tends to f with σ. So σ is
lowered in steps, each search beginning where the last ended (graduated non-convexity: Blake and
Zisserman 1987).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_Function = Callable[..., Any]


def smoothed(values: Tensor, slope: float, sigma: float | Tensor) -> Tensor:
    """Return E[f(x + σε)], f having slope 1 above 0 and `slope` below; σ > 0."""
    scaled = values / sigma
    above = 0.5 * (1 + torch.erf(scaled / math.sqrt(2)))
    density = torch.exp(-0.5 * scaled.square()) / math.sqrt(2 * math.pi)
    return slope * values + (1 - slope) * (values * above + sigma * density)


def _rectifier(values: Tensor, *_: object, **__: object) -> float:
    return 0.0


def _leaky(values: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> float:  # noqa: FBT001, FBT002, ARG001 - torch's
    return negative_slope


#: How the slope below 0 follows from a call's arguments.
_SLOPES: Mapping[_Function, Callable[..., float]] = {
    functional.relu: _rectifier,
    torch.relu: _rectifier,
    Tensor.relu: _rectifier,
    functional.leaky_relu: _leaky,
}


class _Smoothing(TorchFunctionMode):
    """Replaces the rectifiers; `sigmas` holds one for each call, in order."""

    def __init__(self, sigmas: Iterator[float] | None, seen: list[float]) -> None:
        super().__init__()
        self._sigmas = sigmas
        self._seen = seen

    def __torch_function__(
        self, func: _Function, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch, or what stands for it."""
        given = kwargs or {}
        if func not in _SLOPES:
            return func(*args, **given)
        slope = _SLOPES[func](*args, **given)
        values = args[0]
        if self._sigmas is None:
            self._seen.append(float(values.std()))
            return func(*args, **given)
        return smoothed(values, slope, next(self._sigmas))


def rectifier_widths(forward: Callable[[Tensor], Tensor], latents: Tensor) -> list[float]:
    """Return the spread of the input of each rectifier that `forward` calls, in order.

    Args:
        forward: of a module in Python; in a TorchScript or an exported graph none is seen.
        latents: `R x d`, draws from the prior.

    """
    seen: list[float] = []
    with torch.no_grad(), _Smoothing(None, seen):
        forward(latents)
    return seen


@contextmanager
def _smoothing(widths: Sequence[float], share: float) -> Iterator[None]:
    with _Smoothing(iter([share * width for width in widths]), []):
        yield


def smoothed_forward(
    forward: Callable[[Tensor], Tensor], widths: Sequence[float], share: float
) -> Callable[[Tensor], Tensor]:
    """Return `forward` with each rectifier averaged over noise of `share` of its input's spread."""
    if share == 0 or not widths:
        return forward

    def smooth(latents: Tensor) -> Tensor:
        with _smoothing(widths, share):
            return forward(latents)

    return smooth
