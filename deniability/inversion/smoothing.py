"""A module with its kinks smoothed: the rectifiers averaged over Gaussian noise at their inputs.

A network of rectifiers is linear between kinks. Gauss-Newton's model ends at the first one, and a
long chain of them has so many that every step becomes short: the search creeps, and stops far from
the solution. The mean of f over normal noise at its input has no kinks, the same slopes far from 0,
and tends to f with the noise. So that is lowered in steps, each search beginning where the last
ended (graduated non-convexity: Blake and Zisserman 1987).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_Function = Callable[..., Any]


def smoothed(values: Tensor, slope: float, sigma: float | Tensor) -> Tensor:
    """Return the mean of f(x + noise) over normal noise of spread `sigma` > 0.

    f has slope 1 above 0 and `slope` below.
    """
    scaled = values / sigma
    above = 0.5 * (1 + torch.erf(scaled / math.sqrt(2)))
    density = torch.exp(-0.5 * scaled.square()) / math.sqrt(2 * math.pi)
    return slope * values + (1 - slope) * (values * above + sigma * density)


def _relu(values: Tensor, inplace: bool = False) -> float:  # noqa: ARG001 - as torch is called
    return 0.0


def _leaky_relu(values: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> float:  # noqa: ARG001
    return negative_slope


#: How the slope below 0 follows from a call's arguments.
_SLOPES: Mapping[_Function, Callable[..., float]] = {
    functional.relu: _relu,
    torch.relu: _relu,
    Tensor.relu: _relu,
    functional.leaky_relu: _leaky_relu,
}


class _Smoothing(TorchFunctionMode):
    """Replaces the rectifiers, or only measures their inputs.

    Args:
        sigmas: one for each call, in order; None to measure.

    """

    def __init__(self, sigmas: Iterator[float] | None) -> None:
        super().__init__()
        self._sigmas = sigmas
        self.seen: list[float] = []

    def __torch_function__(
        self, func: _Function, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch, or what stands for it."""
        given = kwargs or {}
        if func not in _SLOPES or not args:
            return func(*args, **given)
        slope = _SLOPES[func](*args, **given)
        values = args[0]
        if self._sigmas is None:
            self.seen.append(float(values.std()))
            return func(*args, **given)
        return smoothed(values, slope, next(self._sigmas))


def rectifier_widths(forward: Callable[[Tensor], Tensor], latents: Tensor) -> tuple[float, ...]:
    """Return the spread of the input of each rectifier that `forward` calls, in order.

    Args:
        forward: of a module in Python; in a TorchScript or an exported graph none is seen.
        latents: `R x d`, draws from the prior.

    """
    with torch.no_grad(), _Smoothing(None) as measured:
        forward(latents)
    return tuple(measured.seen)


def smoothed_forward(
    forward: Callable[[Tensor], Tensor], widths: Sequence[float], share: float
) -> Callable[[Tensor], Tensor]:
    """Return `forward` with each rectifier averaged over noise of `share` of its input's spread."""
    if share == 0 or not widths:
        return forward

    def smooth(latents: Tensor) -> Tensor:
        with _Smoothing(iter([share * width for width in widths])):
            return forward(latents)

    return smooth
