"""What a search costs on this device, measured: matrix rate, forward passes, steps, and memory."""

from __future__ import annotations

import ctypes
import functools
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deniability.generators.base import Generator
from deniability.generators.flops import count_flops
from deniability.imaging.handling import Observations
from deniability.inversion.engine import Engine, Run
from deniability.inversion.gncg import GaussNewtonCG
from deniability.inversion.jacobian import Jacobian
from deniability.inversion.memory import (
    activation_bytes,
    lanes_that_fit,
    out_of_memory,
    restart_bytes,
)

_CPU_SIDE, _GPU_SIDE = 1024, 4096  # of the matrices whose product is timed
_ROUNDS = 5
_CPU_ROWS, _GPU_ROWS = 64, 256  # most pictures at once: those of a chunk of controls
_ENOUGH = 0.25  # seconds of forward passes after which their rate is known
_GAIN = 8  # a batch makes a restart cheaper by no more than this, roughly
_STEPS = 3  # of a search, all alike; only of Gauss-Newton-CG later ones take more products
_CG_STEPS = 12


@dataclass(frozen=True)
class Timing:
    """How long something takes for each picture or restart.

    Attributes:
        rows: how many were done at once.
        seconds: for each of them.

    """

    rows: int
    seconds: float


@dataclass(frozen=True)
class StepCost:
    """One step of a solver: a linearisation, its trial steps, and the moves it is reused for.

    Attributes:
        rows: restarts in the batch that was timed; 0 if none was.
        seconds: for each restart and step.
        measured: whether it was timed; otherwise it is derived from the forward pass.
        restart_bytes: what the engine takes one restart to need, by which it sizes batches.
        peak_bytes: by how much memory in use rose for each restart; None where the system does
            not tell.
        fits: restarts in a batch that fits the memory there is now, at most.

    """

    rows: int
    seconds: float
    measured: bool
    restart_bytes: int
    peak_bytes: int | None
    fits: int


@dataclass
class Peak:
    """Growth of the memory in use, bytes; None where the system does not tell."""

    bytes: int | None = None


def matrix_rate(device: torch.device) -> tuple[int, float]:
    """Time products of large square float32 matrices: their side, and FLOP/s of the best."""
    side = _CPU_SIDE if device.type == "cpu" else _GPU_SIDE
    stream = torch.Generator().manual_seed(0)
    left, right = (torch.randn(side, side, generator=stream).to(device) for _ in range(2))
    seconds = [seconds_of(lambda: left @ right, device) for _ in range(_ROUNDS + 1)]
    return side, 2 * side**3 / max(min(seconds[1:]), 1e-9)


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Return the wall-clock seconds of one call, without gradients, until the device is done."""
    _wait(device)
    start = time.perf_counter()
    with torch.no_grad():
        run()
    _wait(device)
    return time.perf_counter() - start


def forward_timing(generator: Generator, latents: Tensor) -> Timing:
    """Time forward passes of prior latents `N x d` on the generator's device, in growing batches.

    The largest batch counts: as many as there are, or as take a quarter of a second.

    Raises:
        GeneratorError: the model failed.

    """
    device = generator.device
    most = min(len(latents), _CPU_ROWS if device.type == "cpu" else _GPU_ROWS)
    seconds_of(lambda: generator(latents[:1]), device)  # warms up
    rows, spent = 1, seconds_of(lambda: generator(latents[:1]), device)
    while rows < most and spent < _ENOUGH / 4:
        wider = min(most, 4 * rows)
        try:
            taken = seconds_of(functools.partial(generator, latents[:wider]), device)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            break
        rows, spent = wider, taken
    more = [spent]
    while sum(more) < _ENOUGH and len(more) < _ROUNDS:
        more.append(seconds_of(lambda: generator(latents[:rows]), device))
    return Timing(rows, sorted(more)[len(more) // 2] / rows)


def step_cost(
    engine: Engine,
    observations: Observations,
    starts: Tensor,
    *,
    forward: float,
    passes: int,
    budget: float,
) -> StepCost:
    """Time the first steps of a search, with as many restarts as `budget` seconds allow.

    Args:
        engine: the search procedure.
        observations: own outputs, one for each start.
        starts: where restarts begin, `N x d`, some way off the truth.
        forward: seconds of one picture's forward pass.
        passes: how many of those one step takes at least; beyond ten times the budget for a
            single step none is taken, and this stands for its cost.
        budget: seconds to spend.

    Raises:
        GeneratorError: one restart does not fit memory, or the model cannot be differentiated.

    """
    coordinates = observations.low.shape[1]
    needed = restart_bytes(
        coordinates=coordinates,
        dimension=engine.generator.dimension,
        activation=activation_bytes(engine.generator),
        dense=engine.solver.dense,
    )
    fits = engine.rows(coordinates)
    one = max(forward * passes, 1e-6)
    derived = StepCost(0, one, False, needed, None, fits)
    if one > 10 * budget:
        return derived
    _timed_steps(engine, observations[:1], starts[:1], 1)  # warms up, finds what is supported
    with measured_peak(engine.generator.device) as peak:
        done, seconds = _timed_steps(engine, observations[:1], starts[:1], 1)
    rows = 1
    if seconds < budget / 2:
        each = max(one, seconds / _GAIN)
        steps = _CG_STEPS if isinstance(engine.solver, GaussNewtonCG) else _STEPS
        rows = max(1, min(len(starts), fits, int(budget / (steps * each))))
        with measured_peak(engine.generator.device) as peak:
            done, seconds = _timed_steps(engine, observations[:rows], starts[:rows], steps)
    if not done:  # no number came out, or the starts were the truth
        return derived
    grown = None if peak.bytes is None else peak.bytes // rows
    return StepCost(rows, seconds / done, True, needed, grown, fits)


def _timed_steps(
    engine: Engine, observations: Observations, starts: Tensor, steps: int
) -> tuple[int, float]:
    """Take steps; return how many in all restarts together, and their seconds."""
    run = Run(engine, observations, lambda *_: b"", lambda *_: None, range(1), given=starts)
    done, device = 0, engine.generator.device
    begun = time.perf_counter()
    for _ in range(steps):
        if not run.refill():
            break
        run.step()
        done += len(run.partial().active)
    _wait(device)
    return done, time.perf_counter() - begun


@contextmanager
def measured_peak(device: torch.device) -> Iterator[Peak]:
    """Measure by how much the memory in use rises in the context: the GPU's, or the process's."""
    peak = Peak()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield peak
        peak.bytes = torch.cuda.max_memory_allocated(device) - before
        return
    reset = False
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what is free but kept would hide what is taken
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the high-water mark begins anew
        reset = True
    start = _resident("VmRSS")
    yield peak
    high = _resident("VmHWM")
    if reset and start is not None and high is not None:
        peak.bytes = max(0, high - start)


def _resident(field: str) -> int | None:
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text("ascii").splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return None


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def jacobian_flops(generator: Generator) -> int:
    """Count the FLOPs of one latent's dense Jacobian, as it is really computed.

    That is more than a forward pass for each tangent: the pass itself goes along with each chunk.

    Raises:
        GeneratorError: the model cannot be differentiated in forward mode.

    """
    latent = torch.zeros(1, generator.dimension, device=generator.device)
    jacobian = Jacobian(
        lambda latents: generator(latents).flatten(1),
        generator.dimension,
        lanes_that_fit(generator),
        free=generator.free,
    )
    jacobian(latent)  # finds out in which way the model can be differentiated
    return count_flops(lambda: jacobian(latent)).total
