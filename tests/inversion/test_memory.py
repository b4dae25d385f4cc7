"""Batches sized to the memory there is, and smaller ones when it runs out all the same."""

import dataclasses

import pytest
import torch
from toy_objectives import Smooth, drawn, engine_of, make_generator, own_observations, seed_of

from deniability.errors import GeneratorError
from deniability.inversion import memory
from deniability.inversion.lm import LevenbergMarquardt
from deniability.inversion.memory import (
    activation_bytes,
    container_memory,
    lanes_that_fit,
    out_of_memory,
    rows_that_fit,
)

CPU = torch.device("cpu")


def test_activations_are_measured():
    small, large = make_generator(Smooth(side=6)), make_generator(Smooth(side=12), side=12)
    # 32 hidden numbers several times, side * side pixels several times, 4 bytes each.
    assert 4 * (32 + 36) <= activation_bytes(small) <= 4 * 20 * (32 + 36)
    assert activation_bytes(large) > activation_bytes(small)


def test_batches_and_lanes_shrink_with_the_memory(monkeypatch):
    generator = make_generator(Smooth())
    found = []
    for free in (1 << 40, 1 << 20, 1 << 17):
        monkeypatch.setattr(memory, "free_memory", lambda _, free=free: free)
        rows = rows_that_fit(
            coordinates=36, dimension=4, device=CPU, activation=activation_bytes(generator)
        )
        found.append((rows, lanes_that_fit(generator)))
    assert found == sorted(found, reverse=True)
    assert found[0] == (256, 256)
    assert 1 <= found[-1][0] < 256
    assert 1 <= found[-1][1] < 256


def test_what_a_model_needs_counts_for_a_single_restart(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda _: 1 << 20)
    assert rows_that_fit(coordinates=36, dimension=4, device=CPU) > 1
    with pytest.raises(GeneratorError, match="one restart does not fit memory"):
        rows_that_fit(coordinates=36, dimension=4, device=CPU, activation=1 << 20)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "1000\n", "memory.current": "400\n"}, 600),
        ({"memory.max": "1000\n", "memory.current": "1400\n"}, 0),
        ({"memory.max": "max\n", "memory.current": "400\n"}, None),
        ({"memory/memory.limit_in_bytes": "90", "memory/memory.usage_in_bytes": "50"}, 40),
        ({"memory.max": "what"}, None),
        ({}, None),
    ],
)
def test_the_limit_of_a_control_group_is_respected(tmp_path, files, expected):
    (tmp_path / "memory").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert container_memory(tmp_path) == expected


def test_free_memory_is_the_least_that_anybody_grants(monkeypatch):
    monkeypatch.setattr(memory, "_system_memory", lambda: 5000)
    for container, least in ((300, 300), (None, 5000), (9000, 5000)):
        monkeypatch.setattr(memory, "container_memory", lambda container=container: container)
        assert memory.free_memory(CPU) == least


class Cramped(LevenbergMarquardt):
    """Runs out of memory on more than `most` restarts at once."""

    most = 3
    error = torch.OutOfMemoryError("CUDA out of memory")

    def step(self, objective, state):
        if len(state.latents) > self.most:
            raise self.error
        return super().step(objective, state)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"
        ),
    ],
    ids=["cuda", "python", "cpu"],
)
def test_when_memory_runs_out_batches_are_halved_and_it_goes_on(monkeypatch, error):
    generator = make_generator(Smooth(wave=1.5))
    observations = own_observations(generator, drawn(generator, 12))
    whole = engine_of(generator).run(observations, seed_of)
    monkeypatch.setattr(Cramped, "error", error)
    again = engine_of(generator, solver=Cramped(40)).run(observations, seed_of)
    for a, b in zip(whole, again, strict=True):
        assert [r.stop for r in a.restarts] == [r.stop for r in b.restarts]
        assert a.residual == pytest.approx(b.residual, rel=1e-2, abs=2e-9)


def test_one_restart_that_does_not_fit_is_a_clear_error(monkeypatch):
    generator = make_generator(Smooth())
    observations = own_observations(generator, drawn(generator, 3))
    monkeypatch.setattr(Cramped, "most", 0)
    with pytest.raises(GeneratorError, match="one restart does not fit memory"):
        engine_of(generator, solver=Cramped(40)).run(observations, seed_of)


def test_other_errors_are_not_taken_for_it():
    wrapped = GeneratorError("the model failed in its forward pass")
    wrapped.__cause__ = RuntimeError("DefaultCPUAllocator: not enough memory")
    assert out_of_memory(wrapped)
    assert not out_of_memory(RuntimeError("shapes do not fit"))
    generator = make_generator(Smooth())
    solver = dataclasses.replace(Cramped(40))
    Cramped.error, before = RuntimeError("shapes do not fit"), Cramped.error
    try:
        with pytest.raises(RuntimeError, match="shapes"):
            engine_of(generator, solver=solver).run(
                own_observations(generator, drawn(generator, 9)), seed_of
            )
    finally:
        Cramped.error = before
