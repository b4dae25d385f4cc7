"""A generator of several inputs, as style-based ones have: a latent and two noise maps.

Usage: python examples/several_latents.py FOLDER

Each input is a [[latent]] of generator.toml, in the order of forward. All of them are searched
together. A model that draws its noise by itself cannot be examined: make it an input, as here.
"""

import sys
import warnings
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from deniability.crypto.keys import generate_key
from deniability.evidence.prove import prove
from deniability.evidence.register import register
from deniability.generators.entropy import entropy_source
from deniability.generators.load import load_generator
from deniability.verify.bundle import VerifiedBundle, verify_bundle
from deniability.verify.trust import TrustPolicy
from deniability.wire.protocol import preset

GENERATOR_TOML = """\
[[latent]]
name = "z"
shape = [6]
prior = "normal"

[[latent]]
name = "coarse"
shape = [1, 2, 2]
prior = "normal"

[[latent]]
name = "fine"
shape = [1, 4, 4]
prior = "normal"

[output]
range = [0, 1]

[entropy]
source = "numpy-randomstate"   # RandomState(seed).randn for each part, in this order
"""


class Noisy(nn.Module):
    """A latent R x 6 and maps R x 1 x 2 x 2, R x 1 x 4 x 4 to pictures R x 1 x 16 x 16."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 48)
        self.second = nn.Linear(48, 256)
        self.second.weight.data.mul_(2.0)
        self.coarse = nn.ConvTranspose2d(1, 1, 8, 8)
        self.fine = nn.ConvTranspose2d(1, 1, 4, 4)

    def forward(self, z: Tensor, coarse: Tensor, fine: Tensor) -> Tensor:
        """Return the pictures in [0, 1]."""
        linear = self.first(z)
        hidden = torch.tanh(linear) + 0.3 * linear
        plain = self.second(hidden).reshape(-1, 1, 16, 16)
        return torch.sigmoid(plain + self.coarse(coarse) + self.fine(fine))


def write_model(folder: Path) -> Path:
    """Write the network, untrained for brevity, as TorchScript with its description."""
    torch.manual_seed(5)
    path = folder / "model.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, which is what we want
        torch.jit.script(Noisy().eval()).save(str(path))
    path.with_name("generator.toml").write_text(GENERATOR_TOML)
    return path


def main(folder: Path) -> VerifiedBundle:
    """Accuse the model of an own picture in `folder` and return the verified bundle."""
    folder.mkdir(parents=True, exist_ok=True)
    key = generate_key()
    generator = load_generator(write_model(folder), device=torch.device("cpu"))
    parts = ", ".join(f"{part.name} {list(part.shape)}" for part in generator.spec.latent)
    print(f"inputs: {parts}; {generator.dimension} numbers together")
    registration = register(
        generator,
        protocol=preset("pristine-quick-v1"),
        key=key,
        output=folder / "model.registration.json",
    )

    # What the service would make of seed 7:
    latent = torch.from_numpy(entropy_source(generator.spec).latent(7))
    image = folder / "own.png"
    Image.fromarray(generator.quantise(generator(latent[None])).numpy()[0, 0]).save(image)
    proof = prove(
        image, registration, key=key, output=folder / "bundle.json", cache=folder / "controls"
    )
    verified = verify_bundle(proof.path.read_bytes(), trust=TrustPolicy((key.public,)))
    print(verified.exclusion.finding.sentence)
    return verified


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
