"""The same search on a local Ray cluster of one worker, two, …: seconds, and whether bits agree."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from deniability.evidence.restarts import RestartLog
from deniability.evidence.search import Targets, search
from deniability.imaging.handling import Observations
from deniability.inversion.engine import Engine
from deniability.inversion.ray_executor import RayExecutor, import_ray


@dataclass(frozen=True)
class Workers:
    """What a search took on so many workers, of one thread each.

    Attributes:
        workers: how many.
        seconds: least wall clock of the rounds, the cluster's start and the first loads left out.
        load: average of the machine when they ended.
        same: whether every restart ended in the same bits as with the fewest workers.

    """

    workers: int
    seconds: float
    load: float
    same: bool


def by_workers(
    model: str,
    engine: Engine,
    targets: Observations,
    seed: Callable[[int, int], bytes],
    counts: Sequence[int],
    rounds: int,
) -> list[Workers]:
    """Search the targets on clusters of `counts` workers; a round before the first is not timed."""
    ray = import_ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    measured: list[Workers] = []
    first: torch.Tensor | None = None
    for count in counts:
        ray.init(num_cpus=count, include_dashboard=False, log_to_driver=False)
        try:
            taken = []
            for _ in range(rounds + 1):
                start = time.perf_counter()
                traces = search(
                    engine,
                    Targets.of(targets),
                    seed,
                    RestartLog(None, "workers"),
                    executor=RayExecutor(model),
                )
                taken.append(time.perf_counter() - start)
        finally:
            ray.shutdown()
        latents = torch.stack(
            [r.latent for t in traces for r in t.restarts if r.latent is not None]
        )
        first = latents if first is None else first
        same = torch.equal(first, latents)
        measured.append(Workers(count, min(taken[1:]), os.getloadavg()[0], same))
    return measured
