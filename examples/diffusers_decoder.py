"""The decoder of a latent diffusion model, as diffusers writes it: accused twice.

Usage: python examples/diffusers_decoder.py FOLDER

Needs the extra: pip install "deniability[diffusers]". The folder says all but how the service
makes bytes. What such a finding is worth is told in schemas/adr/0017-diffusers-decoder.md: a
decoder yields most pictures if its latents are free, and what a diffusion model samples is not
what controls are drawn from. So an own output is reached, and another picture is inconclusive,
never excluded.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from deniability.crypto.keys import generate_key
from deniability.evidence.prove import prove
from deniability.evidence.register import register
from deniability.generators.entropy import entropy_source
from deniability.generators.load import load_generator
from deniability.verify.bundle import VerifiedBundle, verify_bundle
from deniability.verify.trust import TrustPolicy
from deniability.wire.protocol import preset

GENERATOR_TOML = """\
[output]
rounding = "round"

[entropy]
source = "torch-cpu"
seed_bits = 32
"""


def write_model(folder: Path) -> Path:
    """Write a small autoencoder, untrained for brevity, as `save_pretrained` does."""
    from diffusers import AutoencoderKL  # noqa: PLC0415 -- an extra

    torch.manual_seed(11)
    autoencoder = AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=1,
        sample_size=8,
        scaling_factor=0.5,
    )
    path = folder / "vae"
    autoencoder.save_pretrained(path)
    (path / "generator.toml").write_text(GENERATOR_TOML)
    return path


def main(folder: Path) -> dict[str, VerifiedBundle]:
    """Accuse the model of an own picture and of noise; return the verified bundles by name."""
    folder.mkdir(parents=True, exist_ok=True)
    key = generate_key()
    (folder / "key.pub.pem").write_bytes(key.public.pem)
    generator = load_generator(write_model(folder), device=torch.device("cpu"))
    registration = register(
        generator,
        protocol=preset("pristine-quick-v1"),
        key=key,
        output=folder / "vae.registration.json",
    )

    # What the decoder makes of the latent of seed 7, and what it does not make:
    latent = torch.from_numpy(entropy_source(generator.spec).latent(7))
    own = generator.quantise(generator(latent[None])).numpy()[0].transpose(1, 2, 0)
    noise = np.random.default_rng(3).integers(0, 256, own.shape, dtype=np.uint8)
    bundles = {}
    for name, pixels in (("own", own), ("noise", noise)):
        image = folder / f"{name}.png"
        Image.fromarray(pixels).save(image)
        proof = prove(
            image, registration, key=key, output=folder / f"{name}.json", cache=folder / "controls"
        )
        verified = verify_bundle(proof.path.read_bytes(), trust=TrustPolicy((key.public,)))
        print(f"{name}.png: {verified.exclusion.finding.sentence}")
        bundles[name] = verified
    return bundles


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
