"""Whether the loaded model still is the function that was registered.

A model's files do not say all: a factory is code outside of them, generator.toml describes what
they mean, and a network may depend on its batch or on what it did before. So the registration keeps
the first controls' pictures, and whoever loads the model later renders them again, one at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deniability.evidence.procedure import Procedure
from deniability.generators.entropy import latents_from_seed
from deniability.imaging.observation import lossless_kind
from deniability.wire.roles import control_seed

_MOST = 32  # pictures kept ...
_BYTES = 2 * 2**20  # ... as long as together they are no larger than this
#: Another machine's float32 may round a pixel in this share of them the other way, by one step.
_SHARE = 0.01


def reference_pictures(procedure: Procedure) -> Tensor:
    """Render the first controls of the standard kind in one batch: `k x C x H x W` uint8."""
    spec = procedure.generator.spec
    one = spec.channels * spec.height * spec.width
    count = max(1, min(_MOST, _BYTES // one, procedure.protocol.controls))
    return _render(procedure, _latents(procedure, count))


def difference(procedure: Procedure, pictures: Tensor) -> str | None:
    """Say how the model's pictures, rendered one at a time, differ from the reference ones.

    None if they do not, but for single pixels that another machine rounds the other way.
    """
    latents = _latents(procedure, len(pictures))
    spec = procedure.generator.spec
    expected = (len(pictures), spec.channels, spec.height, spec.width)
    if tuple(pictures.shape) != expected or pictures.dtype != torch.uint8:
        return f"they are {tuple(pictures.shape)} {pictures.dtype}, not {expected} bytes"
    again = torch.cat([_render(procedure, row[None]) for row in latents])
    gap = (again.int() - pictures.int()).abs()
    share = float((gap > 0).float().mean())
    if int(gap.max()) <= 1 and share <= _SHARE:
        return None
    return f"{share:.1%} of the pixels differ, by up to {int(gap.max())} of 255 steps"


def _latents(procedure: Procedure, count: int) -> Tensor:
    spec = procedure.generator.spec
    kind = lossless_kind(
        channels=spec.channels, height=spec.height, width=spec.width, rounding=spec.rounding
    ).digest()
    seeds = [
        control_seed(
            procedure.model, procedure.protocol.digest, kind, index, beacon=procedure.beacon
        )
        for index in range(count)
    ]
    return torch.stack([torch.from_numpy(latents_from_seed(spec, seed)) for seed in seeds])


def _render(procedure: Procedure, latents: Tensor) -> Tensor:
    generator = procedure.generator
    with torch.no_grad():
        return generator.quantise(generator(latents.to(generator.device))).cpu()
