"""Which of two models made a picture, or neither: `deny attribute` from Python.

Usage: python examples/attribution.py FOLDER

The models are the built-in generator and its twin, which was trained on the same pictures from
another seed. They are asked about an output of the twin, and about a real photo.
"""

import sys
from pathlib import Path

import torch

from deniability.crypto.keys import generate_key
from deniability.evidence.attribute import Candidate, attribute
from deniability.evidence.register import register
from deniability.generators.builtin import photo_path
from deniability.generators.load import load_generator
from deniability.report.case import own_picture
from deniability.verify.attribution import verify_attribution
from deniability.verify.trust import TrustPolicy
from deniability.wire.attribution import AttributionFinding
from deniability.wire.protocol import preset


def main(folder: Path) -> dict[str, AttributionFinding]:
    """Tell the story in `folder` and return the findings by picture."""
    folder.mkdir(parents=True, exist_ok=True)
    key = generate_key()  # deny keygen keeps one for you
    generators = {
        name: load_generator(name, device=torch.device("cpu"))
        for name in ("builtin", "builtin-twin")
    }

    # Before any accusation:
    candidates = [
        Candidate(
            register(
                generator,
                protocol=preset("pristine-quick-v1"),
                key=key,
                output=folder / f"{name}.registration.json",
            )
        )
        for name, generator in generators.items()
    ]

    own = folder / "twins.png"
    own.write_bytes(own_picture(generators["builtin-twin"], 7))
    findings = {}
    for name, image in {"twins": own, "photo": photo_path()}.items():
        done = attribute(
            image,
            candidates,
            key=key,
            output=folder / f"{name}.attribution.json",
            cache=folder / "controls",
        )
        # Anyone, with the file and the public key:
        verified = verify_attribution(done.path.read_bytes(), trust=TrustPolicy((key.public,)))
        findings[name] = verified.attribution.finding
        print(f"{image.name}: {findings[name].sentence}")
    return findings


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
