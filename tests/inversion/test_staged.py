"""Generators in two stages: how they are told, smoothed rectifiers, and the search through both."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional
from toy_objectives import (
    Smooth,
    drawn,
    engine_of,
    handling_of,
    make_generator,
    own_observations,
    point_objective,
    seed_of,
)

import deniability.inversion.staged as staged_module
from deniability.errors import GeneratorError
from deniability.generators.base import Generator
from deniability.generators.stages import stages_of
from deniability.imaging.observation import build_handling
from deniability.inversion.edited import searched
from deniability.inversion.lm import LevenbergMarquardt
from deniability.inversion.search import SearchTask
from deniability.inversion.smoothing import rectifier_widths, smoothed, smoothed_forward
from deniability.inversion.solution import Stop
from deniability.inversion.staged import (
    has_stages,
    latent_of_style,
    middle_of_cell,
    staged_starts,
)

LATENT, SIDE = 24, 24


class Mapping(nn.Module):
    """A chain of leaky rectifiers, which folds the latent space."""

    def __init__(self, dimension=LATENT, layers=8):
        super().__init__()
        stream = torch.Generator().manual_seed(1)
        draws = torch.randn(layers, dimension, dimension, generator=stream)
        self.weights = nn.Parameter(draws / dimension**0.5)

    def forward(self, z):
        w = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
        for weight in self.weights:
            w = math.sqrt(2) * functional.leaky_relu(w @ weight, 0.2)
        return w


class TwoStages(nn.Module):
    """A mapping network in front of a small smooth network."""

    def __init__(self):
        super().__init__()
        self.mapping = Mapping()
        self.synthesis = Smooth(LATENT, SIDE, gain=0.5)

    def forward(self, z):
        return self.synthesis(self.mapping(z))


class Contradiction(TwoStages):
    """Whose whole is not its stages in turn."""

    def forward(self, z):
        return self.synthesis(self.mapping(2 * z + 1))


@pytest.fixture(scope="module")
def generator():
    return make_generator(TwoStages(), dimension=LATENT, side=SIDE)


@pytest.fixture
def short(monkeypatch):
    """Fewer steps, as the small mapping needs fewer."""
    monkeypatch.setattr(staged_module, "_SMOOTHING", ((0.4, 20), (0.1, 40), (0.0, 20)))


def test_a_smoothed_rectifier_is_the_mean_over_noise():
    values = torch.tensor([-3.0, -0.4, 0.0, 0.2, 5.0], dtype=torch.float64)
    noise = torch.randn(200_000, 1, generator=torch.Generator().manual_seed(0)).double()
    mean = functional.leaky_relu(values + 0.5 * noise, 0.2).mean(dim=0)
    assert torch.allclose(smoothed(values, 0.2, 0.5), mean, atol=5e-3)
    assert torch.allclose(
        smoothed(values, 0.2, 1e-6), functional.leaky_relu(values, 0.2), atol=1e-6
    )


@pytest.mark.parametrize(
    "rectify",
    [functional.relu, torch.relu, torch.Tensor.relu, nn.ReLU(), nn.LeakyReLU(0.2)],
    ids=["functional", "torch", "method", "module", "leaky"],
)
def test_every_way_to_call_a_rectifier_is_smoothed(rectify):
    latents = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))

    def forward(z):
        return rectify(torch.tanh(rectify(2 * z)))

    widths = rectifier_widths(forward, latents)
    assert len(widths) == 2
    assert widths[0] == pytest.approx(float((2 * latents).std()))
    slope = float(rectify(torch.tensor(-1.0))) / -1.0
    first = smoothed(2 * latents, slope, 0.3 * widths[0])
    wanted = smoothed(torch.tanh(first), slope, 0.3 * widths[1])
    assert torch.allclose(smoothed_forward(forward, widths, 0.3)(latents), wanted)
    assert smoothed_forward(forward, widths, 0.0) is forward


def test_stages_are_those_that_make_the_same_pictures(generator):
    latents = drawn(generator, 4)
    stages = stages_of(generator, latents)
    assert stages is not None
    with torch.no_grad():
        assert torch.equal(stages.synthesis(stages.mapping(latents)), generator(latents))
    for other in (Smooth(LATENT, SIDE), Contradiction()):
        toy = make_generator(other, dimension=LATENT, side=SIDE)
        assert stages_of(toy, latents) is None
        assert not has_stages(toy)
        with pytest.raises(GeneratorError, match="two stages"):
            staged_starts(toy, handling_of(toy), LevenbergMarquardt(40))


class Truncated(nn.Module):
    """Brings its styles nearer to a mean by a share that is an input."""

    def __init__(self):
        super().__init__()
        self.styles = Mapping()
        self.synthesis = Smooth(LATENT, SIDE, gain=0.5)

    def mapping(self, z, psi):
        return 0.2 + psi * (self.styles(z) - 0.2)

    def forward(self, z, psi):
        return self.synthesis(self.mapping(z, psi))


def with_parts(module, *sizes):
    """A toy generator whose model takes several inputs."""
    whole = make_generator(module, dimension=sum(sizes), side=SIDE)
    (part,) = whole.spec.latent
    parts = tuple(
        part.model_copy(update={"name": f"part{i}", "shape": (size,)})
        for i, size in enumerate(sizes)
    )
    return Generator(
        module=module,
        forward=module,
        spec=whole.spec.model_copy(update={"latent": parts}),
        device=whole.device,
        files=whole.files,
    )


def test_the_mapping_may_take_several_inputs(generator):
    truncated = with_parts(Truncated(), LATENT, 1)
    latents = drawn(truncated, 4)
    stages = stages_of(truncated, latents)
    with torch.no_grad():
        assert torch.equal(stages.synthesis(stages.mapping(latents)), truncated(latents))
    assert has_stages(truncated)
    # One that leaves an input to the synthesis network is not told apart.
    assert stages_of(with_parts(generator.module, LATENT, 1), latents) is None


def test_a_torchscript_has_stages_too(generator):
    other = copy.copy(generator)
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        other.module = other.forward = torch.jit.script(generator.module)
    assert has_stages(other)


def test_the_middle_of_the_cell_is_nearer_to_the_truth_than_least_squares():
    stream = torch.Generator().manual_seed(0)
    jacobian = torch.randn(2000, 20, generator=stream).double()
    truth = torch.randn(1, 20, generator=stream).double()
    exact = truth @ jacobian.T
    objective = point_objective(lambda z: z, (exact * 4).round() / 4, dimension=20, half=0.125)
    found = middle_of_cell(objective, torch.zeros_like(exact), jacobian)
    least = torch.linalg.lstsq(jacobian, objective.centre[0]).solution
    error, plain = (float((z - truth).square().sum()) for z in (found, least))
    assert error < 0.2 * plain
    missed, farther = (
        float((z @ jacobian.T - objective.centre).abs().max()) for z in (found, least)
    )
    assert missed < 0.13 < farther


def test_a_latent_is_found_through_the_folds_of_the_mapping(generator, short):  # noqa: ARG001
    mapping = generator.module.mapping
    truth, start = drawn(generator, 2).split(1)
    jacobian = torch.randn(200, LATENT, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        style = mapping(truth)
        widths = rectifier_widths(mapping, drawn(generator, 64, "widths"))
        found = latent_of_style(mapping, widths, start, style, jacobian)
        before, after = (
            float(((mapping(z) - style) @ jacobian.T).square().mean()) for z in (start, found)
        )
    assert after < 1e-3 * before


def test_both_stages_find_what_the_latent_alone_does_not(generator):
    observations = own_observations(generator, drawn(generator, 3))
    engine = engine_of(generator, restarts=2)
    staged = replace(engine, starts=staged_starts(generator, engine.handling, engine.solver))
    plain = [trace.best.stop for trace in engine.run(observations, seed_of)]
    found = [trace.best.stop for trace in staged.run(observations, seed_of)]
    assert found.count(Stop.REACHED) > plain.count(Stop.REACHED)
    assert found.count(Stop.REACHED) >= 1


def test_an_executor_searches_in_two_stages_too(generator):
    engine = engine_of(generator, restarts=1)
    staged = replace(engine, starts=staged_starts(generator, engine.handling, engine.solver))
    assert SearchTask.of(staged).staged
    assert not SearchTask.of(engine).staged


@pytest.mark.parametrize("edit", ["tone", "shifted"])
def test_the_style_is_searched_for_together_with_an_edit(generator, edit, short):  # noqa: ARG001
    kind = handling_of(generator).kind.edited(edit, height=SIDE, width=SIDE)
    handling = build_handling(kind)
    latents = drawn(generator, 2)
    seeds = [bytes([i]) * 32 for i in range(2)]
    with torch.no_grad():
        pictures = generator.quantise(generator(latents)).numpy()
    observations = handling.controls(pictures, seeds)
    truths = torch.cat([latents, handling.parameters(seeds)], dim=1)
    edited = searched(generator, handling)
    engine = engine_of(generator, restarts=4)
    solver = engine.solver
    at_truths = replace(engine, generator=edited, handling=handling).from_latents(
        observations, truths
    )
    engine = replace(
        engine,
        generator=edited,
        handling=handling,
        starts=staged_starts(generator, handling, solver),
        threshold=max(1e-9, 1.5 * max(r.residual for r in at_truths)),
    )
    found = [trace.best.stop for trace in engine.run(observations, seed_of)]
    assert Stop.REACHED in found
