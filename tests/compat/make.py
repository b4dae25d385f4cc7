"""Make the fixtures of the version that is installed: `python tests/compat/make.py`.

To be run once per version, just before its release, and never again for that version: see
README.md. A folder that exists is not touched.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image

from deniability import __version__
from deniability.crypto.keys import PublicKey, generate_key
from deniability.evidence.evaluate import Extent, evaluate
from deniability.evidence.prove import prove
from deniability.evidence.register import register, sidecar_path
from deniability.generators.builtin import photo_path
from deniability.generators.load import load_generator
from deniability.report.case import own_picture
from deniability.verify.bundle import verify_bundle
from deniability.verify.trust import TrustPolicy
from deniability.wire.protocol import preset

HERE = Path(__file__).resolve().parent
#: Small, and of both ways of storing outputs.
FEW = Extent(own=30, strangers=2, only=("lossless", "saved-jpeg-75-gray"))


def palette(photo: bytes) -> bytes:
    """Return the photo as a PNG with 32 colours, which forbids `excluded`."""
    out = io.BytesIO()
    Image.open(io.BytesIO(photo)).quantize(32).save(out, "png")
    return out.getvalue()


def main() -> None:
    """Register the built-in generator, prove a picture per verdict, evaluate; keep what holds."""
    target = HERE / __version__
    if target.exists():
        sys.exit(f"{target} exists and is kept for ever")
    torch.set_num_threads(1)
    key, generator = generate_key(), load_generator("builtin", device=torch.device("cpu"))
    photo = photo_path().read_bytes()
    pictures = {
        "excluded": photo,
        "inconclusive": palette(photo),
        "reached": own_picture(generator, 1),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "key.pub.pem").write_bytes(key.public.pem)
        registration = folder / "registration.json"
        chains = folder / "chains"
        chains.mkdir()
        opened = register(
            generator,
            protocol=preset("pristine-quick-v1"),
            key=key,
            output=registration,
            chain=chains,
        )
        (chain,) = chains.glob("*.chain.json")
        for verdict, data in pictures.items():
            image, bundle = folder / f"{verdict}.png", folder / f"{verdict}.bundle.json"
            image.write_bytes(data)
            prove(
                image,
                opened,
                key=key,
                output=bundle,
                cache=folder / "cache",
                chain=chain.read_bytes(),
            )
            trust = TrustPolicy((PublicKey(key.public.der),))
            found = verify_bundle(bundle.read_bytes(), trust=trust).exclusion.finding
            if found.verdict != verdict:
                sys.exit(f"{verdict}: {found.sentence}")
            if verdict != "excluded":  # one sidecar is enough, at 0.8 MB each
                sidecar_path(bundle).unlink()
        # It verifies what it has written.
        evaluate(
            opened,
            key=key,
            output=folder / "evaluation.json",
            extent=FEW,
            cache=folder / "cache",
        )
        (folder / "key.chain.json").write_bytes(chain.read_bytes())
        shutil.rmtree(chains)
        shutil.rmtree(folder / "cache", ignore_errors=True)
        target.mkdir()
        for file in sorted(folder.iterdir()):
            if file.is_file():
                shutil.copyfile(file, target / file.name)


if __name__ == "__main__":
    main()
