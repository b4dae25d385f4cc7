"""What every solver offers the engine: `init`, `step`, `terminate`, on a batch of restarts."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import ClassVar, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

from deniability.inversion.objective import Objective
from deniability.inversion.solution import Stop


@dataclass(frozen=True)
class State:
    """What all solvers keep of B restarts; solvers add fields whose first axis is B.

    Attributes:
        latents: current iterates, `B x d` float32.
        values: observation coordinates there, `B x m`.
        best: latents with the smallest statistic so far, `B x d`.
        statistic: that statistic, `B` float64, infinite if none was finite.
        distance: mean squared distance to the cell's centre at `best`, `B` float64.
        iterations: steps taken, `B` int64.
        stalled: how many steps in a row brought nothing, `B` int64.

    """

    latents: Tensor
    values: Tensor
    best: Tensor
    statistic: Tensor
    distance: Tensor
    iterations: Tensor
    stalled: Tensor

    def rows(self, index: Tensor) -> Self:
        """Keep the restarts at `index`."""
        return replace(self, **{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def replaced(self, index: Tensor, other: Self) -> Self:
        """Put the restarts of another state in place of those at `index`."""
        return replace(
            self,
            **{
                f.name: getattr(self, f.name).index_copy(0, index, getattr(other, f.name))
                for f in fields(self)
            },
        )

    def joined(self, other: Self) -> Self:
        """Append the restarts of another state."""
        return replace(
            self,
            **{
                f.name: torch.cat([getattr(self, f.name), getattr(other, f.name)])
                for f in fields(self)
            },
        )


StateT = TypeVar("StateT", bound=State)


class Solver(Protocol, Generic[StateT]):
    """An iterative minimiser of `Objective` over latents.

    Attributes:
        dense: whether it forms the Jacobian, which decides how many restarts fit memory.

    """

    dense: ClassVar[bool]

    def init(self, objective: Objective, latents: Tensor) -> StateT:
        """Evaluate the starts `B x d`."""
        ...

    def step(self, objective: Objective, state: StateT) -> StateT:
        """Take one step with every restart of the batch."""
        ...

    def terminate(self, state: StateT, threshold: float) -> list[Stop | None]:
        """Say of each restart why it should end now, or None."""
        ...


def first_state(objective: Objective, latents: Tensor) -> State:
    """Evaluate `latents` and wrap them in the fields that all solvers share."""
    with torch.no_grad():
        values = objective.forward(latents)
    zeros = torch.zeros(len(latents), dtype=torch.int64, device=latents.device)
    return State(
        latents=latents,
        values=values,
        best=latents,
        statistic=objective.statistic(values),
        distance=objective.distance(values),
        iterations=zeros,
        stalled=zeros,
    )


def keep_best(
    objective: Objective, state: State, latents: Tensor, values: Tensor
) -> dict[str, Tensor]:
    """Return the fields `best`, `statistic`, `distance` updated with new iterates."""
    statistic = objective.statistic(values)
    better = statistic < state.statistic
    return {
        "best": torch.where(better[:, None], latents, state.best),
        "statistic": torch.where(better, statistic, state.statistic),
        "distance": torch.where(better, objective.distance(values), state.distance),
    }


def recorded(statistic: float) -> float:
    """Round a statistic as it will be recorded, so that every reader decides on the same number."""
    return float(f"{statistic:.5e}")


def stop_reasons(
    state: State, threshold: float, *, max_iterations: int, patience: int
) -> list[Stop | None]:
    """Apply the stop rule that all solvers share."""
    reasons: list[Stop | None] = []
    rows = zip(
        state.statistic.tolist(), state.iterations.tolist(), state.stalled.tolist(), strict=True
    )
    for statistic, iterations, stalled in rows:
        if recorded(statistic) <= threshold:
            reasons.append(Stop.REACHED)
        elif statistic == float("inf"):
            reasons.append(Stop.NON_FINITE)
        elif stalled >= patience:
            reasons.append(Stop.STALLED)
        elif iterations >= max_iterations:
            reasons.append(Stop.EXHAUSTED)
        else:
            reasons.append(None)
    return reasons
