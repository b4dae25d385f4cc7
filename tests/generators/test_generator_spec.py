"""The description of a generator in a registration."""

import json

import pytest
from pydantic import ValidationError

from deniability.wire.generator import GeneratorSpec

GOOD = {
    "latent": [{"name": "z", "shape": [4, 1, 1], "prior": "normal"}],
    "channels": 3,
    "height": 8,
    "width": 8,
    "outputRange": ["-1", "1"],
    "rounding": "round",
    "entropy": {"source": "torch-cpu", "seedBits": 32},
    "format": "torchscript",
}


def test_round_trip():
    spec = GeneratorSpec.model_validate(GOOD)
    assert spec.to_wire() == GOOD
    assert GeneratorSpec.model_validate_json(json.dumps(GOOD)) == spec
    assert spec.dimension == 4


@pytest.mark.parametrize(
    "change",
    [
        {"latent": []},
        {"latent": [{"name": "z", "shape": [], "prior": "normal"}]},
        {"latent": [{"name": "z", "shape": [0], "prior": "normal"}]},
        {"latent": [{"name": "z", "shape": [True], "prior": "normal"}]},
        {"latent": [{"name": "z\n", "shape": [2], "prior": "normal"}]},
        {"latent": [{"name": "z", "shape": [2], "prior": "uniform"}]},
        {"latent": [{"name": "z", "shape": [2], "prior": "uniform", "low": "1", "high": "1"}]},
        {"latent": [{"name": "z", "shape": [2], "prior": "normal", "low": "1", "high": "2"}]},
        {"latent": [{"name": "z", "shape": [2], "prior": "normal"}] * 2},
        {"latent": [{"name": "z", "shape": [1 << 20, 8], "prior": "normal"}]},
        {"channels": 2},
        {"outputRange": ["1", "-1"]},
        {"outputRange": ["-1", "nan"]},
        {"outputRange": [-1, 1]},
        {"entropy": {"source": "numpy-randomstate", "seedBits": 33}},
        {"entropy": {"source": "torch-cuda", "seedBits": 32}},
        {"format": "pickle"},
        {"extra": 1},
    ],
)
def test_what_does_not_hold_together_is_refused(change):
    with pytest.raises(ValidationError):
        GeneratorSpec.model_validate_json(json.dumps({**GOOD, **change}))
