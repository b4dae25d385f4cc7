"""Running `deny` in this process, or as its users do."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Ran:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def deny(capsys):
    """Run a command in this process."""

    def run(*arguments):
        from deniability.cli.app import run as run_app

        capsys.readouterr()
        code = run_app([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def process():
    """Run a command as a process of its own, in a folder."""

    def run(*arguments, cwd, **environment):
        done = subprocess.run(
            [sys.executable, "-m", "deniability", *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Give one test its own key folder and trust store."""
    for name in ("DATA", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / "home" / name.lower()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def signer(registered):
    """Options that sign with the test's key and use its registration."""
    return ("--key", registered.private_key, "--registration", registered.registration)
