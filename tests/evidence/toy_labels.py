"""Small generators with class labels and with several latents, as TorchScript files."""

import warnings

import torch
import toy_evidence as toy
from torch import nn

from deniability.generators.load import load_generator

SIDE = toy.SIDE
CLASSES = 5
#: Ten restarts: two for each of five labels.
BLIND = toy._protocol("labels", restarts=2 * CLASSES)
GUIDED = toy._protocol("labels-encoded", restarts=2 * CLASSES, encoder_outputs=128 * 60)
SEVERAL = toy._protocol("several")
ALL = (BLIND, GUIDED, SEVERAL)

DESCRIPTION = """
[[latent]]
name = "z"
shape = [4]
prior = "normal"
[[latent]]
name = "label"
prior = "label"
classes = 5
encoding = "{encoding}"
[output]
range = [0, 1]
[entropy]
source = "torch-cpu"
"""
NOISE = """
[[latent]]
name = "z"
shape = [4]
prior = "normal"
[[latent]]
name = "noise1"
shape = [1, 2, 2]
prior = "normal"
[[latent]]
name = "noise2"
shape = [1, 4, 4]
prior = "normal"
[output]
range = [0, 1]
[entropy]
source = "numpy-randomstate"
"""


class Conditional(nn.Module):
    """R x 4 and a label for each to R x 1 x 8 x 8: an MLP whose pictures differ by label."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(11)
            self.first = nn.Linear(4, 32)
            self.second = nn.Linear(32, SIDE * SIDE)
            self.style = nn.Embedding(CLASSES, 32)
            self.base = nn.Embedding(CLASSES, SIDE * SIDE)
            self.second.weight.data.mul_(2.0)
            self.style.weight.data.mul_(0.5)

    def forward(self, z: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        linear = self.first(z) + self.style(label)
        hidden = torch.tanh(linear) + 0.3 * linear
        pictures = torch.sigmoid(self.second(hidden) + self.base(label))
        return pictures.reshape(-1, 1, 8, 8)


class OneHot(Conditional):
    """The same function of a one-hot row."""

    def forward(self, z: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        linear = self.first(z) + label @ self.style.weight
        hidden = torch.tanh(linear) + 0.3 * linear
        pictures = torch.sigmoid(self.second(hidden) + label @ self.base.weight)
        return pictures.reshape(-1, 1, 8, 8)


class Noisy(nn.Module):
    """A latent and two noise maps to R x 1 x 8 x 8, as in a style-based generator."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(12)
            self.first = nn.Linear(4, 32)
            self.second = nn.Linear(32, SIDE * SIDE)
            self.coarse = nn.ConvTranspose2d(1, 1, 4, 4)
            self.fine = nn.ConvTranspose2d(1, 1, 2, 2)
            self.second.weight.data.mul_(2.0)

    def forward(self, z: torch.Tensor, noise1: torch.Tensor, noise2: torch.Tensor) -> torch.Tensor:
        linear = self.first(z)
        hidden = torch.tanh(linear) + 0.3 * linear
        plain = self.second(hidden).reshape(-1, 1, 8, 8)
        return torch.sigmoid(plain + self.coarse(noise1) + self.fine(noise2))


def scripted(folder, module, description):
    """Write a TorchScript file with its description, and load it."""
    path = folder / "model.pt"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        torch.jit.save(torch.jit.script(module.eval()), path)
    path.with_name("generator.toml").write_text(description)
    return load_generator(path, device=torch.device("cpu"))


def of_label(generator, label, *, salt=""):
    """A prior draw `d` with the label given."""
    latent = toy.drawn(generator, 1, salt=f"{salt} {label}")[0]
    for (column, _), value in zip(
        generator.spec.labels, generator.spec.label_values(label), strict=True
    ):
        latent[column] = value
    return latent


def own_file_of(folder, generator, label):
    pixels = toy.own_pictures(generator, of_label(generator, label)[None])[0]
    return toy.save_picture(folder / f"own-{label}.png", pixels)
