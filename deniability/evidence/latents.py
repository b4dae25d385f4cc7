"""The latents of own outputs of a kind: from seeds, and drawn closer where the kind says so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from deniability.generators.entropy import latents_from_seed
from deniability.imaging.draws import shake256_uniform
from deniability.wire.generator import GeneratorSpec
from deniability.wire.observation import ObservationKind

#: Truncation ψ is drawn between this and 1.
_LEAST = 0.5


def drawn_latents(spec: GeneratorSpec, kind: ObservationKind, seeds: Sequence[bytes]) -> Tensor:
    """Return the latents `N x d` float32 of own outputs of a kind.

    `truncated` has them moved towards the prior's mean by a share that each seed draws; a label
    stays what it is.
    """
    latents = torch.from_numpy(np.stack([latents_from_seed(spec, seed) for seed in seeds]))
    if kind.edit != "truncated":
        return latents
    drawn = [shake256_uniform(seed + b"/truncation", 1)[0] for seed in seeds]
    shares = torch.tensor([_LEAST + (1 - _LEAST) * u for u in drawn], dtype=torch.float32)
    start = 0
    for part in spec.latent:
        columns = slice(start, start + part.size)
        start += part.size
        if part.classes is None:
            mean = (float(part.low or 0) + float(part.high or 0)) / 2
            latents[:, columns] = mean + shares[:, None] * (latents[:, columns] - mean)
    return latents
