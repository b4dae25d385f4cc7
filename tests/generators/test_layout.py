"""Weights lie channels-last where the network bears it, and contiguous where it does not."""

import pytest
import torch
import toy_networks
from safetensors.torch import save_file
from toy_networks import WIDTH

from deniability.errors import GeneratorError
from deniability.generators import layout
from deniability.generators.layout import LAYOUTS, bears_tangents, lay_out
from deniability.generators.load import ModelOptions, load_generator
from deniability.generators.options import PartOptions
from deniability.inversion.jacobian import Jacobian, _by_vmap

CPU = torch.device("cpu")


def load(folder, factory):
    path = folder / f"{factory}.safetensors"
    save_file(dict(getattr(toy_networks, factory)().state_dict()), path)
    options = ModelOptions(
        prior="normal",
        latent_shape=(WIDTH, 1, 1),
        output_range=("-1", "1"),
        factory=f"toy_networks:{factory}",
    )
    return load_generator(path, device=CPU, options=options)


def sample(rows=2):
    return torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(8))


def weights_of(generator):
    return [w for w in generator.module.parameters() if w.ndim == 4 and w.shape[-1] > 1]


def is_channels_last(generator):
    return all(w.is_contiguous(memory_format=torch.channels_last) for w in weights_of(generator))


def outcome(module, order):
    """What a network does in a layout: None where it runs, and whether it bears tangents."""
    z = sample().reshape(2, WIDTH, 1, 1)
    lay_out(module, order)
    try:
        module(z)
    except RuntimeError:
        return "fails"
    return bears_tangents(module, [z], [PartOptions()], "together")


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        ("toy", [True, True]),
        ("viewing", ["fails", True]),
        ("group_normed", [False, True]),
    ],
)
def test_what_the_toys_bear(factory, expected):
    module = getattr(toy_networks, factory)().requires_grad_(False)
    assert [outcome(module, order) for order in LAYOUTS] == expected


@pytest.mark.parametrize(
    ("factory", "channels_last"), [("toy", True), ("viewing", False), ("group_normed", False)]
)
def test_the_layout_is_the_first_that_the_network_bears(tmp_path, factory, channels_last):
    generator = load(tmp_path, factory)
    assert is_channels_last(generator) == channels_last
    with torch.no_grad():
        expected = getattr(toy_networks, factory)()(sample().reshape(2, WIDTH, 1, 1)) * 0.5 + 0.5
        assert torch.allclose(generator(sample()), expected, atol=1e-6)


@pytest.mark.parametrize("factory", ["viewing", "group_normed"])
def test_the_search_takes_the_fast_way_to_the_jacobian(tmp_path, factory):
    generator = load(tmp_path, factory)
    jacobian = Jacobian(lambda z: generator(z).flatten(1), WIDTH)
    assert jacobian(sample()).abs().max() > 1e-4
    assert jacobian._push is _by_vmap


@pytest.mark.parametrize("factory", ["toy", "viewing", "group_normed"])
def test_loading_again_gives_the_same_layout_and_bits(tmp_path, factory):
    one, other = load(tmp_path, factory), load(tmp_path, factory)
    strides = [[w.stride() for w in weights_of(g)] for g in (one, other)]
    assert strides[0] == strides[1]
    assert torch.equal(one(sample()), other(sample()))


def test_a_network_without_forward_mode_stays_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr("deniability.generators.probe.bears_tangents", lambda *_: False)
    assert is_channels_last(load(tmp_path, "toy"))


def test_running_out_of_memory_decides_nothing(monkeypatch):
    def exhausted(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(layout, "quiet_jvp", exhausted)
    z = torch.zeros(2, 3)
    with pytest.raises(RuntimeError, match="allocate"):
        bears_tangents(torch.nn.Linear(3, 3), [z], [PartOptions()], "together")


def test_a_network_that_fails_either_way_is_refused(tmp_path):
    with pytest.raises(GeneratorError, match="the model does not return a picture"):
        load(tmp_path, "no_picture")


def test_one_by_one_weights_get_plain_strides():
    convolution = torch.nn.Conv2d(8, 4, 1)
    before = convolution.weight.stride()
    for order in LAYOUTS:
        lay_out(convolution, order)
    assert convolution.weight.stride() == before
