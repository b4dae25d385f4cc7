"""A search narrowed by `--handling`, from the command line: its own exit code, and said first."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from deniability.wire.protocol import PRESETS, preset

SIDE = 16
TOML = '[latent]\nshape = [4]\nprior = "normal"\n[output]\nrange = [0, 1]\n'


@pytest.fixture(autouse=True)
def handled(monkeypatch):
    """A handled preset that small models pass through in seconds."""
    small = preset("handled-quick-v3").model_copy(
        update={
            "name": "test-small-handled-v1",
            "edits": ("mirrored", "tone"),
            "controls": 59,
            "restarts": 4,
            "accused_restarts": 6,
            "encoder_outputs": 128 * 30,
            "mismatch_outputs": 1,
        }
    )
    monkeypatch.setitem(PRESETS, small.name, small)
    return small.name


@pytest.fixture
def models(home):
    """Two small models of their own weights, as TorchScript."""
    paths = []
    for seed in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            layers = (nn.Linear(4, 48), nn.Tanh(), nn.Linear(48, SIDE * SIDE), nn.Sigmoid())
            module = nn.Sequential(*layers, nn.Unflatten(1, (1, SIDE, SIDE))).eval()
        module[0].weight.data.mul_(1.5)
        module[2].weight.data.mul_(3.0)
        folder = home / f"model{seed}"
        folder.mkdir()
        with pytest.warns(DeprecationWarning, match="torch.jit"):
            torch.jit.script(module).save(str(folder / "model.pt"))
        (folder / "generator.toml").write_text(TOML)
        paths.append(folder / "model.pt")
    return paths


@pytest.fixture
def picture(home):
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    path = home / "stripes.png"
    Image.fromarray((255 * ((5 * x + 2 * y) % 1 > 0.5)).astype(np.uint8)).save(path)
    return path


def test_a_narrowed_exclusion_has_a_code_of_its_own(deny, home, handled, models, picture):
    deny("keygen")
    asked = ("prove", picture, "--model", models[0], "--preset", handled, "--no-figure")
    ran = deny(*asked, "--handling", "mirrored", "-o", home / "narrow.json")
    assert ran.code == 12, ran.err
    assert "not an output (mirrored, " in ran.out.splitlines()[0]
    assert "the search was narrowed by whoever made it" in ran.out.splitlines()[1]
    assert "unmodified" not in ran.out.splitlines()[0]
    checked = deny("verify", home / "narrow.json")
    assert checked.code == 0
    assert "the search was narrowed by whoever made it" in checked.out.splitlines()[4]


def test_a_narrowed_attribution_has_it_too(deny, home, handled, models, picture):
    deny("keygen")
    asked = ("attribute", picture, "--preset", handled)
    given = [part for path in models for part in ("--model", path)]
    ran = deny(*asked, *given, "--handling", "tone", "-o", home / "narrow.json")
    assert ran.code == 12, ran.err
    assert "the search was narrowed by whoever made it" in ran.out.splitlines()[1]
    whole = deny(*asked, *given, "-o", home / "whole.json")
    assert whole.code == 0, whole.err
    assert "the search was narrowed" not in whole.out
