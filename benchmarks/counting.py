"""What a search really cost: calls of the generator that were counted, seconds, and memory.

A *forward-equivalent* is the work of one picture going through the generator once: a forward pass
counts 1, a backward pass 2, a Jacobian one for each of its d tangents plus the forward passes that
go with them. Nothing is an upper bound; each is counted as it happens.
"""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

from deniability.generators.base import Generator
from deniability.inversion.jacobian import Jacobian


@dataclass
class Cost:
    """Counts of pictures (one row of a batch is one), and what the process took meanwhile.

    Attributes:
        forwards: forward passes, trial steps among them.
        backwards: backward passes.
        jacobians: Jacobians.
        tangents: directions pushed forward, d for each Jacobian.
        primals: forward passes inside Jacobians: one for each chunk of tangents.
        seconds: wall clock.
        cpu_seconds: of all threads; what other programs on the machine do hardly matters to it.
        peak_mib: largest resident memory of the whole process, in MiB.
        grown_mib: by how much that is above the process's memory at the start.

    """

    forwards: int = 0
    backwards: int = 0
    jacobians: int = 0
    tangents: int = 0
    primals: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mib: float = 0.0
    grown_mib: float = 0.0

    @property
    def equivalents(self) -> int:
        """Forward-equivalents."""
        return self.forwards + 2 * self.backwards + self.tangents + self.primals


@contextmanager
def counted(generator: Generator) -> Iterator[Cost]:
    """Count what runs in the context; backward passes are entered by whoever makes them."""
    cost = Cost()
    inside = False
    forward, jacobian = type(generator).__call__, Jacobian.__call__

    def count_forward(self: Generator, latents: Tensor) -> Tensor:
        if inside:
            cost.primals += len(latents)
        else:
            cost.forwards += len(latents)
        return forward(self, latents)

    def count_jacobian(self: Jacobian, latents: Tensor) -> Tensor:
        nonlocal inside
        cost.jacobians += len(latents)
        cost.tangents += latents.numel()
        inside = True
        try:
            return jacobian(self, latents)
        finally:
            inside = False

    with (
        mock.patch.object(type(generator), "__call__", count_forward),
        mock.patch.object(Jacobian, "__call__", count_jacobian),
        measured(cost, generator.device),
    ):
        yield cost


@contextmanager
def measured(cost: Cost, device: torch.device) -> Iterator[None]:
    """Enter seconds and memory into `cost`."""
    before = _reset_peak(device)
    start, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        cost.seconds = time.perf_counter() - start
        cost.cpu_seconds = time.process_time() - cpu
        cost.peak_mib = _peak(device)
        cost.grown_mib = cost.peak_mib - before


def _reset_peak(device: torch.device) -> float:
    """Give freed memory back, start the high-water mark anew, and return memory in use (MiB)."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device) / 2**20
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return _status("VmHWM")


def _status(field: str) -> float:
    """Read a memory figure of this process in MiB; NaN where the system has none."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
    return float("nan")
