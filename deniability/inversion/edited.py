"""Searching through an edit: its parameters are free numbers behind the latent's.

To the engine an edited generator is one more generator, whose latents have d + q numbers and whose
pictures have the file's size.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deniability.errors import GeneratorError
from deniability.generators.base import Generator
from deniability.imaging.draws import shake256_uniform
from deniability.imaging.edited import EditedHandling
from deniability.imaging.edits import Edit
from deniability.imaging.edits.edit import free_numbers, within_reach
from deniability.imaging.handling import Handling
from deniability.inversion.encoder import Encoder
from deniability.inversion.objective import Objective
from deniability.inversion.race import ROUNDS, Race
from deniability.inversion.solver import Solver
from deniability.inversion.starts import Starts

#: Parameters that a start is chosen from, by how well the output at them fits.
_CANDIDATES = 128
_TOGETHER = 128  # edited at once
#: Iterations after which one of finitely many edits is chosen again.
_CHOICES = (3, 6, 10, 15, 20, 30)


class EditedGenerator(Generator):
    """A generator with an edit behind it; its latents are `R x (d + q)`."""

    def __init__(self, generator: Generator, edit: Edit) -> None:
        self.__dict__.update(vars(generator))
        self.generator = generator
        self.edit = edit
        if self.free is not None:
            beyond = torch.arange(
                generator.dimension, self.dimension, dtype=torch.int64, device=self.device
            )
            self.free = torch.cat([self.free, beyond])

    @property
    def dimension(self) -> int:
        """How many numbers a latent has: the generator's and the edit's."""
        return self.generator.dimension + self.edit.parameters

    def __call__(self, latents: Tensor) -> Tensor:
        """Return the edited pictures, `R x C x H' x W'` in [0, 1]."""
        own = self.generator.dimension
        if latents.ndim != 2 or latents.shape[1] != self.dimension:
            raise GeneratorError(
                "latents of another shape than the edited generator takes",
                expected=f"R x {self.dimension}",
                found=" x ".join(map(str, latents.shape)),
            )
        pictures = self.generator(latents[:, :own])
        return self.edit.model(pictures, within_reach(latents[:, own:]))

    def fitted(
        self, latents: Tensor, iterations: Tensor, objective: Objective, handling: Handling
    ) -> Tensor:
        """Return latents `R x (d + q)` with the edit of finitely many that fits each output best.

        Only restarts at certain iterations are looked at; the others stay.
        """
        own = self.generator.dimension
        due = torch.isin(iterations, torch.tensor(_CHOICES, device=iterations.device))
        rows = torch.nonzero(due)[:, 0]
        if not len(rows):
            return latents
        modes = free_numbers(self.edit.candidates(np.zeros((0, self.edit.parameters))))
        choices = torch.from_numpy(modes.astype(np.float32)).to(latents.device)
        chosen = objective.rows(rows)
        with torch.no_grad():
            pictures = self.generator(latents[rows, :own])
            misfits = [
                chosen.distance(
                    handling.operator(
                        self.edit.model(pictures, within_reach(choice).expand(len(rows), -1))
                    )
                )
                for choice in choices
            ]
        best = torch.stack(misfits).argmin(dim=0)
        changed = latents.clone()
        changed[rows, own:] = choices[best]
        return changed


def searched(generator: Generator, handling: Handling) -> Generator:
    """Return what is searched for files of a handling: with the edit, where there is one."""
    if isinstance(handling, EditedHandling):
        return EditedGenerator(generator, handling.edit)
    return generator


def starts_for(
    generator: Generator, encoder: Encoder | None, handling: Handling, solver: Solver[Any]
) -> Starts:
    """Return where restarts on files of a handling begin.

    `generator` is the plain one.
    """
    if isinstance(handling, EditedHandling):
        return EditedStarts(generator, encoder, EditedGenerator(generator, handling.edit), solver)
    return Starts(generator, encoder)


@dataclass(frozen=True)
class EditedStarts(Starts):
    """Starts on edited pictures.

    For each of a few parameters drawn from the seed the edit is undone, the encoder guesses, and
    the guess is edited again; the search begins where that fits best. Of parameters that can be far
    off, that is often a wrong place: so every other restart lets the best of each part of the bin
    take a few steps first.

    Attributes:
        edited: the generator with the edit.
        solver: whose steps those are.

    """

    edited: EditedGenerator
    solver: Solver[Any]

    def guesses(self, pictures: Tensor) -> Tensor | None:
        """Return the targets' pictures: what there is to guess depends on the restart."""
        return pictures.to(self.generator.device)

    def races(self, index: int) -> bool:
        """Tell whether restart `index` is the winner of a race."""
        return bool(index % 2 and self.edited.edit.parameters and not self.edited.edit.modes)

    def latent(self, index: int, seed: bytes, guess: Tensor | None) -> Tensor:
        """Return the start `d + q` of restart `index` on the picture `guess`."""
        parameters = self._candidates(index, seed)
        if guess is None:
            return torch.cat([super().latent(index, seed, None), parameters[0]])
        numbers = self._guessed(guess, parameters)
        if numbers is None:
            latents = super().latent(index, seed, None).expand(len(parameters), -1)
        else:
            latents = numbers
        several = len(parameters) > 1
        misfit = self._misfit(latents, parameters, guess) if several else parameters.new_zeros(1)
        raced = parameters[:, : self.edited.edit.raced]
        chosen = self._best_of_parts(raced, misfit) if self.races(index) else [misfit.argmin()]
        starts = torch.stack(
            [
                torch.cat([self._start(index, seed, None if numbers is None else numbers[c]), p])
                for c, p in ((int(c), parameters[int(c)]) for c in chosen)
            ]
        )
        return self._race.winner(guess, starts) if len(starts) > 1 else starts[0]

    def _start(self, index: int, seed: bytes, numbers: Tensor | None) -> Tensor:
        return super().latent(index, seed, numbers)

    @functools.cached_property
    def _race(self) -> Race:
        visible = self.edited.edit.visible()
        seen = None if visible is None else torch.from_numpy(visible).to(self.generator.device)
        return Race(self.edited, self.solver, seen)

    @staticmethod
    def _best_of_parts(parameters: Tensor, misfit: Tensor) -> list[Tensor]:
        """Return which of parameters `c x q` fits best in each part of the bin.

        Each of the q axes is cut into as many parts as together make no more than run in a race.
        """
        q = parameters.shape[1]
        axis = max(n for n in range(1, ROUNDS[0][0] + 1) if n**q <= ROUNDS[0][0])
        part = ((within_reach(parameters) + 1) / 2 * axis).floor().clamp(0, axis - 1).long()
        number = (part * torch.tensor([axis**i for i in range(q)], device=part.device)).sum(dim=1)
        far = torch.full_like(misfit, torch.inf)
        return [
            torch.where(number == n, misfit, far).argmin() for n in sorted(set(number.tolist()))
        ]

    def _candidates(self, index: int, seed: bytes) -> Tensor:
        """Draw parameters `c x q`; the first restart also tries the middle of the bin."""
        q = self.edited.edit.parameters
        count = _CANDIDATES if q else 1
        drawn = 2 * shake256_uniform(seed + b"/start", count * q).reshape(count, q) - 1
        if index == 0 and q:
            drawn[0] = 0.0
        numbers = free_numbers(self.edited.edit.candidates(drawn)).astype(np.float32)
        return torch.from_numpy(numbers).to(self.generator.device)

    def _guessed(self, picture: Tensor, parameters: Tensor) -> Tensor | None:
        """Guess the latent `c x (d or d + labels)` with the edit undone by each parameter."""
        if self.encoder is None:
            return None
        edit = self.edited.edit
        with torch.no_grad():
            undone = edit.undo(
                picture.expand(len(parameters), *picture.shape), within_reach(parameters)
            )
            guessed = self.encoder.guess_with_labels(undone)
            if self._labels > 1:  # one order of labels for all restarts of a target
                plain = edit.undo(picture[None], torch.zeros_like(parameters[:1]))
                order = self.encoder.guess_with_labels(plain)[:, self.generator.dimension :]
                own = guessed[:, : self.generator.dimension]
                guessed = torch.cat([own, order.expand(len(own), -1)], dim=1)
        return guessed

    def _misfit(self, latents: Tensor, parameters: Tensor, picture: Tensor) -> Tensor:
        """Mean squared difference `c` of edited outputs and the picture, in pixels that count."""
        edit, own = self.edited.edit, self.generator.dimension
        visible = edit.visible()
        seen = None if visible is None else torch.from_numpy(visible).to(picture)
        same = bool((latents == latents[:1]).all())
        misfits = []
        with torch.no_grad():
            outputs = self.generator(latents[:1, :own] if same else latents[:, :own])
            for rows in torch.arange(len(parameters)).split(_TOGETHER):  # type: ignore[no-untyped-call]
                some = outputs.expand(len(rows), -1, -1, -1) if same else outputs[rows]
                edited = edit.model(some, within_reach(parameters[rows]))
                difference = (edited - picture).square().mean(dim=1)
                misfits.append((difference if seen is None else difference * seen).mean(dim=(1, 2)))
        return torch.nan_to_num(torch.cat(misfits), nan=torch.inf)


def plain(generator: Generator) -> Generator:
    """Return the generator without the edit, if it has one."""
    return generator.generator if isinstance(generator, EditedGenerator) else generator
