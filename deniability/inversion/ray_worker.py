"""What runs on a Ray worker: one slice of one chunk. It imports no Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from deniability.errors import InputError
from deniability.generators.base import Generator
from deniability.generators.parcel import ModelParcel
from deniability.inversion.executor import Chunk, Task
from deniability.wire.protocol import ENGINE_VERSION


@dataclass(frozen=True)
class Order:
    """What a worker is to do.

    Attributes:
        digest: of the parcel with the model.
        device: type of device to run it on.
        threads: of torch on a CPU.
        seconds: after which the chunk is handed back.
        engine, torch: versions of the procedure and of torch that the sender has.

    """

    digest: str
    device: str
    threads: int
    seconds: float
    engine: str = ENGINE_VERSION
    torch: str = torch.__version__


@dataclass(frozen=True)
class Slice:
    """What a worker has done.

    Attributes:
        results: found in this slice.
        partial: how far the chunk is; None: finished.

    """

    results: Sequence[Any]
    partial: Any


_loaded: dict[tuple[str, str], Generator] = {}


def do_slice(
    order: Order,
    fetch: Callable[[], ModelParcel],
    task: Task[Any, Any, Any],
    chunk: Chunk[Any, Any],
) -> Slice:
    """Work on a chunk for a while.

    Args:
        order: how.
        fetch: gets the parcel; called only where the model is not loaded yet.
        task: what to do.
        chunk: with what, and from where to go on.

    Raises:
        DeniabilityError: whatever the chunk raises; CommitmentError for another model.

    """
    found = (ENGINE_VERSION, torch.__version__)
    if found != (order.engine, order.torch):
        raise InputError(
            "a worker has other versions",
            expected=f"search procedure {order.engine}, torch {order.torch}",
            found=f"search procedure {found[0]}, torch {found[1]}",
            hint="Install the same versions on every machine of the cluster.",
        )
    if order.device == "cpu":
        torch.set_num_threads(order.threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    generator = _generator(order, fetch)
    progressing = task.begin(generator, chunk.work, chunk.partial)
    until = time.monotonic() + order.seconds
    while progressing.step():
        if time.monotonic() >= until:
            return Slice(progressing.found(), progressing.partial())
    return Slice(progressing.found(), None)


def _generator(order: Order, fetch: Callable[[], ModelParcel]) -> Generator:
    key = (order.digest, order.device)
    if key not in _loaded:
        _loaded.clear()  # one model at a time
        _loaded[key] = fetch().load(torch.device(order.device))
    return _loaded[key]
