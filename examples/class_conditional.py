"""A class-conditional generator: registered, accused of an own picture and of a foreign one.

Usage: python examples/class_conditional.py FOLDER

The network takes a latent z and a label for each picture. generator.toml says so; the label is
then a number of the latent that is tried out rather than optimised: a picture is `excluded` only
after every label has been searched from the encoder's guess and from the prior.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from deniability.crypto.keys import generate_key
from deniability.evidence.prove import prove
from deniability.evidence.register import register
from deniability.generators.entropy import entropy_source
from deniability.generators.load import load_generator
from deniability.wire.exclusion import Finding
from deniability.wire.protocol import preset

CLASSES = 5
SIDE = 16
GENERATOR_TOML = """\
[[latent]]
name = "z"
shape = [4]
prior = "normal"

[[latent]]
name = "label"
prior = "label"
classes = 5
encoding = "index"        # or "one-hot": how forward takes it

[output]
range = [0, 1]

[entropy]
source = "torch-cpu"      # z = torch.randn(1, 4), then label = torch.randint(0, 5, (1,))
"""


class Conditional(nn.Module):
    """Latents R x 4 and labels R (int64) to gray pictures R x 1 x 16 x 16 in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 32)
        self.style = nn.Embedding(CLASSES, 32)
        self.second = nn.Linear(32, SIDE * SIDE)
        self.base = nn.Embedding(CLASSES, SIDE * SIDE)
        self.second.weight.data.mul_(2.0)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        """Return the pictures."""
        linear = self.first(z) + self.style(label)
        hidden = torch.tanh(linear) + 0.3 * linear
        pictures = torch.sigmoid(self.second(hidden) + self.base(label))
        return pictures.reshape(-1, 1, 16, 16)


def write_model(folder: Path) -> Path:
    """Write the network, untrained for brevity, as TorchScript with its description."""
    torch.manual_seed(3)
    path = folder / "model.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, which is what we want
        torch.jit.script(Conditional().eval()).save(str(path))
    path.with_name("generator.toml").write_text(GENERATOR_TOML)
    return path


def main(folder: Path) -> dict[str, Finding]:
    """Tell the story in `folder` and return the findings by picture."""
    folder.mkdir(parents=True, exist_ok=True)
    key = generate_key()
    generator = load_generator(write_model(folder), device=torch.device("cpu"))
    registration = register(
        generator,
        protocol=preset("pristine-quick-v1"),  # 12 restarts: up to 6 labels, each tried twice
        key=key,
        output=folder / "model.registration.json",
    )

    # What the service would make of seed 7, and a picture that the model never made:
    latent = torch.from_numpy(entropy_source(generator.spec).latent(7))
    own = generator.quantise(generator(latent[None])).numpy()[0, 0]
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    wave = 128 + 100 * np.sin(7 * rows + 2) * np.cos(9 * columns + 1)
    pictures = {"own": own, "foreign": wave.astype(np.uint8)}

    findings = {}
    for name, pixels in pictures.items():
        image = folder / f"{name}.png"
        Image.fromarray(pixels).save(image)
        proof = prove(
            image, registration, key=key, output=folder / f"{name}.json", cache=folder / "controls"
        )
        exclusion = proof.verified.exclusion
        findings[name] = exclusion.finding
        labels = [r.label for r in exclusion.restarts if r.label is not None]
        print(f"{image.name}: labels tried, in order: {labels}")
        print(exclusion.finding.sentence)
    print(f"{own.shape[0]} x {own.shape[1]} pixels; the own picture has label {int(latent[4])}")
    return findings


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
