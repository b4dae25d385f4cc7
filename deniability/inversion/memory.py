"""How many restarts fit the memory there is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from deniability.errors import GeneratorError
from deniability.generators.base import Generator

_SHARE = 0.25  # of the free memory that one batch may take
_CPU_BYTES = 1 << 30  # more does not make a CPU faster
_CPU_ROWS, _GPU_ROWS = 256, 4096
_CPU_LANES, _GPU_LANES = 256, 4096  # a few hundred use a CPU fully; more only take memory
_TRIALS = 4  # forward passes per restart that a step takes at once
_CGROUP = Path("/sys/fs/cgroup")
_EXHAUSTED = ("out of memory", "can't allocate memory", "not enough memory")
_BASIS = 2048  # bytes per latent number: 64 columns of float64, and copies


def free_memory(device: torch.device) -> int:
    """Bytes that can be allocated on `device` now, as far as the system tells."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    limits = [free for free in (_system_memory(), container_memory()) if free is not None]
    return min(limits, default=4 << 30)


def _system_memory() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def container_memory(folder: Path = _CGROUP) -> int | None:
    """Bytes left under the control group's limit (version 2, then 1); None without a limit."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            most = (folder / limit).read_text("ascii").strip()
            taken = int((folder / used).read_text("ascii"))
            return None if most == "max" else max(0, int(most) - taken)
        except (OSError, ValueError):
            continue
    return None


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of everything that operators return, views and writes in place apart."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(returned.alias_info for returned in func._schema.returns):  # noqa: SLF001 - torch's
            return result
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, Tensor):
                self.bytes += value.numel() * value.element_size()
        return result


def activation_bytes(generator: Generator) -> int:
    """Measure what one latent's forward pass allocates, as if nothing of it were freed.

    That is more than its peak, and the same on every device.
    """
    latent = torch.zeros(1, generator.dimension, device=generator.device)
    with torch.no_grad(), _Counting() as counted:
        generator(latent)
    total: int = counted.bytes
    return total


def lanes_that_fit(generator: Generator) -> int:
    """Return how many pairs of latent and tangent go through the generator at once."""
    most = _CPU_LANES if generator.device.type == "cpu" else _GPU_LANES
    # A dual number takes twice a number.
    return max(1, min(most, _budget(generator.device) // (2 * activation_bytes(generator) or 1)))


def rows_that_fit(
    *,
    coordinates: int,
    dimension: int,
    device: torch.device,
    limit: int | None = None,
    activation: int = 0,
    dense: bool = True,
) -> int:
    """Return the largest batch of restarts with `coordinates` m and `dimension` d.

    A dense solver's Jacobian counts twice (its columns, and their concatenation), vectors of m two
    dozen times, and `activation` (bytes of one forward pass) once for each trial of a step. Without
    one, what is recorded for backward passes counts, less than that, and a basis of d rows.

    Raises:
        GeneratorError: not even one restart fits.

    """
    row = restart_bytes(
        coordinates=coordinates, dimension=dimension, activation=activation, dense=dense
    )
    free = free_memory(device)
    if row > free:
        raise too_large(coordinates=coordinates, dimension=dimension, device=device, row=row)
    most = _CPU_ROWS if device.type == "cpu" else _GPU_ROWS
    return max(1, min(_budget(device) // row, most, limit or most))


def restart_bytes(
    *, coordinates: int, dimension: int, activation: int = 0, dense: bool = True
) -> int:
    """Return the bytes that one restart is taken to need, by which batches are sized."""
    return _row_bytes(coordinates, dimension, dense=dense) + _TRIALS * activation


def too_large(
    *, coordinates: int, dimension: int, device: torch.device, row: int | None = None
) -> GeneratorError:
    """Return the error for a single restart that does not fit the memory."""
    needed = (row or _row_bytes(coordinates, dimension)) / 2**30
    return GeneratorError(
        "one restart does not fit memory",
        expected=f"{needed:.1f} GiB for {coordinates} coordinates x {dimension} latents",
        found=f"{free_memory(device) / 2**30:.1f} GiB free on {device}",
        hint="Use a device with more memory.",
    )


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error, or what caused it, is that the memory ran out."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError | torch.OutOfMemoryError):
            return True
        if isinstance(cause, RuntimeError) and any(t in str(cause).lower() for t in _EXHAUSTED):
            return True
        cause = cause.__cause__
    return False


def _row_bytes(coordinates: int, dimension: int, *, dense: bool = True) -> int:
    if not dense:
        return coordinates * 96 + dimension * _BASIS
    return coordinates * dimension * 8 + coordinates * 96 + dimension * dimension * 40


def _budget(device: torch.device) -> int:
    budget = int(free_memory(device) * _SHARE)
    return min(budget, _CPU_BYTES) if device.type == "cpu" else budget
