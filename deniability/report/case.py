"""Pictures of a case: an own output as the service saves it, and a proof's figure."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from deniability.evidence.prove import Proof
from deniability.generators.base import Generator
from deniability.generators.entropy import entropy_source
from deniability.inversion.edited import searched
from deniability.report.figure import Pixels, case_figure


def draw_case(path: Path, proof: Proof, generator: Generator) -> Path:
    """Draw accused, best reconstruction and residuals of a proof, and return the file.

    Raises:
        InputError: matplotlib is missing.
        OutputError: the file cannot be written.

    """
    exclusion = proof.verified.exclusion
    family = exclusion.finding.families[0]
    case_figure(
        path,
        accused=np.asarray(proof.exhibit.picture.pixels),
        reconstruction=reconstruction(proof, generator),
        title=f"{exclusion.finding.verdict.capitalize()}: {exclusion.accused.file.name}",
        statistic=_number(family.statistic),
        controls=[_number(control.residual) for control in exclusion.controls.controls],
        threshold=float(family.threshold),
        floor=float(family.floor),
        margin=_number(family.margin),
        resolution=float(exclusion.protocol.resolution),
    )
    return path


def reconstruction(proof: Proof, generator: Generator) -> Pixels:
    """Return the best latent's output, edited as the search took it: H x W x C uint8.

    It is black if no restart was finite.
    """
    reached = proof.verified.exclusion.finding.reached
    number = 0 if reached is None else reached.family or 0
    handling, _ = proof.exhibit.families[number]
    best = proof.traces[number].best
    if best is None or best.latent is None:
        return np.zeros((*handling.kind.file_size, generator.spec.channels), dtype=np.uint8)
    edited = searched(generator, handling)
    with torch.no_grad():
        output = generator.quantise(edited(best.latent[None].to(generator.device)))
    pixels: Pixels = output[0].permute(1, 2, 0).cpu().numpy()
    return pixels


def own_picture(generator: Generator, seed: int) -> bytes:
    """Return the PNG that the registered service would make of a seed.

    Raises:
        GeneratorError: the seed lies outside the model's seed space, or the model fails.

    """
    latent = torch.from_numpy(entropy_source(generator.spec).latent(seed))
    with torch.no_grad():
        output = generator.quantise(generator(latent[None].to(generator.device)))
    pixels = output[0].permute(1, 2, 0).cpu().numpy()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    target = io.BytesIO()
    image.save(target, format="PNG")
    return target.getvalue()


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)
