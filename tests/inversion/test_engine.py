"""The engine: traces that depend on nothing but the targets and the seeds."""

import dataclasses
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_objectives import (
    Counting,
    Smooth,
    drawn,
    engine_of,
    handling_of,
    make_generator,
    own_observations,
    seed_of,
)

from deniability.errors import GeneratorError
from deniability.inversion import memory
from deniability.inversion.adam import Adam
from deniability.inversion.lm import LevenbergMarquardt
from deniability.inversion.memory import rows_that_fit
from deniability.inversion.solution import Restart, Stop, Trace


def generator_of(**options):
    return make_generator(Smooth(**options))


@pytest.fixture(scope="module")
def hard():
    """A generator on which some restarts fail, its own outputs, and their traces."""
    generator = generator_of(wave=1.5)
    observations = own_observations(generator, drawn(generator, 12))
    traces = engine_of(generator).run(observations, seed_of)
    return generator, observations, traces


def check_stop_rule(trace, restarts):
    assert [r.index for r in trace.restarts] == list(range(restarts))
    stops = [r.stop for r in trace.restarts]
    if Stop.REACHED in stops:
        first = stops.index(Stop.REACHED)
        assert all(stop is Stop.NOT_RUN for stop in stops[first + 1 :])
        assert Stop.NOT_RUN not in stops[:first]
        assert trace.best.index == first
    else:
        assert Stop.NOT_RUN not in stops
    for restart in trace.restarts:
        ran = restart.stop is not Stop.NOT_RUN
        assert (restart.latent is not None) == ran
        assert ran or (restart.residual is None and restart.iterations == 0)


def same_traces(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert [r.stop for r in a.restarts] == [r.stop for r in b.restarts]
        assert a.best.index == b.best.index
        assert a.residual == pytest.approx(b.residual, rel=1e-2, abs=2e-9)


def test_some_targets_are_found_at_once_some_late_and_some_never(hard):
    _, _, traces = hard
    found = [t.best.index for t in traces if t.best.stop is Stop.REACHED]
    assert min(found) == 0
    assert max(found) > 1
    assert len(found) < len(traces)


def test_restarts_end_with_the_first_that_reaches(hard):
    generator, _, traces = hard
    for trace in traces:
        check_stop_rule(trace, engine_of(generator).restarts)


@pytest.mark.parametrize("limit", [1, 2, 5, 64])
def test_results_do_not_depend_on_the_batch(hard, limit):
    generator, observations, traces = hard
    again = engine_of(generator, batch_limit=limit).run(observations, seed_of)
    same_traces(traces, again)


def test_results_do_not_depend_on_the_other_targets(hard):
    """Alone, a target's restarts are all speculated ahead; the trace is the same."""
    generator, observations, traces = hard
    for target in (0, 5, 11):
        (alone,) = engine_of(generator).run(
            observations[target : target + 1], lambda _, index, t=target: seed_of(t, index)
        )
        check_stop_rule(alone, 6)
        same_traces([traces[target]], [alone])


def test_the_same_seeds_give_the_same_bits(hard):
    generator, observations, traces = hard
    again = engine_of(generator).run(observations, seed_of)
    for a, b in zip(traces, again, strict=True):
        for one, other in zip(a.restarts, b.restarts, strict=True):
            assert dataclasses.replace(one, latent=None) == dataclasses.replace(other, latent=None)
            assert one.latent is None or torch.equal(one.latent, other.latent)


def test_other_seeds_give_other_starts(hard):
    generator, observations, traces = hard
    again = engine_of(generator).run(observations, lambda t, i: seed_of(t + 1000, i))
    assert any(
        not torch.equal(a.restarts[0].latent, b.restarts[0].latent)
        for a, b in zip(traces, again, strict=True)
    )


def test_a_recorded_residual_is_that_of_the_stored_latent(hard):
    generator, observations, traces = hard
    handling = handling_of(generator)
    for target, trace in enumerate(traces):
        for restart in trace.restarts:
            if restart.latent is None:
                continue
            with torch.no_grad():
                values = handling.operator(generator(restart.latent[None]))[0]
            low, high = observations.low[target], observations.high[target]
            above = (values - high - handling.slack).clamp(min=0)
            below = (low - handling.slack - values).clamp(min=0)
            mean = float((above + below).double().square().mean())
            assert restart.residual == pytest.approx(mean, rel=1e-3, abs=1.01e-9)
            distance = float((values - observations.centre[target]).double().square().mean())
            assert restart.distance == pytest.approx(distance, rel=1e-3)


def test_known_restarts_are_not_run_again(hard):
    generator, observations, traces = hard
    counting = Counting(generator.module)
    counted = make_generator(counting)
    everything = {
        (target, r.index): r
        for target, trace in enumerate(traces)
        for r in trace.restarts
        if r.stop is not Stop.NOT_RUN
    }
    told = []
    again = engine_of(counted).run(
        observations, seed_of, known=everything, on_restart=lambda t, r: told.append((t, r))
    )
    assert counting.rows == 0
    assert told == []
    assert [t.restarts for t in again] == [t.restarts for t in traces]


@pytest.mark.parametrize("seed", range(8))
def test_any_part_may_be_known_and_the_traces_are_the_same(hard, seed):
    generator, observations, traces = hard
    ran = [
        ((target, r.index), r)
        for target, trace in enumerate(traces)
        for r in trace.restarts
        if r.stop is not Stop.NOT_RUN
    ]
    rng = random.Random(seed)
    known = dict(entry for entry in ran if rng.random() < seed / 7)
    told = set()
    again = engine_of(generator).run(
        observations, seed_of, known=known, on_restart=lambda t, r: told.add((t, r.index))
    )
    same_traces(traces, again)
    assert not told & known.keys()
    for (target, index), restart in known.items():
        assert again[target].restarts[index] is restart


def test_a_known_restart_that_reached_makes_the_later_ones_not_run():
    generator = generator_of()
    observations = own_observations(generator, drawn(generator, 1))
    latent = torch.zeros(4)
    known = {
        (0, 0): Restart(0, "prior", Stop.STALLED, 1e-2, 1e-2, 9, latent),
        (0, 1): Restart(1, "prior", Stop.REACHED, 0.0, 1e-6, 9, latent),
        (0, 2): Restart(2, "prior", Stop.STALLED, 2e-2, 2e-2, 9, latent),  # speculated ahead
    }
    (trace,) = engine_of(generator).run(observations, seed_of, known=known)
    check_stop_rule(trace, 6)
    assert trace.restarts[:2] == (known[0, 0], known[0, 1])


def test_many_targets_are_all_searched_for():
    generator = generator_of()
    observations = own_observations(generator, drawn(generator, 300))
    traces = engine_of(generator, restarts=8).run(observations, seed_of)
    assert len(traces) == 300
    reached = 0
    for trace in traces:
        check_stop_rule(trace, 8)
        reached += trace.best.stop is Stop.REACHED
    assert reached >= 290


def test_adam_goes_through_the_same_engine():
    generator = generator_of()
    observations = own_observations(generator, drawn(generator, 4))
    traces = engine_of(generator, solver=Adam(1500), restarts=4).run(observations, seed_of)
    for trace in traces:
        check_stop_rule(trace, 4)
    assert sum(t.best.stop is Stop.REACHED for t in traces) >= 3


def test_given_latents_are_refined_each_for_its_target():
    generator = generator_of()
    latents = drawn(generator, 5)
    observations = own_observations(generator, latents)
    for limit in (None, 2):
        refined = engine_of(generator, batch_limit=limit).from_latents(observations, latents + 0.02)
        assert [r.stop for r in refined] == [Stop.REACHED] * 5
        assert all(
            (r.latent - latent).abs().max() < 0.1
            for r, latent in zip(refined, latents, strict=True)
        )


class Broken(torch.nn.Module):
    """NaN wherever the first latent number is positive."""

    def __init__(self, inner, everywhere=False):
        super().__init__()
        self.inner = inner
        self.everywhere = everywhere

    def forward(self, z):
        bad = (z[:, :1] > 0) | self.everywhere
        return torch.where(bad[:, :, None, None], torch.nan, self.inner(z))


def test_non_finite_restarts_are_recorded():
    whole = generator_of()
    observations = own_observations(whole, drawn(whole, 3))
    broken = make_generator(Broken(Smooth(), everywhere=True))
    for trace in engine_of(broken).run(observations, seed_of):
        assert [r.stop for r in trace.restarts] == [Stop.NON_FINITE] * 6
        assert all(r.residual is None and r.distance is None for r in trace.restarts)
        assert all(r.latent is not None for r in trace.restarts)
        assert trace.best is None
        assert trace.residual is None


def test_non_finite_restarts_stand_beside_finite_ones():
    whole = generator_of()
    observations = own_observations(whole, drawn(whole, 4))
    partly = make_generator(Broken(Smooth()))
    stops = {r.stop for t in engine_of(partly).run(observations, seed_of) for r in t.restarts}
    assert Stop.NON_FINITE in stops
    assert stops - {Stop.NON_FINITE, Stop.NOT_RUN}


def test_the_best_restart_is_the_earliest_among_equals():
    latent = torch.zeros(4)
    restarts = tuple(
        Restart(i, "prior", Stop.STALLED, r, r, 1, latent) for i, r in enumerate([3.0, 1.0, 1.0])
    )
    assert Trace(restarts).best.index == 1


def test_events_are_told_for_every_restart_that_counts(hard):
    generator, observations, traces = hard
    told, steps = [], []
    engine_of(generator).run(
        observations,
        seed_of,
        on_restart=lambda t, r: told.append((t, r.index)),
        on_step=lambda: steps.append(1),
    )
    ran = {
        (t, r.index)
        for t, trace in enumerate(traces)
        for r in trace.restarts
        if r.latent is not None
    }
    assert ran <= set(told)
    assert len(told) == len(set(told))
    assert steps


def test_too_little_memory_says_how_much_is_needed(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda _: 1 << 20)
    generator = generator_of()
    with pytest.raises(GeneratorError, match="one restart does not fit memory") as caught:
        rows_that_fit(coordinates=3 << 20, dimension=512, device=torch.device("cpu"))
    assert "3145728 coordinates x 512 latents" in caught.value.expected
    assert "GiB free on cpu" in caught.value.found
    observations = own_observations(generator, drawn(generator, 1))
    monkeypatch.setattr(memory, "free_memory", lambda _: 100)
    with pytest.raises(GeneratorError, match="does not fit memory"):
        engine_of(generator).run(observations, seed_of)


@given(
    coordinates=st.integers(1, 10_000),
    dimension=st.integers(1, 300),
    limit=st.none() | st.integers(1, 10_000),
)
def test_the_batch_stays_within_a_share_of_the_memory(coordinates, dimension, limit):
    free = 1 << 33
    before, memory.free_memory = memory.free_memory, lambda _: free
    try:
        rows = rows_that_fit(
            coordinates=coordinates, dimension=dimension, device=torch.device("cpu"), limit=limit
        )
    finally:
        memory.free_memory = before
    assert 1 <= rows <= (limit or 256)
    jacobian = coordinates * dimension * 4
    assert rows == 1 or rows * jacobian * 3 <= free // 4


def test_a_matrix_free_solver_needs_no_memory_for_a_jacobian(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda _: 1 << 30)
    size = {"coordinates": 49_152, "dimension": 16_384, "device": torch.device("cpu")}
    with pytest.raises(GeneratorError, match="does not fit memory"):
        rows_that_fit(**size)
    assert rows_that_fit(**size, dense=False) >= 2


def test_a_solver_without_iterations_reports_its_starts():
    generator = generator_of()
    observations = own_observations(generator, drawn(generator, 2))
    for trace in engine_of(generator, solver=LevenbergMarquardt(0)).run(observations, seed_of):
        assert {r.stop for r in trace.restarts} == {Stop.EXHAUSTED}
        assert {r.iterations for r in trace.restarts} == {0}
