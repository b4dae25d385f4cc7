"""Which mechanism works on this machine: each is tried for real, once per process."""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deniability.sandbox.bubblewrap import Bubblewrap
from deniability.sandbox.interface import Grants, Isolation, Limits, Program
from deniability.sandbox.landlock import Landlock
from deniability.sandbox.python import environment

#: The strongest first.
MECHANISMS: tuple[Isolation, ...] = (Bubblewrap(), Landlock())
_LIMITS = Limits(memory=1 << 30, seconds=20)


@dataclass(frozen=True)
class Choice:
    """What was found.

    Attributes:
        isolation: the first mechanism that works, or None.
        reasons: why others do not, as clauses.

    """

    isolation: Isolation | None
    reasons: tuple[str, ...]


def choose_isolation() -> Choice:
    """Try the mechanisms in order; the answer holds for this process only."""
    return _choose(MECHANISMS)


@functools.cache
def _choose(mechanisms: Sequence[Isolation]) -> Choice:
    reasons: list[str] = []
    for isolation in mechanisms:
        reason = isolation.unavailable() or probe(isolation)
        if reason is None:
            return Choice(isolation, tuple(reasons))
        reasons.append(f"{isolation.name}: {reason}")
    return Choice(None, tuple(reasons))


@functools.cache
def cheap_isolation() -> Isolation | None:
    """Return a mechanism that costs milliseconds, untried: its child refuses to run unconfined."""
    landlock = Landlock()
    return landlock if landlock.unavailable() is None else choose_isolation().isolation


def probe(isolation: Isolation) -> str | None:
    """Run `selftest` in a child; return why the mechanism does not do, or None if it does."""
    try:
        with tempfile.TemporaryDirectory(prefix="deniability-") as folder:
            outside, scratch = Path(folder, "outside"), Path(folder, "scratch")
            outside.mkdir()
            scratch.mkdir()
            secret = outside / "secret"
            secret.write_bytes(b"secret")
            program = Program("deniability.sandbox.selftest", (str(secret), str(outside)))
            done = subprocess.run(  # noqa: S603 - our own command, no shell
                isolation.command(program, Grants(scratch.resolve()), _LIMITS),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=environment(scratch),
                timeout=30,
                check=False,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)[:200]
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return (said[-1] if said else f"it ended with status {done.returncode}")[:200]
    try:
        possible = json.loads(done.stdout)
    except ValueError:
        return "its answer cannot be read"
    return f"it lets a child {', '.join(possible)}" if possible else None
