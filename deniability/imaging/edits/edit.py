"""One family of handling: how it is done to pictures, and a differentiable model of it.

A control is handled by `apply`, which does what a program would do, codec and rounding included. A
search goes through `model`, whose parameters it moves together with the latent: so an unknown shift
or gain is found and not taken for another picture (DESIGN section 2).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deniability.imaging.draws import shake256_uniform
from deniability.imaging.normal import Float64Array
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import MismatchWay

#: A picture C x H x W uint8.
Picture8 = npt.NDArray[np.uint8]

#: A search may leave the bin by a quarter, so that its edge is no wall to a step.
REACH = 1.25


class Edit(ABC):
    """A family of handling for pictures of one size.

    Its parameters are q numbers u, each in [-1, 1] over the family's bin.

    Attributes:
        parameters: q.
        raced: how many of them a race is over, the first; None for all. The others are found from
            wherever they begin.
        covered: share of the picture, at most, that shows something else, who knows where.
        modes: whether the parameters are one of finitely many, which `candidates` returns.
        way: how outputs are produced, where that is the difference; None: as registered.

    """

    parameters: ClassVar[int] = 0
    raced: ClassVar[int | None] = None
    covered: ClassVar[float] = 0.0
    modes: ClassVar[bool] = False
    way: ClassVar[MismatchWay | None] = None

    def __init__(self, kind: ObservationKind) -> None:
        self.kind = kind
        self.height, self.width = kind.height, kind.width
        self.file_height, self.file_width = kind.file_size

    def sample(self, seed: bytes) -> Float64Array:
        """Draw the parameters `q` of a control, uniformly over the bin."""
        return 2 * shake256_uniform(seed + b"/edit", self.parameters) - 1

    def candidates(self, drawn: Float64Array) -> Float64Array:
        """Return the parameters `c' x q` that a start is chosen from, given draws `c x q`."""
        return drawn

    @abstractmethod
    def apply(self, picture: Picture8, parameters: Float64Array, seed: bytes) -> Picture8:
        """Do it to an output, as programs do.

        Args:
            picture: C x H x W uint8, of the model's size.
            parameters: q numbers in [-1, 1].
            seed: for whatever else is random in it.

        Returns:
            C x H' x W' uint8, of the file's size.

        """

    def model(self, pictures: Tensor, parameters: Tensor) -> Tensor:
        """Do it differentiably, without codecs and rounding.

        Args:
            pictures: B x C x H x W in [0, 1].
            parameters: B x q.

        Returns:
            B x C x H' x W' in [0, 1]; usable under `torch.func.vmap` and `jvp`.

        """
        del parameters
        return pictures

    def undo(self, seen: Tensor, parameters: Tensor) -> Tensor:
        """Undo it about, for an encoder to guess from.

        Args:
            seen: B x C x H' x W' in [0, 1].
            parameters: B x q.

        Returns:
            B x C x H x W in [0, 1].

        """
        del parameters
        return seen

    def visible(self) -> npt.NDArray[np.bool_] | None:
        """Return which pixels `H' x W'` of the file show the output; None: all of them."""
        return None


def within_reach(moved: Tensor) -> Tensor:
    """Return the parameters u that a search's free numbers stand for: u = r tanh(v / r)."""
    return REACH * torch.tanh(moved / REACH)


def free_numbers(parameters: Float64Array) -> Float64Array:
    """Return the free numbers v that stand for parameters in [-1, 1]: the inverse."""
    return np.asarray(REACH * np.arctanh(parameters / REACH), dtype=np.float64)
