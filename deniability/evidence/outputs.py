"""What two outputs of a service have in common, and how their files are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deniability.imaging.handling import Pixels

#: Two latents whose outputs differ by less than so many steps squared on average count as one
#: output: the same one saved in two ways is found again with an error of about a step.
SAME_OUTPUT = 4.0


def same_output(one: Pixels, other: Pixels) -> bool:
    """Tell whether two quantised outputs are one and the same, to within how well it is found."""
    difference = one.astype(np.float64) - other.astype(np.float64)
    return bool(np.mean(difference**2) <= SAME_OUTPUT)


def signed_name(path: Path) -> str:
    """Return a file's name as it can be signed."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in path.name)
