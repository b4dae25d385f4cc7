"""Running an isolated child and hearing it out, within bounds, whatever it does."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from deniability.sandbox.boot import UNCONFINED
from deniability.sandbox.interface import Grants, Isolation, IsolationError, Limits, Program
from deniability.sandbox.messages import (
    MAX_LINE,
    MAX_TOTAL,
    Advance,
    Answer,
    Failure,
    Note,
    Phase,
    decode,
)
from deniability.sandbox.python import environment

_MAX_COMPLAINT = 1 << 14
_WHERE = "--model"
#: Receiver of what a child says before its last message.
Listener = Callable[[Phase | Advance | Note], None]


def converse(
    isolation: Isolation,
    program: Program,
    grants: Grants,
    limits: Limits,
    *,
    request: bytes,
    listen: Listener,
) -> Answer:
    """Run a program in an isolated child and return its answer.

    Args:
        isolation: how.
        program: what.
        grants: the files that it may touch.
        limits: of memory and time.
        request: what it reads from standard input.
        listen: is told of its progress.

    Raises:
        IsolationError: the child cannot be confined, broke a limit, died, or said nonsense.
        DeniabilityError: the error that the child reports.

    """
    with _started(isolation.command(program, grants, limits), grants) as child:
        return _Hearing(child, limits, grants.scratch, listen).run(request)


@contextlib.contextmanager
def _started(command: list[str], grants: Grants) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(  # noqa: S603 - our own command, no shell
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(grants.scratch),
        cwd=grants.scratch,
        start_new_session=True,
        bufsize=0,
    )
    try:
        yield child
    finally:  # also for Ctrl-C: nothing of it outlives this call
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


class _Hearing:
    """One child's standard output, line by line, until it ends or is ended."""

    def __init__(
        self, child: subprocess.Popen[bytes], limits: Limits, scratch: Path, listen: Listener
    ) -> None:
        self._child, self._limits, self._scratch, self._listen = child, limits, scratch, listen
        self._deadline = time.monotonic() + limits.seconds
        self._buffer, self._complaint = bytearray(), bytearray()
        self._total = 0
        self._last: Answer | Failure | None = None

    def run(self, request: bytes) -> Answer:
        self._send(request)
        self._hear()
        try:
            status = self._child.wait(timeout=max(0.0, self._deadline - time.monotonic()) + 1)
        except subprocess.TimeoutExpired:
            raise self._too_long() from None
        last = self._last
        if isinstance(last, Failure):
            raise last.exception()
        if status or self._buffer or last is None:
            raise self._died(status)
        return last

    def _send(self, request: bytes) -> None:
        """Give the request; it is shorter than a pipe holds, so this does not wait."""
        assert self._child.stdin is not None  # noqa: S101 - a pipe was asked for
        with contextlib.suppress(BrokenPipeError):  # its end is told below
            self._child.stdin.write(request)
        with contextlib.suppress(OSError):
            self._child.stdin.close()

    def _hear(self) -> None:
        out, err = self._child.stdout, self._child.stderr
        with selectors.DefaultSelector() as selector:
            selector.register(out, selectors.EVENT_READ)  # type: ignore[arg-type]
            selector.register(err, selectors.EVENT_READ)  # type: ignore[arg-type]
            while selector.get_map():
                if time.monotonic() > self._deadline:
                    raise self._too_long()
                for key, _ in selector.select(timeout=1):
                    data = os.read(key.fd, 1 << 16)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is out:
                        self._take(data)
                    else:
                        self._complaint = (self._complaint + data)[-_MAX_COMPLAINT:]
                self._check_scratch()

    def _take(self, data: bytes) -> None:
        self._total += len(data)
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        if self._total > MAX_TOTAL or max(map(len, (*lines, rest))) > MAX_LINE:
            raise IsolationError(
                "the model's process says too much",
                where=_WHERE,
                expected=f"lines of at most {MAX_LINE} bytes, {MAX_TOTAL} in all",
            )
        self._buffer = bytearray(rest)
        for line in lines:
            message = decode(bytes(line))
            if self._last is not None:
                raise IsolationError("the model's process goes on after its answer", where=_WHERE)
            if isinstance(message, Answer | Failure):
                self._last = message
            else:
                self._listen(message)

    def _check_scratch(self) -> None:
        size = 0
        with contextlib.suppress(OSError):
            for folder, _, names in os.walk(self._scratch):
                for name in names:
                    with contextlib.suppress(OSError):
                        size += Path(folder, name).lstat().st_size
        if size > self._limits.scratch:
            raise IsolationError(
                "the model's process writes too much",
                where=_WHERE,
                expected=f"at most {self._limits.scratch} bytes",
            )

    def _too_long(self) -> IsolationError:
        return IsolationError(
            "running the model took too long and was ended",
            where=_WHERE,
            expected=f"at most {self._limits.seconds} seconds",
            hint="A model may loop for ever; for a slow one, state more with --time-limit.",
        )

    def _died(self, status: int) -> IsolationError:
        said = self._complaint.decode("utf-8", "replace").strip().splitlines()
        last = "".join(c if c.isprintable() else "?" for c in (said[-1] if said else ""))[:200]
        if status == UNCONFINED:
            return IsolationError("the child process could not be isolated", found=last)
        number = -status if status < 0 else status - 128 if 128 < status < 192 else 0
        if number == signal.SIGXCPU:
            return self._too_long()
        how = f"status {status}"
        if number:
            with contextlib.suppress(ValueError):
                how = signal.Signals(number).name
        return IsolationError(
            "the model's process died before it answered",
            where=_WHERE,
            found=how + (f": {last}" if last else ""),
            hint="The model crashed it, or took more memory than there is (--memory-limit).",
        )
