"""What ends a command early, as one sentence, one JSON object and one exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any, ClassVar

from deniability.cli.terminal import say, write_json
from deniability.errors import (
    DeniabilityError,
    InputError,
    OutputError,
    UncheckedError,
    VerificationError,
)

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
PIPE_CLOSED = 141  # 128 + SIGPIPE
BUG = 1


class UsageError(InputError):
    """Options or arguments that do not go together."""

    stage = "usage"


class ResourceError(DeniabilityError):
    """The machine lacks what the work takes."""

    exit_code: ClassVar[int] = 4
    stage: ClassVar[str] = "resources"


class InterruptedRun(Exception):  # noqa: N818 - nothing went wrong
    """The user pressed Ctrl-C in a run that can be taken up again."""


@contextlib.contextmanager
def resumable() -> Iterator[None]:
    """Mark work whose state is on disk: Ctrl-C in it loses nothing."""
    try:
        yield
    except KeyboardInterrupt as cause:
        raise InterruptedRun from cause


def failed(error: BaseException, *, json: bool) -> int:
    """Tell the user what went wrong and return the exit code."""
    if isinstance(error, InterruptedRun):
        text = "Interrupted; nothing is lost: run the same command with --resume."
        return _interrupted(text, json=json)
    if isinstance(error, KeyboardInterrupt):
        return _interrupted("Interrupted.", json=json)
    if isinstance(error, BrokenPipeError):
        return PIPE_CLOSED  # whoever read our output has gone
    known = as_known(error)
    if known is None:
        return _bug(error, json=json)
    if _debugging():
        traceback.print_exception(error)
    if json:
        write_json({"error": describe(known), "exitCode": known.exit_code})
    _say(known)
    return known.exit_code


def _say(error: DeniabilityError) -> None:
    """Write the sentence, and below it the example that some hints end in."""
    _, gap, example = (error.hint or "").partition("\n\n")
    say(sentence(error).removesuffix(gap + example) if gap else sentence(error))
    for line in example.splitlines():
        say(line)


def sentence(error: DeniabilityError) -> str:
    """Return an error as the line that stderr shows; it names the stage where one refused."""
    if isinstance(error, VerificationError):
        return f"error: verification failed at stage '{error.stage}': {error}"
    if error.exit_code == UncheckedError.exit_code:
        return f"error: could not be checked (stage '{error.stage}'): {error}"
    return f"error: {error}"


def describe(error: DeniabilityError) -> dict[str, Any]:
    """Return an error as JSON; what is not known is left out."""
    fields = {
        "stage": error.stage,
        "what": error.what,
        "where": error.where,
        "expected": error.expected,
        "found": error.found,
        "hint": error.hint,
        "message": str(error),
    }
    return {name: value for name, value in fields.items() if value is not None}


def as_known(error: BaseException) -> DeniabilityError | None:
    """Put an error that is the machine's or the user's, not ours, into words."""
    if isinstance(error, DeniabilityError):
        return error
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return ResourceError(
            "not enough memory for this",
            hint="Close other programs, or use --device cpu or a smaller --preset.",
        )
    if isinstance(error, RecursionError):
        return ResourceError("something in the input is nested too deeply to be worked on")
    if isinstance(error, OSError):
        return _system_error(error)
    if isinstance(error, ImportError):
        return ResourceError(
            "a package that this takes cannot be imported",
            found=str(error),
            hint="Install deniability again: python -m pip install deniability.",
        )
    return None


def _system_error(error: OSError) -> DeniabilityError:
    where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else None
    reason = error.strerror or type(error).__name__
    kind = OutputError if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS} else InputError
    return kind("the system refused", where=where, found=reason)


def _interrupted(text: str, *, json: bool) -> int:
    if json:
        write_json({"error": {"stage": "interrupted", "message": text}, "exitCode": INTERRUPTED})
    say(text)
    return INTERRUPTED


def drop_unwritable_output() -> None:
    """Let go of output that cannot be written, so that it does not raise again at exit."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _bug(error: BaseException, *, json: bool) -> int:
    name = f"{type(error).__name__}: {error}"[:500]
    text = f"error: a fault in deniability itself ({name})."
    hint = "Please report it, with the output of the same command under DENY_DEBUG=1."
    if json:
        details = {"stage": "bug", "what": name, "hint": hint, "message": f"{text} {hint}"}
        write_json({"error": details, "exitCode": BUG})
    if _debugging():
        traceback.print_exception(error)
    say(f"{text} {hint}")
    return BUG


def _debugging() -> bool:
    return os.environ.get("DENY_DEBUG", "") not in {"", "0"}
