"""Files of edited outputs: an edit, and the cell of the file behind it."""

from __future__ import annotations

from fractions import Fraction
from typing import Self

import numpy as np
import torch
from torch import Tensor

from deniability.imaging.edits import Edit
from deniability.imaging.edits.edit import free_numbers
from deniability.imaging.handling import Handling, Observations, Pixels
from deniability.imaging.residual import trimmed
from deniability.wire.observation import ObservationKind

_PROBES = 3
_LEAST = 4  # one in so many coordinates has to be left
_TILES = 16  # along the shorter side, where the worst are left out


class EditedHandling(Handling):
    """A cell in which an *edited* output lay; the operator takes pictures of the file's size.

    Coordinates that show what the edit put there, such as an uncovered border, are left out.

    `save` and `indistinguishable` take pictures that are edited already.

    Attributes:
        edit: what was done to the output.

    """

    def __init__(
        self,
        kind: ObservationKind,
        edit: Edit,
        stored: Handling,
    ) -> None:
        super().__init__(kind, device=stored.device)
        self.edit = edit
        self.way = edit.way
        self._stored = stored
        self.base_floor: Fraction = stored.base_floor  # type: ignore[misc]
        self._shown = self._visible_coordinates()
        self._groups = self._tiles()
        self.trims = self._groups is not None

    def operator(self, pictures: Tensor) -> Tensor:
        """Map edited outputs B x C x H' x W' to the coordinates of the file that count."""
        values = self._stored.operator(pictures)
        return values if self._shown is None else values[:, self._shown]

    def save(self, pictures: Pixels) -> Observations:
        """Store pictures of the file's size, which are edited already."""
        return self.shown(self._stored.save(pictures))

    def shown(self, observations: Observations) -> Observations:
        """Leave out the coordinates that do not count."""
        if self._shown is None:
            return observations
        index = self._shown.cpu()
        return Observations(
            observations.low[:, index],
            observations.high[:, index],
            observations.centre[:, index],
            observations.pixels,
        )

    def edited(self, pictures: Pixels, seeds: list[bytes]) -> Pixels:
        """Edit own outputs by parameters drawn from their seeds: `N x C x H' x W'` uint8."""
        self._check(pictures)
        edited = np.zeros((len(pictures), self.kind.model_channels, *self.kind.file_size), np.uint8)
        for row, (picture, seed) in enumerate(zip(pictures, seeds, strict=True)):
            edited[row] = self.edit.apply(picture, self.edit.sample(seed), seed)
        return edited

    def indistinguishable(self, pictures: Pixels) -> dict[str, Observations]:
        """Store edited outputs by an encoder that the file cannot be told from."""
        found = self._stored.indistinguishable(pictures)
        return {name: self.shown(observations) for name, observations in found.items()}

    def parameters(self, seeds: list[bytes]) -> Tensor:
        """Return the free numbers `N x q` at which the model of the edit does what was done."""
        drawn = [free_numbers(self.edit.sample(seed)) for seed in seeds]
        return torch.from_numpy(np.array(drawn, dtype=np.float32).reshape(len(seeds), -1))

    def to(self, device: torch.device | str) -> Self:
        """Return this handling with its constants on another device."""
        moved = super().to(device)
        moved._stored = self._stored.to(device)  # noqa: SLF001 - a copy of this very class
        if self._groups is not None:
            moved._groups = self._groups.to(moved.device)  # noqa: SLF001
        if self._shown is not None:
            moved._shown = self._shown.to(moved.device)  # noqa: SLF001
        return moved

    def trim(self, residual: Tensor) -> Tensor:
        """Leave out as much as the edit may have covered, where it fits worst."""
        if self._groups is None:
            return residual
        return trimmed(residual, self._groups, self.edit.covered)

    def _tiles(self) -> Tensor | None:
        """Assign each coordinate to a part of the picture: a tile of pixels, or a block."""
        if not self.edit.covered:
            return None
        kind = self.kind.stored
        if kind.family == "jpeg":
            count = self._stored.operator(
                torch.zeros(1, kind.model_channels, kind.height, kind.width, device=self.device)
            ).shape[1]
            groups = torch.arange(count) // 64
        else:
            side = max(1, min(kind.height, kind.width) // _TILES)
            rows = torch.arange(kind.height) // side
            columns = torch.arange(kind.width) // side
            tile = rows[:, None] * (int(columns.max()) + 1) + columns[None, :]
            groups = tile.flatten().repeat(kind.channels)
        return groups.to(self.device)

    def _visible_coordinates(self) -> Tensor | None:
        """Find the coordinates that depend on no hidden pixel, by changing those at random."""
        visible = self.edit.visible()
        if visible is None:
            return None
        stream = torch.Generator().manual_seed(0)
        shape = (self.kind.model_channels, *self.kind.file_size)
        hidden = ~torch.from_numpy(visible)
        depends: Tensor | None = None
        for _ in range(_PROBES):
            picture = torch.rand(1, *shape, generator=stream)
            other = torch.where(hidden, torch.rand(1, *shape, generator=stream), picture)
            pair = torch.cat([picture, other]).to(self.device)
            first, second = self._stored.operator(pair)
            differs = (first - second).abs() > 1e-6
            depends = differs if depends is None else depends | differs
        assert depends is not None  # noqa: S101
        left = torch.nonzero(~depends)[:, 0]
        # Too few coordinates are met by any model: then nothing is said of this family.
        return left if _LEAST * len(left) >= len(depends) else left[:0]
