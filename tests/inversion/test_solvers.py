"""Solvers on objectives whose minimum is known, and how they say why they stopped."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_objectives import Smooth, minimise, point_objective

from deniability.inversion.adam import Adam
from deniability.inversion.gncg import GaussNewtonCG
from deniability.inversion.lm import LevenbergMarquardt
from deniability.inversion.solution import Stop
from deniability.inversion.solver import recorded

THREE = [LevenbergMarquardt(30), GaussNewtonCG(30, 4), Adam(200)]
NAMES = ["lm", "gncg", "adam"]


def linear(seed, rows=12, dimension=4):
    stream = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, dimension, generator=stream)
    targets = torch.randn(3, rows, generator=stream)
    return (lambda z: z @ matrix.T), matrix, targets


def smooth_map():
    network = Smooth().requires_grad_(False)
    return lambda z: 2 * network(z).flatten(1) - 1


@pytest.mark.parametrize("solver", [LevenbergMarquardt(60), GaussNewtonCG(60, 4)], ids=NAMES[:2])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_second_order_solves_linear_least_squares_exactly(solver, seed):
    forward, matrix, targets = linear(seed)
    objective = point_objective(forward, targets, dimension=4)
    state, reasons = minimise(solver, objective, torch.zeros(3, 4))
    exact = torch.linalg.lstsq(matrix.double(), targets.double().T).solution.T
    assert torch.allclose(state.best.double(), exact, atol=1e-4, rtol=1e-3)
    assert reasons == [Stop.STALLED] * 3  # what is left cannot be removed


def test_adam_solves_linear_least_squares():
    forward, matrix, targets = linear(5)
    objective = point_objective(forward, targets, dimension=4)
    state, _ = minimise(Adam(1500), objective, torch.zeros(3, 4))
    exact = torch.linalg.lstsq(matrix, targets.T).solution.T
    best = (forward(exact) - targets).square().mean(dim=1)
    assert torch.allclose(state.statistic.float(), best, rtol=1e-3)


@pytest.mark.parametrize(
    ("solver", "near"),
    [(LevenbergMarquardt(60), 1e-3), (GaussNewtonCG(60, 4), 1e-3), (Adam(2000), 5e-2)],
    ids=NAMES,
)
def test_recovers_the_latent_of_a_smooth_network(solver, near):
    forward = smooth_map()
    truth = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    objective = point_objective(forward, forward(truth), dimension=4)
    starts = truth + 0.3 * torch.randn(8, 4, generator=torch.Generator().manual_seed(2))
    state, _ = minimise(solver, objective, starts, threshold=1e-12)
    assert (state.best - truth).norm(dim=1).max() < near


@pytest.mark.parametrize(
    "solver", [LevenbergMarquardt(60), GaussNewtonCG(60, 4), Adam(1500)], ids=NAMES
)
def test_the_cell_phase_reaches_a_residual_of_zero(solver):
    forward = smooth_map()
    truth = torch.randn(6, 4, generator=torch.Generator().manual_seed(3))
    # The cell's centre is no output: only aiming at the cell itself ends at zero.
    half = 4 / 127.5
    offset = half * (1.8 * torch.rand(6, 36, generator=torch.Generator().manual_seed(4)) - 0.9)
    objective = point_objective(forward, forward(truth) + offset, dimension=4, half=half)
    starts = truth + 0.2
    # At the walls of the cell float32 leaves some 1e-16.
    state, reasons = minimise(solver, objective, starts, threshold=1e-14)
    assert reasons == [Stop.REACHED] * 6
    assert (state.distance > 1e-5).all()


def test_every_reason_to_stop_and_its_order():
    forward = smooth_map()
    targets = forward(torch.zeros(5, 4))
    solver = LevenbergMarquardt(max_iterations=10, patience=4)
    state = solver.init(point_objective(forward, targets, dimension=4), torch.ones(5, 4))
    values = dict(vars(state))
    values["statistic"] = torch.tensor([1e-3, math.inf, 0.5, 0.5, 0.5], dtype=torch.float64)
    values["stalled"] = torch.tensor([9, 0, 4, 3, 0])
    values["iterations"] = torch.tensor([10, 1, 3, 10, 9])
    assert solver.terminate(type(state)(**values), 1e-3) == [
        Stop.REACHED,
        Stop.NON_FINITE,
        Stop.STALLED,
        Stop.EXHAUSTED,
        None,
    ]


def test_the_threshold_is_compared_with_the_number_that_is_recorded():
    forward = smooth_map()
    solver = LevenbergMarquardt(10)
    state = solver.init(
        point_objective(forward, forward(torch.zeros(2, 4)), dimension=4), torch.ones(2, 4)
    )
    values = dict(vars(state))
    values["statistic"] = torch.tensor([1.000004e-3, 1.000006e-3], dtype=torch.float64)
    assert recorded(1.000004e-3) == 1e-3
    assert solver.terminate(type(state)(**values), 1e-3) == [Stop.REACHED, None]


@pytest.mark.parametrize("solver", THREE, ids=NAMES)
def test_a_constant_generator_stalls_without_nan(solver):
    constant = torch.full((36,), 0.25)

    def forward(z):
        return constant.expand(len(z), 36) + 0 * z.sum(dim=1, keepdim=True)

    objective = point_objective(forward, torch.full((2, 36), 0.5), dimension=4)
    start = torch.ones(2, 4)
    state, reasons = minimise(solver, objective, start)
    assert reasons == [Stop.STALLED] * 2
    assert torch.equal(state.best, start)
    assert state.statistic.tolist() == [0.0625] * 2


@pytest.mark.parametrize("solver", THREE, ids=NAMES)
def test_a_nan_generator_ends_as_non_finite(solver):
    def forward(z):
        return z[:, :1].expand(len(z), 36) * math.nan

    objective = point_objective(forward, torch.zeros(2, 36), dimension=4)
    state, reasons = minimise(solver, objective, torch.ones(2, 4))
    assert reasons == [Stop.NON_FINITE] * 2
    assert state.statistic.tolist() == [math.inf] * 2


@pytest.mark.parametrize("solver", [LevenbergMarquardt(60), GaussNewtonCG(60, 4)], ids=NAMES[:2])
def test_nan_in_part_of_latent_space_does_not_end_a_search_that_starts_outside_it(solver):
    inner = smooth_map()

    def forward(z):
        bad = (z[:, :1] > 1.5).expand(len(z), 36)
        return torch.where(bad, torch.full_like(bad, math.nan, dtype=z.dtype), inner(z))

    truth = torch.tensor([[1.4, 0.2, -0.5, 0.3]])
    objective = point_objective(forward, forward(truth), dimension=4)
    start = torch.tensor([[0.6, 0.6, -0.1, 0.0]])
    state, reasons = minimise(solver, objective, start, threshold=1e-12)
    assert reasons == [Stop.REACHED]
    assert torch.isfinite(state.latents).all()


@pytest.mark.parametrize("solver", THREE, ids=NAMES)
def test_detached_gradients_stall_and_do_not_reach(solver):
    inner = smooth_map()

    def forward(z):
        return inner(z.detach())

    truth = torch.full((2, 4), 0.5)
    objective = point_objective(forward, inner(truth), dimension=4)
    state, reasons = minimise(solver, objective, truth + 0.3)
    assert reasons == [Stop.STALLED] * 2
    assert torch.equal(state.best, truth + 0.3)


def test_no_steps_leave_the_start_exhausted():
    forward = smooth_map()
    objective = point_objective(forward, forward(torch.zeros(2, 4)), dimension=4)
    start = torch.ones(2, 4)
    state, reasons = minimise(LevenbergMarquardt(0), objective, start)
    assert reasons == [Stop.EXHAUSTED] * 2
    assert torch.equal(state.best, start)


@pytest.mark.parametrize("solver", THREE, ids=NAMES)
def test_rows_and_joined_take_restarts_apart_and_together(solver):
    forward = smooth_map()
    stream = torch.Generator().manual_seed(6)
    targets = forward(torch.randn(4, 4, generator=stream))
    objective = point_objective(forward, targets, dimension=4)
    starts = torch.randn(4, 4, generator=stream)
    whole = solver.init(objective, starts)
    for _ in range(3):
        whole = solver.step(objective, whole)
    order = torch.tensor([3, 1])
    rest = torch.tensor([0, 2])
    mixed = whole.rows(order).joined(whole.rows(rest))
    back = mixed.rows(torch.tensor([2, 1, 3, 0]))
    for name, value in vars(whole).items():
        assert torch.equal(getattr(back, name), value), name
    # And they go on alike: a restart does not notice its neighbours.
    alone = solver.step(objective.rows(order), whole.rows(order))
    together = solver.step(objective, whole)
    assert torch.allclose(alone.latents, together.latents[order], atol=1e-5)


def test_the_best_latent_is_kept_when_the_iterate_gets_worse():
    forward = smooth_map()
    truth = torch.randn(1, 4, generator=torch.Generator().manual_seed(8))
    objective = point_objective(forward, forward(truth), dimension=4)
    solver = Adam(60, learning_rate=2.0)  # overshoots
    state = solver.init(objective, truth + 0.05)
    seen = [float(state.statistic)]
    last = []
    for _ in range(20):
        state = solver.step(objective, state)
        seen.append(float(objective.statistic(state.values)))
        last.append(float(state.statistic))
    assert seen[-1] > min(seen)  # it did overshoot
    assert last[-1] == min(seen)
    assert float(objective.statistic(forward(state.best))) == pytest.approx(min(seen))
