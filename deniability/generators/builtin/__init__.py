"""The generator that ships with the package: a small GAN of garments, its twin and one real photo.

This module only says where the files are and imports nothing heavy; the network itself is
`deniability.generators.builtin.network.FashionGenerator`. How the files were made, and under what
licence each one stands, is told in `data/README.md`; `examples/train_generator.py` makes them.
"""

from __future__ import annotations

from pathlib import Path

#: Names under which the shipped generators are loaded, and whether each is the twin.
BUILTIN = {"builtin": False, "builtin-twin": True}
_DATA = Path(__file__).resolve().parent / "data"


def weights_path(*, twin: bool = False) -> Path:
    """Where the weights are: a safetensors file of float32 tensors.

    Args:
        twin: the twin, trained on the same pictures from another seed, instead.

    """
    return _DATA / ("fashion-twin.safetensors" if twin else "fashion.safetensors")


def photo_path() -> Path:
    """Where the real photo is: an 8-bit gray PNG of 28 x 28 that no generator made."""
    return _DATA / "fashion-mnist-test-photo.png"
