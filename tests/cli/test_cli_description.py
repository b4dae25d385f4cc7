"""What a verifier states of a model beats the bundle; what is taken from the bundle is named."""

from types import SimpleNamespace

import pytest
import torch

from deniability.cli.exhibits import borrowed, described
from deniability.generators.load import ModelOptions, load_generator

TOML = """\
[latent]
shape = [16]
prior = "normal"
[output]
range = [-1, 1]
rounding = "round"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The built-in generator as TorchScript."""
    path = tmp_path_factory.mktemp("script") / "model.pt"
    module = load_generator("builtin", device=torch.device("cpu")).module
    traced = torch.jit.trace(module, torch.zeros(2, 16))
    torch.jit.save(traced, path)
    return path


@pytest.fixture
def bundle():
    """A bundle whose signer says that outputs lie in [-1.2, 1.2] and are truncated."""
    spec = load_generator("builtin", device=torch.device("cpu")).spec
    changes = {"output_range": ("-1.2", "1.2"), "rounding": "truncate"}
    return SimpleNamespace(generator=spec.model_copy(update=changes))


def request_for(path, **flags):
    options = ModelOptions(**flags)
    return SimpleNamespace(model=str(path), flags=SimpleNamespace(options=lambda: options))


def test_the_bundle_fills_in_what_nobody_states_and_that_is_said(script, bundle):
    script.with_suffix(".generator.toml").unlink(missing_ok=True)
    assert borrowed(request_for(script), bundle.generator) == [
        "latent and prior",
        "output range",
        "rounding",
    ]
    generator = load_generator(
        script, device=torch.device("cpu"), fallback=described(bundle.generator)
    )
    assert generator.spec.output_range == ("-1.2", "1.2")


def test_the_local_description_wins(script, bundle):
    description = script.with_suffix(".generator.toml")
    description.write_text(TOML)
    try:
        assert borrowed(request_for(script), bundle.generator) == []
        generator = load_generator(
            script, device=torch.device("cpu"), fallback=described(bundle.generator)
        )
    finally:
        description.unlink()
    assert generator.spec.output_range == ("-1", "1")
    assert generator.spec.rounding == "round"


def test_flags_win_too_and_are_not_borrowed(script, bundle):
    request = request_for(script, output_range=("-1", "1"), latent_shape=(16,))
    assert borrowed(request, bundle.generator) == ["rounding"]


def test_nothing_is_borrowed_for_the_built_in(bundle):
    assert borrowed(request_for("builtin"), bundle.generator) == []
