"""Jacobians by forward mode against reverse mode, and what happens where `vmap` does not work."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from toy_objectives import Smooth

from deniability.errors import GeneratorError
from deniability.inversion import jacobian as subject
from deniability.inversion.jacobian import Jacobian


class Convolutional(nn.Module):
    """Transposed convolutions, batch norm and ReLU, as in a DCGAN."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.main = nn.Sequential(
                nn.ConvTranspose2d(5, 8, 3),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.ConvTranspose2d(8, 1, 4, 2, 1),
                nn.Tanh(),
            )
            self.main[1].running_mean.uniform_(-0.2, 0.2)
        self.eval().requires_grad_(False)

    def forward(self, z):
        return self.main(z[:, :, None, None]).flatten(1)


def reverse(forward, latents):
    rows = [torch.autograd.functional.jacobian(forward, row[None])[0, :, 0] for row in latents]
    return torch.stack(rows)


def flat_smooth():
    network = Smooth().requires_grad_(False)
    return lambda z: network(z).flatten(1)


NETWORKS = {
    "smooth": (flat_smooth, 4),
    "convolutional": (Convolutional, 5),
}


@pytest.mark.parametrize("push", [subject._by_vmap, subject._by_expansion], ids=["vmap", "dual"])
@pytest.mark.parametrize("name", NETWORKS)
def test_both_ways_equal_reverse_mode(name, push):
    build, dimension = NETWORKS[name]
    forward = build()
    latents = torch.randn(3, dimension, generator=torch.Generator().manual_seed(0))
    found = push(forward, latents, torch.eye(dimension))
    assert found.shape == (3, forward(latents).shape[1], dimension)
    assert torch.allclose(found, reverse(forward, latents), atol=1e-5)


@settings(max_examples=12, deadline=None)
@given(lanes=st.integers(1, 40), restarts=st.integers(1, 7))
def test_the_number_of_lanes_changes_nothing(lanes, restarts):
    forward = Convolutional()
    latents = torch.randn(restarts, 5, generator=torch.Generator().manual_seed(restarts))
    found = Jacobian(forward, 5, lanes=lanes)(latents)
    assert torch.allclose(found, reverse(forward, latents), atol=1e-5)


def test_a_module_that_breaks_under_vmap_falls_back_to_dual_numbers():
    inner = Convolutional()

    def forward(z):
        return inner(z) + 0 * torch.randn(3, 1)[:1]  # vmap refuses to draw

    latents = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    with pytest.raises(RuntimeError, match="random"):
        subject._by_vmap(forward, latents, torch.eye(5))
    jacobian = Jacobian(forward, 5)
    assert torch.allclose(jacobian(latents), reverse(inner, latents), atol=1e-5)
    assert torch.allclose(jacobian(latents + 1), reverse(inner, latents + 1), atol=1e-5)


class _NoForwardMode(torch.autograd.Function):
    @staticmethod
    def forward(_, z):
        return z * 2

    @staticmethod
    def backward(_, gradient):
        return gradient * 2


def test_a_module_without_forward_mode_is_refused_with_the_reason():
    with pytest.raises(GeneratorError, match="cannot be differentiated in forward mode") as caught:
        Jacobian(_NoForwardMode.apply, 4)(torch.ones(2, 4))
    assert caught.value.found
    assert caught.value.hint is not None
    assert "torch.export" in caught.value.hint


def test_attention_is_differentiated():
    class Attention(nn.Module):
        def forward(self, z):
            q = z.reshape(len(z), 1, 3, 2)
            return nn.functional.scaled_dot_product_attention(q, q, q).flatten(1)

    latents = torch.randn(2, 6, generator=torch.Generator().manual_seed(2))
    found = Jacobian(Attention(), 6)(latents)
    assert torch.allclose(found, reverse(Attention(), latents), atol=1e-5)
