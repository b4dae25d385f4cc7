"""What the attribution benchmark measures: each part makes its pictures, and searches them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import attribution_models as models
import numpy as np
import torch
from attribution_attacks import ATTACKS
from attribution_pictures import HANDLED, Drawn, drawn
from attribution_rows import Row
from attribution_rule import judge, kind_of, open_set, searched
from attribution_search import Scores, ours, pixel_handling, theirs
from setting import Setting, setting_of

from deniability.generators.load import load_generator
from deniability.imaging.handling import Pixels
from deniability.imaging.observation import build_handling
from deniability.wire.protocol import preset

PROTOCOL = preset("pristine-quick-v1")
OPEN = ("own outputs", "photos of faces", "held-out model", "photos without a face")
_BLOCK = 50  # pictures of the closed set between two writes
_ATTACKED_RESTARTS = 2  # of ours on attacked pictures: none reaches the resolution
_POOL = 40  # pictures that the paper's loop takes at once

#: Tells whether the time is up.
Late = Callable[[], bool]


def numbers(scores: Scores) -> list[list[float]]:
    """Return residuals as they are stored: seven digits."""
    return [[float(f"{value:.6e}") for value in row] for row in scores.residuals.tolist()]


class Experiment:
    """The candidates with their encoders, and the pictures of every part.

    Args:
        attacked: how many pictures are attacked.

    """

    def __init__(self, attacked: int) -> None:
        self.attacked = attacked

    @cached_property
    def candidates(self) -> list[Setting]:
        """Load the models; what is missing is trained."""
        return [
            setting_of(
                f"attribution-{name}",
                load_generator(models.fetch(name), device=torch.device("cpu")),
                PROTOCOL,
            )
            for name in models.CANDIDATES
        ]

    @cached_property
    def before(self) -> tuple[Drawn, Scores]:
        """Return the pictures that are attacked, and what our search finds of them."""
        own = drawn(self.candidates, "attribution-adversarial", 0, self.attacked)
        handling = pixel_handling(self.candidates[0])
        observations = handling.observations(own.pixels)
        return own, ours(self.candidates, handling, observations, "attribution-before")

    def pixels(self, row: Row) -> Pixels:
        """Make the pictures of a row again, as they look."""
        count = len(row.ours)
        if row.part == "closed":
            return drawn(self.candidates, "attribution-closed", 0, count).pixels
        if row.part == "handled":
            how = next(one for one in HANDLED if one.name == row.name)
            own = drawn(self.candidates, f"attribution {row.name}", 0, count)
            return how.observed(self.candidates[0], own.pixels)[2]
        if row.part == "adversarial":
            attack = next(one for one in ATTACKS if one.name == row.name)
            return attack.run(self.candidates, *self.before)
        if row.name == OPEN[0]:
            return drawn(self.candidates, "attribution-open", 0, count).pixels
        return strangers(row.name, count)

    def closed(self, row: Row, count: int, late: Late) -> Iterator[Row]:
        """Go on with the closed set up to `count` pictures."""
        for start in range(len(row.truth), count, _BLOCK):
            if late():
                return
            stop = min(count, start + _BLOCK)
            own = drawn(self.candidates, "attribution-closed", start, stop)
            handling = pixel_handling(self.candidates[0])
            observations = handling.observations(own.pixels)
            found = ours(self.candidates, handling, observations, f"attribution-closed-{start}")
            row = row.joined(truth=own.truth, ours=numbers(found), seconds_ours=found.seconds)
            yield row

    def handled(self, name: str, count: int) -> Row:
        """Attribute pictures handled in one way."""
        how = next(one for one in HANDLED if one.name == name)
        own = drawn(self.candidates, f"attribution {name}", 0, count)
        handling, observations, _ = how.observed(self.candidates[0], own.pixels)
        found = ours(self.candidates, handling, observations, f"attribution {name} 0")
        row = Row("handled", name)
        return row.joined(truth=own.truth, ours=numbers(found), seconds_ours=found.seconds)

    def adversarial(self, name: str) -> Row:
        """Attribute pictures that an adversary changed, and judge the true model by the rule."""
        row = Row("adversarial", name, ours=[[]] * self.attacked)
        pixels, (own, _) = self.pixels(row), self.before
        role = f"attribution {name}"
        handling = build_handling(kind_of(self.candidates[0], None))
        seen = pixel_handling(self.candidates[0]).observations(pixels)
        found = ours(self.candidates, handling, seen, role, _ATTACKED_RESTARTS)
        verdicts: dict[str, list[str]] = {"unedited": [], "noisy": []}
        for number, truth in enumerate(own.truth):
            residual, model = float(found.residuals[number, truth]), self.candidates[truth]
            verdicts["unedited"].append(judge(model, None, residual))
            verdict = judge(model, "noisy", residual)
            if verdict == "excluded":
                # Fewer restarts than the preset's were run until now.
                one, restarts = pixels[number : number + 1], 2 * PROTOCOL.restarts
                again = searched(model, "noisy", one, role, restarts)
                verdict = judge(model, "noisy", min(residual, *again))
            verdicts["noisy"].append(verdict)
        return Row(
            part="adversarial",
            name=name,
            truth=own.truth,
            ours=numbers(found),
            seconds_ours=found.seconds,
            verdicts=verdicts,
        )

    def opened(self, name: str, count: int) -> Row:
        """Judge pictures by the calibrated rule."""
        truth: list[int] = []
        if name == OPEN[0]:
            own = drawn(self.candidates, "attribution-open", 0, count)
            pixels, truth = own.pixels, own.truth
        else:
            pixels = strangers(name, count)
        begin = time.process_time()
        residuals, verdicts, answers = open_set(self.candidates, pixels, f"attribution {name}")
        return Row(
            part="open",
            name=name,
            truth=truth,
            ours=[[float(f"{value:.6e}") for value in row] for row in residuals],
            seconds_ours=time.process_time() - begin,
            verdicts={"answer": list(answers), "models": [" ".join(row) for row in verdicts]},
        )

    def beside(self, rows: Sequence[Row], wanted: dict[str, int], late: Late) -> Iterator[Row]:
        """Run the paper's loop on the first pictures of each row, `wanted` of each part.

        Rows that have least of it come first.
        """
        kept = {(row.part, row.name): row for row in rows}
        while not late():
            short = [r for r in kept.values() if len(r.theirs) < min(wanted[r.part], len(r.ours))]
            pool: list[tuple[Row, Pixels]] = []
            room = _POOL
            for row in sorted(short, key=lambda r: len(r.theirs)):
                start = len(row.theirs)
                stop = min(wanted[row.part], len(row.ours), start + room)
                if stop > start:
                    pool.append((row, self.pixels(row)[start:stop]))
                    room -= stop - start
            if not pool:
                return
            for row in self._pooled(pool):
                kept[row.part, row.name] = row
                yield row

    def _pooled(self, waiting: list[tuple[Row, Pixels]]) -> Iterator[Row]:
        names = [
            (f"attribution {row.part} {row.name}", len(row.theirs) + number)
            for row, pixels in waiting
            for number in range(len(pixels))
        ]
        found = theirs(self.candidates, np.concatenate([p for _, p in waiting]), names)
        values, start = numbers(found), 0
        for row, pixels in waiting:
            stop = start + len(pixels)
            spent = found.seconds * len(pixels) / len(names)
            yield row.joined(theirs=values[start:stop], seconds_theirs=spent)
            start = stop


def strangers(name: str, count: int) -> Pixels:
    """Return pictures of no candidate: photos, or outputs of the model that is held out."""
    if name == "held-out model":
        generator = load_generator(models.fetch(models.HELD_OUT), device=torch.device("cpu"))
        latents = torch.randn(
            count, generator.dimension, generator=torch.Generator().manual_seed(77)
        )
        with torch.no_grad():
            made: Pixels = generator.quantise(generator(latents)).numpy()
        return made
    first = {"photos of faces": models.TRAINED_ON, "photos without a face": 100}[name]
    crops = models.photos()[first : first + min(count, models.TRAINED_ON)]
    return (crops * 255).round().to(torch.uint8).numpy()
