"""The matrix-free solver: its products, its linear algebra, and latents too large for a dense J."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from toy_objectives import (
    Counting,
    Smooth,
    drawn,
    engine_of,
    make_generator,
    own_observations,
    point_objective,
    seed_of,
)

from deniability.errors import GeneratorError
from deniability.inversion.adam import Adam
from deniability.inversion.gncg import GaussNewtonCG
from deniability.inversion.lm import LevenbergMarquardt
from deniability.inversion.products import Products
from deniability.inversion.solution import Stop


class OnlyOnce(torch.autograd.Function):
    """The sine with a derivative and a tangent, but no second derivative."""

    @staticmethod
    def forward(z):
        return z.sin()

    @staticmethod
    def setup_context(ctx, inputs, output):  # noqa: ARG004 - torch names it
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, weights):
        return weights * ctx.saved_tensors[0].cos()

    @staticmethod
    def jvp(ctx, tangent):
        return tangent * ctx.saved_tensors[0].cos()


class NeitherWay(OnlyOnce):
    """The same without a tangent."""

    @staticmethod
    def jvp(ctx, tangent):
        raise NotImplementedError("no tangent of this layer")


class Wide(nn.Module):
    """`R x d` to gray pictures `R x 1 x side x side`: an ill-conditioned mixing, then a curve."""

    def __init__(self, dimension=1024, side=40):
        super().__init__()
        stream = torch.Generator().manual_seed(3)
        matrix = torch.randn(dimension, side * side, generator=stream) / dimension**0.5
        strength = torch.logspace(0.3, -1.2, dimension)
        self.register_buffer("matrix", matrix * strength[:, None])
        self.side = side

    def forward(self, z):
        return torch.sigmoid(2 * z @ self.matrix).reshape(-1, 1, self.side, self.side)


@pytest.mark.parametrize("curve", [torch.sin, OnlyOnce.apply], ids=["twice", "forward-mode"])
def test_products_are_those_of_the_jacobian(curve):
    matrix = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))

    def forward(z):
        return curve(z) @ matrix.T

    stream = torch.Generator().manual_seed(1)
    latents, tangents = torch.randn(2, 3, 5, generator=stream)
    cotangents = torch.randn(3, 7, generator=stream)
    jacobian = matrix * latents.cos()[:, None, :]
    products = Products(forward, latents)
    for _ in range(2):
        pushed = (jacobian @ tangents[:, :, None])[:, :, 0]
        assert torch.allclose(products.push(tangents), pushed, atol=1e-5)
        pulled = (cotangents[:, None] @ jacobian)[:, 0]
        assert torch.allclose(products.pull(cotangents), pulled, atol=1e-5)


def test_a_module_that_supports_neither_is_named():
    products = Products(NeitherWay.apply, torch.ones(2, 3))
    with pytest.raises(GeneratorError, match="neither twice nor in forward mode") as caught:
        products.push(torch.ones(2, 3))
    assert "no tangent of this layer" in caught.value.found


def test_a_whole_krylov_space_gives_the_step_of_levenberg_marquardt():
    inner = Smooth().requires_grad_(False)

    def forward(z):
        return 2 * inner(z).flatten(1) - 1

    truth, starts = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(2))
    objective = point_objective(forward, forward(truth), dimension=4)
    free = GaussNewtonCG(9, 4)
    state = free.init(objective, starts)
    # A first gradient of this length asks for systems that are solved to the end.
    state = replace(state, first=torch.full((5,), 1e30, dtype=torch.float64))
    state = free.step(objective, state)
    jacobian = objective.jacobian(starts).double()
    normal = jacobian.transpose(1, 2) @ jacobian
    mean = normal.diagonal(dim1=1, dim2=2).mean(dim=1)
    assert ((state.scale / mean - 1).abs() < 1).all()  # an estimate of it
    gradient = jacobian.transpose(1, 2) @ (forward(starts) - forward(truth)).double()[:, :, None]
    shift = (state.damping * state.scale)[:, None, None] * torch.eye(4, dtype=torch.float64)
    exact = starts - torch.linalg.solve(normal + shift, gradient)[:, :, 0]
    moved = (state.latents != starts).any(dim=1)
    assert moved.any()
    off = (state.latents - exact)[moved].norm(dim=1) / (exact - starts)[moved].norm(dim=1)
    assert (off < 1e-3).all()


def test_finds_what_levenberg_marquardt_finds():
    generator = make_generator(Smooth(dimension=6, side=8, wave=2.0), dimension=6, side=8)
    observations = own_observations(generator, drawn(generator, 12))
    runs = [
        engine_of(generator, solver=solver, restarts=12).run(observations, seed_of)
        for solver in (LevenbergMarquardt(50), GaussNewtonCG(50, 64))
    ]
    dense, free = [[t.best.stop is Stop.REACHED for t in run] for run in runs]
    assert sum(free) >= sum(dense) - 1
    assert sum(dense) >= 8


def test_results_do_not_depend_on_the_batch():
    generator = make_generator(Smooth(dimension=6, side=8), dimension=6, side=8)
    observations = own_observations(generator, drawn(generator, 6))
    runs = [
        engine_of(generator, solver=GaussNewtonCG(50, 64), batch_limit=limit).run(
            observations, seed_of
        )
        for limit in (None, 1)
    ]
    for one, other in zip(*runs, strict=True):
        assert [r.stop for r in one.restarts] == [r.stop for r in other.restarts]
        assert torch.allclose(one.best.latent, other.best.latent, atol=1e-3)


def test_a_rejected_step_takes_no_further_products():
    calls = 0

    def forward(z):
        nonlocal calls
        calls += z.requires_grad
        return (z - 1).abs().sqrt()  # steep near the minimum: steps are rejected

    objective = point_objective(forward, torch.zeros(1, 3), dimension=3)
    solver = GaussNewtonCG(40, 3)
    state = solver.init(objective, torch.tensor([[1.3, 0.2, 2.0]]))
    spans = 0
    for _ in range(20):
        spans += int(state.stale.sum())
        state = solver.step(objective, state)
    assert calls == spans


def test_a_thousand_latents_are_recovered_where_adam_at_equal_cost_is_not(monkeypatch):
    counting = Counting(Wide())
    products = []
    for name in ("pull", "push"):
        inner = getattr(Products, name)
        monkeypatch.setattr(
            Products, name, lambda self, v, do=inner: products.append(len(v)) or do(self, v)
        )
    generator = make_generator(counting, dimension=1024, side=40)
    observations = own_observations(generator, drawn(generator, 2))
    counting.rows = 0
    stops = []
    for kind in (GaussNewtonCG, Adam):
        # A product is a backward pass, which counts as two forward passes.
        steps = (counting.rows + 2 * sum(products)) // 2 // 4
        solver = Adam(steps) if kind is Adam else GaussNewtonCG(50, 64)
        engine = engine_of(generator, solver=solver, restarts=1)
        stops.append([t.restarts[0].stop for t in engine.run(observations, seed_of)])
    assert stops == [[Stop.REACHED] * 2, [Stop.EXHAUSTED] * 2]
