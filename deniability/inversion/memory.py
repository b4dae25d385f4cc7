"""How many restarts fit the memory there is."""

from __future__ import annotations

import os

import torch

from deniability.errors import GeneratorError

_SHARE = 0.25  # of the free memory that one batch may take
_CPU_BYTES = 1 << 30  # more does not make a CPU faster
_CPU_ROWS, _GPU_ROWS = 256, 4096
_RECORDED = 1024  # bytes per coordinate that reverse mode keeps, activations of all layers included
_BASIS = 2048  # bytes per latent number: 64 columns of float64, and copies


def free_memory(device: torch.device) -> int:
    """Bytes that can be allocated on `device` now, as far as the system tells."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        pages = os.sysconf("SC_AVPHYS_PAGES")
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # pragma: no cover - systems without sysconf
        return 4 << 30


def rows_that_fit(
    *,
    coordinates: int,
    dimension: int,
    device: torch.device,
    limit: int | None = None,
    dense: bool = True,
) -> int:
    """Return the largest batch of restarts with `coordinates` m and `dimension` d.

    A dense solver's Jacobian counts twice (its columns, and their concatenation), vectors of m two
    dozen times. Without one, activations recorded for backward passes count, and a basis of d rows.

    Raises:
        GeneratorError: not even one restart fits.

    """
    if dense:
        row = coordinates * dimension * 8 + coordinates * 96 + dimension * dimension * 40
    else:
        row = coordinates * _RECORDED + dimension * _BASIS
    free = free_memory(device)
    if row > free:
        raise GeneratorError(
            "one restart does not fit memory",
            expected=f"{row / 2**30:.1f} GiB for {coordinates} coordinates x {dimension} latents",
            found=f"{free / 2**30:.1f} GiB free on {device}",
            hint="Use a device with more memory.",
        )
    budget = int(free * _SHARE)
    if device.type == "cpu":
        budget = min(budget, _CPU_BYTES)
    most = _CPU_ROWS if device.type == "cpu" else _GPU_ROWS
    return max(1, min(budget // row, most, limit or most))
