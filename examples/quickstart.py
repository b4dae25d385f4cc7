"""Register a model, accuse it of a picture, and verify the bundle, from Python.

Usage: python examples/quickstart.py FOLDER [MODEL [PICTURE]]

Without a model and a picture, the built-in generator is accused of a real photo.
"""

import sys
from pathlib import Path

import torch

from deniability.crypto.keys import generate_key
from deniability.evidence.prove import prove
from deniability.evidence.register import register
from deniability.generators.builtin import photo_path
from deniability.generators.load import load_generator
from deniability.verify.bundle import VerifiedBundle, verify_bundle
from deniability.verify.trust import TrustPolicy
from deniability.wire.protocol import preset


def main(folder: Path, model: str = "builtin", picture: Path | None = None) -> VerifiedBundle:
    """Tell the story in `folder` and return the verified bundle."""
    folder.mkdir(parents=True, exist_ok=True)
    key = generate_key()  # deny keygen keeps one for you

    # The developer, before any accusation:
    generator = load_generator(model, device=torch.device("cpu"))
    registration = register(
        generator,
        protocol=preset("pristine-quick-v1"),
        key=key,
        output=folder / "model.registration.json",
    )

    # The developer, accused:
    proof = prove(
        picture or photo_path(),
        registration,
        key=key,
        output=folder / "bundle.json",
        cache=folder / "controls",
    )

    # Anyone, with the bundle and the developer's public key:
    trust = TrustPolicy((key.public,))
    verified = verify_bundle(proof.path.read_bytes(), trust=trust, where=str(proof.path))
    print(verified.exclusion.finding.sentence)
    return verified


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), *sys.argv[2:3], *map(Path, sys.argv[3:4]))
