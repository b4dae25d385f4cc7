"""A style-based generator whose service truncates: the share that it keeps is an input.

Usage: python examples/style_truncation.py FOLDER

StyleGAN and its successors bring a style nearer to the mean style before they synthesise, by a psi
that differs from one picture to the next. The untruncated sampler does not make such pictures, so
a search over z alone says nothing of them. Wrap the network as here: what the mapping takes,
psi too, is searched for, through the style (presets of version 3). The search is not held to the
range of psi: a small mapping such as this one has other inputs for the same style, too.
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

LATENT = 6

GENERATOR_TOML = """\
[[latent]]
name = "z"
shape = [6]
prior = "normal"

[[latent]]
name = "psi"          # how much of a style's distance from the mean style is kept
shape = [1]
prior = "uniform"     # what your service uses: all of it has to be in here
low = 0.5
high = 1

[output]
range = [0, 1]
"""


class Mapping(nn.Module):
    """A latent R x 6, whose length has no say, and psi R x 1 to styles R x 6."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Linear(LATENT, LATENT) for _ in range(3)]
        for layer in layers:
            nn.init.orthogonal_(layer.weight)
        self.network = nn.Sequential(*(m for layer in layers for m in (layer, nn.LeakyReLU(0.3))))
        with torch.no_grad():
            styles = self.styles(torch.randn(4096, LATENT))
        self.register_buffer("mean", styles.mean(dim=0))

    def styles(self, z: Tensor) -> Tensor:
        """Return the styles R x 6, not truncated."""
        out: Tensor = self.network(z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8))
        return out

    def forward(self, z: Tensor, psi: Tensor) -> Tensor:
        """Return the truncated styles."""
        return self.mean + psi * (self.styles(z) - self.mean)


class Synthesis(nn.Module):
    """Styles R x 6 to pictures R x 1 x 16 x 16 in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(LATENT, 48), nn.Linear(48, 256)
        self.first.weight.data.mul_(2.0)
        self.second.weight.data.mul_(2.0)

    def forward(self, style: Tensor) -> Tensor:
        """See the class."""
        linear = self.first(style)
        hidden = torch.tanh(linear) + 0.3 * linear
        return torch.sigmoid(self.second(hidden)).reshape(-1, 1, 16, 16)


class Truncated(nn.Module):
    """The service's sampler: stages with the names by which they are told, and both inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.mapping, self.synthesis = Mapping(), Synthesis()

    def forward(self, z: Tensor, psi: Tensor) -> Tensor:
        """Return the pictures."""
        out: Tensor = self.synthesis(self.mapping(z, psi))
        return out


def write_model(folder: Path) -> Path:
    """Write the network, untrained for brevity, as TorchScript with its description."""
    torch.manual_seed(5)
    path = folder / "model.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, which is what we want
        torch.jit.script(Truncated().eval()).save(str(path))
    path.with_name("generator.toml").write_text(GENERATOR_TOML)
    return path


def main(folder: Path) -> VerifiedBundle:
    """Accuse the model of a truncated picture of its own and return the verified bundle."""
    folder.mkdir(parents=True, exist_ok=True)
    key = generate_key()
    generator = load_generator(write_model(folder), device=torch.device("cpu"))
    registration = register(
        generator,
        protocol=preset("pristine-quick-v3"),
        key=key,
        output=folder / "model.registration.json",
    )
    print(f"searched stage by stage: {registration.verified.registration.stages}")

    # What the service would make of seed 7, less varied than the untruncated sampler's pictures.
    latent = torch.from_numpy(entropy_source(generator.spec).latent(7))
    latent[LATENT] = 0.6
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
