"""A model's own code may print or end the program; neither reaches our results or exit codes."""

import pytest
import torch
from cli_checks import one_sentence

NETWORK = """
import sys
import torch
from torch import nn

{at_import}

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 64)

    def forward(self, z):
        {in_forward}
        return torch.sigmoid(self.layer(z)).reshape(-1, 1, 8, 8)

def build():
    {in_factory}
    return Network()
"""
PLACES = ("at_import", "in_factory", "in_forward")


@pytest.fixture
def generate(process, tmp_path):
    """Run `deny generate --json` on a network that does something of its own in one place."""

    def run(place, action):
        actions = dict.fromkeys(PLACES, "pass") | {place: action}
        (tmp_path / "network.py").write_text(NETWORK.format(**actions))
        layer = torch.nn.Linear(3, 64)
        state = {f"layer.{name}": value for name, value in layer.state_dict().items()}
        torch.save(state, tmp_path / "weights.pt")
        return process(
            "generate", "weights.pt", "--seed", "1", "-o", "out.png", "--json",
            "--factory", "network:build", "--latent-shape", "3", "--prior", "normal",
            "--range", "0,1", cwd=tmp_path,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("place", PLACES)
def test_what_a_model_prints_goes_to_stderr(generate, place):
    ran = generate(place, 'print("hello from the model")')
    assert ran.code == 0, ran.err
    assert ran.json["exitCode"] == 0
    assert "hello from the model" in ran.err


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("action", ["sys.exit(0)", "sys.exit(10)", "raise SystemExit"])
def test_a_model_that_ends_the_program_is_refused(generate, tmp_path, place, action):
    ran = generate(place, action)
    assert ran.code == 2, ran.err
    assert ran.json["exitCode"] == 2
    one_sentence(ran)
    assert not (tmp_path / "out.png").exists()


def test_a_model_that_ends_the_program_later_is_refused(generate, tmp_path):
    """Once its probe at loading is over: nothing of ours ends in its exit code."""
    late = "Network.calls = getattr(Network, 'calls', 0) + 1; Network.calls < 2 or sys.exit(0)"
    ran = generate("in_forward", late)
    assert ran.code == 2, ran.err
    assert "ended the program" in ran.json["error"]["message"]
    assert not (tmp_path / "out.png").exists()
