"""A search that is killed at any moment loses little, and ends in the bits it would have had."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import toy_evidence as toy

from deniability.crypto.digest import sha256_hex
from deniability.errors import InputError
from deniability.evidence import restarts
from deniability.evidence.restarts import RestartLog
from deniability.evidence.search import Targets, search
from deniability.evidence.state import RunState
from deniability.imaging.lossless import LosslessHandling
from deniability.imaging.observation import lossless_kind
from deniability.inversion.adam import Adam
from deniability.inversion.engine import Engine
from deniability.inversion.executor import LocalExecutor
from deniability.inversion.lm import LevenbergMarquardt
from deniability.inversion.solution import Restart, Stop
from deniability.inversion.starts import Starts

HERE = Path(__file__).resolve().parent
IDENTITY = "a" * 64


class Slow(toy.Smooth):
    """Takes its time."""

    def forward(self, z):
        time.sleep(0.002)
        return super().forward(z)


def searched(state, *, module=None, solver=None, count=90, seconds=0.0, **options):
    """Search the toy's own outputs, of which some are never reached, and return the traces."""
    generator = toy.make_generator(module or toy.Smooth())
    kind = lossless_kind(channels=1, height=toy.SIDE, width=toy.SIDE, rounding="round")
    handling = LosslessHandling(kind)
    engine = Engine(
        generator,
        handling,
        solver or LevenbergMarquardt(12),
        Starts(generator, None),
        restarts=4,
        threshold=1e-9,
        resolution=1e-9,
    )
    with torch.no_grad():
        pictures = generator.quantise(generator(toy.drawn(generator, count))).numpy()
    return search(
        engine,
        Targets.of(handling.save(pictures)),
        lambda target, index: bytes.fromhex(sha256_hex(f"{target} {index}".encode())),
        RestartLog(state, "search"),
        executor=LocalExecutor(seconds=seconds),
        **options,
    )


def check_same(left, right):
    """Equal bit by bit."""
    for a, b in zip(left, right, strict=True):
        for one, other in zip(a.restarts, b.restarts, strict=True):
            assert (one.stop, one.residual, one.distance) == (
                other.stop,
                other.residual,
                other.distance,
            )
            assert one.iterations == other.iterations
            assert (one.latent is None) == (other.latent is None)
            assert one.latent is None or torch.equal(one.latent, other.latent)


def child(folder):
    """Search in a process of its own, writing all the time."""
    restarts._SECONDS = 0.0
    torch.set_num_threads(1)
    with RunState(Path(folder), IDENTITY, resume=True) as state:
        sys.stdout.write("at work\n")
        sys.stdout.flush()
        searched(state, module=Slow())
        os._exit(0)  # leaves the state where it is


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_killed_at_random_moments_it_ends_the_same(tmp_path):
    folder, rng = tmp_path / "state", random.Random(0)
    command = [sys.executable, "-c", f"import test_killed; test_killed.child({str(folder)!r})"]
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    progress = [0]
    for _ in range(3):
        running = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE
        )
        with running:
            assert running.stdout.readline() == b"at work\n"
            time.sleep(rng.uniform(0.2, 1.5))
            running.send_signal(signal.SIGKILL)
        assert running.returncode in {-signal.SIGKILL, 0}
        with RunState(folder, IDENTITY, resume=True) as state:
            progress.append(len(RestartLog(state, "search").known))
    assert progress == sorted(progress)
    with RunState(folder, IDENTITY, resume=True) as state:
        check_same(searched(None), searched(state))


@pytest.mark.parametrize("solver", [LevenbergMarquardt(12), Adam(60)], ids=["lm", "adam"])
@pytest.mark.parametrize("events", [1, 7, 15])
def test_interrupted_in_a_step_it_ends_the_same(tmp_path, monkeypatch, solver, events):
    whole = searched(None, solver=solver)
    left, original = [events], type(solver).step

    def step(self, objective, state):
        left[0] -= 1
        if left[0] == 0:
            original(self, objective, state)
            raise KeyboardInterrupt
        return original(self, objective, state)

    with monkeypatch.context() as patch:
        patch.setattr(type(solver), "step", step)
        with (
            RunState(tmp_path / "state", IDENTITY, resume=False) as state,
            pytest.raises(KeyboardInterrupt),
        ):
            searched(state, solver=solver, seconds=1e9)
    with RunState(tmp_path / "state", IDENTITY, resume=True) as state:
        assert state.names("search-chunk")
        check_same(whole, searched(state, solver=solver))


def test_restarts_whose_chunk_was_not_kept_still_count(tmp_path):
    """As after a crash between the two writes, or on another kind of machine."""
    with RunState(tmp_path / "state", IDENTITY, resume=False) as state:
        whole = searched(state)
        again = searched(state)  # nothing left to do
        check_same(whole, again)
        state.forget("search-restarts-000000")
        some = searched(state)
    for a, b in zip(whole, some, strict=True):
        assert [r.stop for r in a.restarts] == [r.stop for r in b.restarts]


@pytest.mark.parametrize("about", [{}, {"ended": 3}, {"ended": [], "active": [[1]]}])
def test_a_damaged_chunk_is_refused(tmp_path, about):
    with RunState(tmp_path / "state", IDENTITY, resume=False) as state:
        state.save("search-chunk-000000", {"latents": torch.zeros(1)}, about)
        with pytest.raises(InputError, match="damaged"):
            searched(state)


def test_a_chunk_of_another_solver_is_refused(tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    with RunState(tmp_path / "state", IDENTITY, resume=False) as state:
        with pytest.raises(KeyboardInterrupt):
            searched(state, on_step=interrupt)
        with pytest.raises(InputError, match="does not fit the search"):
            searched(state, solver=Adam(60))


@pytest.mark.slow
def test_many_restarts_cost_their_own_size_to_keep(tmp_path, monkeypatch):
    """100,000 restarts: bytes written and memory grow in proportion, and not by much."""
    monkeypatch.setattr(restarts, "_SECONDS", 0.0)
    written, peak, steps = [], [], (10_000, 100_000)
    for count in steps:
        folder = tmp_path / str(count)
        with RunState(folder, IDENTITY, resume=False) as state:
            log = RestartLog(state, "search")
            monkeypatch.setattr(log, "_write_now_and_then", lambda: None)
            for index in range(count):
                log.add(0, Restart(index, "prior", Stop.STALLED, 0.1, 0.2, 9, torch.ones(64)))
                if index % 500 == 499:
                    log.flush()
        written.append(sum(path.stat().st_size for path in folder.iterdir()))
        peak.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    assert written[1] < 11 * written[0]
    assert written[1] < 500 * steps[1]
    assert peak[1] - peak[0] < 2500 * (steps[1] - steps[0])
    with RunState(tmp_path / str(steps[1]), IDENTITY, resume=True) as state:
        assert len(RestartLog(state, "search").known) == steps[1]
