"""Spreads chunks over the processes, machines and GPUs of a Ray cluster.

Workers keep nothing: each gets a chunk, works on it for some seconds, and returns what it found and
how far it came. One that dies costs its last slice; the chunk goes to another. Ray pickles between
processes of one user's cluster (ADR 0016); no file of anybody else is ever unpickled.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from deniability.errors import DeniabilityError, GeneratorError, InputError
from deniability.generators.base import Generator
from deniability.generators.options import ModelOptions
from deniability.generators.parcel import pack_model
from deniability.inversion.executor import (
    SLICE_SECONDS,
    Chunk,
    Found,
    PartialT,
    Receiver,
    Task,
    Work,
)
from deniability.inversion.ray_worker import Order, do_slice

_ATTEMPTS = 3  # of a chunk without a slice in between
_TICK = 0.5  # seconds between two looks at what has come in


def import_ray() -> Any:
    """Return the module `ray`.

    Raises:
        InputError: it is not installed.

    """
    try:
        import ray  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise InputError(
            "Ray is not installed",
            where="--executor ray",
            found=str(error),
            hint='Install it with: python -m pip install "deniability[ray]".',
        ) from error
    return ray


@dataclass(frozen=True)
class _Sent:
    """A slice that a worker is at."""

    chunk: Chunk[Any, Any]
    attempt: int


class RayExecutor:
    """Works on a Ray cluster; a context manager that ends the cluster if it has begun it.

    Args:
        model, options: as `load_generator` takes them; workers get the file's bytes.
        address: of a running cluster, as Ray takes it; None starts one on this machine.
        threads: of torch in each worker on a CPU. Another number may round otherwise.
        seconds: that a worker is left alone.

    Attributes:
        lost: numbers of the chunks whose worker died, in order.

    """

    def __init__(
        self,
        model: str,
        options: ModelOptions | None = None,
        *,
        address: str | None = None,
        threads: int = 1,
        seconds: float = SLICE_SECONDS,
    ) -> None:
        self._ray = import_ray()
        self._model, self._options, self._address = model, options, address
        self._threads, self._seconds = threads, seconds
        self._begun = False
        self.lost: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._begun:
            self._ray.shutdown()

    def run(
        self,
        generator: Generator,
        task: Task[Work, PartialT, Found],
        chunks: Iterable[Chunk[Work, PartialT]],
        receiver: Receiver[PartialT, Found],
    ) -> None:
        """Do every chunk that is wanted, as many at once as there are workers.

        Raises:
            DeniabilityError: what a chunk raised; a chunk whose workers died again and again; no
                cluster, or none with a worker for this device.

        """
        self._begin()
        parcel = pack_model(self._model, self._options, generator)
        order = Order(parcel.digest, generator.device.type, self._threads, self._seconds)
        stored, work = self._ray.put(parcel), self._ray.put(task)
        resource = "GPU" if order.device == "cuda" else "CPU"
        remote = self._remote(resource)

        def send(chunk: Chunk[Any, Any]) -> Any:
            # In a list, the model is not fetched before a worker asks for it.
            return remote.remote(order, [stored], work, chunk)

        running: dict[Any, _Sent] = {}
        waiting = iter(chunks)
        try:
            while True:
                workers = self._workers(resource)
                while len(running) < workers and (chunk := _next(waiting, receiver)) is not None:
                    running[send(chunk)] = _Sent(chunk, 1)
                if not running:
                    return
                ready, _ = self._ray.wait(list(running), num_returns=1, timeout=_TICK)
                receiver.tick()
                for reference in ready:
                    again = self._received(reference, running.pop(reference), receiver)
                    if again is not None:
                        running[send(again.chunk)] = again
                for reference in [r for r, s in running.items() if not _wanted(s, receiver)]:
                    del running[reference]
        finally:
            for reference in running:
                self._ray.cancel(reference, force=True)

    def _received(self, reference: Any, sent: _Sent, receiver: Receiver[Any, Any]) -> _Sent | None:
        """Pass on a slice; return what is to be sent next, if the chunk is not finished."""
        chunk, errors = sent.chunk, self._ray.exceptions
        try:
            part = self._ray.get(reference)
        except errors.RayTaskError as error:
            if isinstance(error.cause, DeniabilityError):
                raise error.cause from error
            raise _unusable(error) from error
        except errors.RayError as error:  # the process or its machine is gone
            self.lost.append(chunk.number)
            if sent.attempt >= _ATTEMPTS:
                raise InputError(
                    "workers die of one part of the search again and again",
                    where=f"chunk {chunk.number}",
                    found=str(error).strip().splitlines()[0],
                    hint="Look for what ends them, often too little memory; --resume goes on.",
                ) from error
            return _Sent(chunk, sent.attempt + 1)
        if part.results:
            receiver.found(chunk.number, part.results)
        receiver.partial(chunk.number, part.partial)
        if part.partial is None:
            return None
        return _Sent(replace(chunk, partial=part.partial), 1)

    def _remote(self, resource: str) -> Any:
        needs: dict[str, Any] = (
            {"num_gpus": 1} if resource == "GPU" else {"num_cpus": self._threads}
        )
        return self._ray.remote(max_retries=0, **needs)(_on_worker)

    def _workers(self, resource: str) -> int:
        there = self._ray.cluster_resources().get(resource, 0)
        count = int(there if resource == "GPU" else there // self._threads)
        if count < 1:
            raise GeneratorError(
                "the Ray cluster has no worker for this device",
                where="--executor ray",
                expected=f"at least one {resource}",
                found=str(there),
            )
        return count

    def _begin(self) -> None:
        if self._ray.is_initialized():
            return
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if self._address is None:
            options |= {"include_dashboard": False}
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report home
        else:
            options |= {"address": self._address}
        try:
            with _same_modules():
                self._ray.init(**options)
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(
                "no Ray cluster to work on",
                where="--ray-address" if self._address else "--executor ray",
                found=f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"[:300],
                hint="Start one with: ray start --head; or leave --ray-address out.",
            ) from error
        self._begun = True


def _on_worker(order: Order, stored: list[Any], task: Any, chunk: Chunk[Any, Any]) -> Any:
    import ray  # noqa: PLC0415 - there, or this would not run

    return do_slice(order, lambda: ray.get(stored[0]), task, chunk)


def _wanted(sent: _Sent, receiver: Receiver[Any, Any]) -> bool:
    return receiver.wanted(sent.chunk.number)


def _next(
    waiting: Iterator[Chunk[Work, PartialT]], receiver: Receiver[PartialT, Any]
) -> Chunk[Work, PartialT] | None:
    return next((chunk for chunk in waiting if receiver.wanted(chunk.number)), None)


@contextlib.contextmanager
def _same_modules() -> Iterator[None]:
    """Let workers on this machine import what this process can, a factory's module too."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path or str(os.getcwd()) for path in sys.path)  # noqa: PTH109
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _unusable(error: Exception) -> InputError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return InputError(
        "a Ray worker cannot do the work",
        where="--executor ray",
        found=(lines[-1] if lines else type(error).__name__)[:300],
        hint="The same versions of Python, torch and deniability must be installed on every "
        "machine of the cluster, and a factory's module be importable there.",
    )
