"""A generator as ONNX: written by torch's exporter, accused of an own picture, found.

Usage: python examples/onnx_generator.py FOLDER

Needs the extra: pip install "deniability[onnx]", and onnxscript for torch's exporter. The graph
states its inputs, so generator.toml says no more than prior, range and how seeds become latents.
Weights have to be in the file: external_data=False.
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
[latent]
prior = "normal"

[output]
range = [-1, 1]

[entropy]
source = "torch-cpu"
seed_bits = 32
"""


class Small(nn.Module):
    """Latents R x 8 to pictures R x 1 x 16 x 16 in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8 * 4 * 4)
        self.layers = nn.Sequential(
            nn.Upsample(scale_factor=2),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(8, 1, 4, 2, 1),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Return the pictures."""
        return torch.tanh(4 * self.layers(self.first(z).reshape(-1, 8, 4, 4)))


def write_model(folder: Path) -> Path:
    """Write the network, untrained for brevity, as ONNX with its description."""
    torch.manual_seed(5)
    path = folder / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(
            Small().eval(),
            (torch.randn(2, 8),),
            str(path),
            input_names=["z"],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            external_data=False,
            verbose=False,
        )
    path.with_name("generator.toml").write_text(GENERATOR_TOML)
    return path


def main(folder: Path) -> VerifiedBundle:
    """Accuse the model of an own picture in `folder` and return the verified bundle."""
    folder.mkdir(parents=True, exist_ok=True)
    key = generate_key()
    generator = load_generator(write_model(folder), device=torch.device("cpu"))
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
