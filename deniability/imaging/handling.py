"""What happened to a picture after generation, as an operator, a cell, and a way to repeat it.

The solver sees nothing of a file but this: an affine operator A on pictures and a box. The file
stands for every picture v with low <= A v <= high (DESIGN section 2).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deniability.errors import ImageError
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import MismatchWay

#: Pictures as bytes, N x C x H x W.
Pixels = npt.NDArray[np.uint8]

#: One pixel step (1/255 of the range) is 1 / STEPS of the units of operators and cells.
STEPS = 127.5


@dataclass(frozen=True)
class Observations:
    """What N files of one kind say.

    Attributes:
        low: N x m float32, lower bounds of the cells; -inf where open.
        high: N x m float32, upper bounds of the cells; +inf where open.
        centre: N x m float32, the middle of the cell were it closed everywhere; always finite.
        pixels: N x C x H x W float32 in [0, 1], the decoded files in the model's channels and as
            displayed: what an encoder gets to guess from.

    """

    low: Tensor
    high: Tensor
    centre: Tensor
    pixels: Tensor

    def __len__(self) -> int:
        return self.low.shape[0]

    def __getitem__(self, index: slice | Tensor) -> Observations:
        """Select files by slice or by a tensor of indices."""
        return Observations(
            self.low[index], self.high[index], self.centre[index], self.pixels[index]
        )

    def to(self, device: torch.device | str) -> Observations:
        """Return the same observations on another device."""
        return Observations(
            self.low.to(device),
            self.high.to(device),
            self.centre.to(device),
            self.pixels.to(device),
        )


class Handling(ABC):
    """One kind of handling. Units: one pixel step is 1/127.5, as on pictures in [-1, 1].

    Attributes:
        kind: what this handling is, as signed.
        device: where the operator's constants live.
        base_floor: smallest mean squared *bare-centre* residual rounding alone explains: the
            variance of the rounding error, (1/12)/127.5^2 for pixels.
        way: how outputs are produced, where it is not as registered.
        trims: whether `trim` leaves something out.
        slack: strip around the cell that counts as inside, 0.01 step, for float32.

    """

    base_floor: ClassVar[Fraction]
    slack: ClassVar[float] = 0.01 / STEPS
    way: MismatchWay | None = None
    trims: bool = False

    def __init__(self, kind: ObservationKind, *, device: torch.device | str = "cpu") -> None:
        self.kind = kind
        self.device = torch.device(device)

    @abstractmethod
    def operator(self, pictures: Tensor) -> Tensor:
        """Map pictures to the coordinates in which the file was quantised.

        Affine; usable under `torch.func.vmap` and `jvp`.

        Args:
            pictures: B x C x H x W float32 in [0, 1], C the model's channels.

        Returns:
            B x m float32.

        """

    @abstractmethod
    def save(self, pictures: Pixels) -> Observations:
        """Handle own outputs as the file was handled, and return what the results say.

        Args:
            pictures: N x C x H x W uint8, C the model's channels.

        Returns:
            N observations, on the CPU.

        """

    def edited(self, pictures: Pixels, seeds: list[bytes]) -> Pixels:
        """Return own outputs as they are before they are stored; random parts come from seeds."""
        del seeds
        return pictures

    def controls(self, pictures: Pixels, seeds: list[bytes]) -> Observations:
        """Handle own outputs as this kind says; what is random in it comes from their seeds."""
        return self.save(self.edited(pictures, seeds))

    def parameters(self, seeds: list[bytes]) -> Tensor:
        """Return what a search moves beside the latent, `N x q` float32, as it was for controls."""
        return torch.zeros(len(seeds), 0)

    def indistinguishable(self, pictures: Pixels) -> dict[str, Observations]:
        """Handle own outputs in other ways that leave the same traces in a file.

        What own outputs miss the cell by when handled so belongs into the mismatch allowance.

        Args:
            pictures: N x C x H x W uint8, C the model's channels.

        Returns:
            N observations by the name of the way; empty where there is no other way.

        """
        self._check(pictures)
        return {}

    def to(self, device: torch.device | str) -> Self:
        """Return this handling with its constants on another device."""
        moved = copy(self)
        moved.device = torch.device(device)
        return moved

    def shown(self, observations: Observations) -> Observations:
        """Return what a file says of an output that was handled so, from what it says itself."""
        return observations

    def trim(self, residual: Tensor) -> Tensor:
        """Put 0 for what of a residual `B x m` does not count, if something has to be left out."""
        return residual

    def _check(self, pictures: Pixels) -> None:
        kind = self.kind
        expected = (kind.model_channels, kind.height, kind.width)
        if pictures.dtype != np.uint8 or pictures.shape[1:] != expected:
            raise ImageError(
                "pictures do not fit this handling",
                expected="N x {} x {} x {} uint8".format(*expected),
                found=" x ".join(map(str, pictures.shape)) + f" {pictures.dtype}",
            )
