"""Level V1 of a binding: every latent rendered again, and compared with the picture it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deniability.errors import CommitmentError, ReplayError
from deniability.evidence.calibrate import own_pictures, statistic_at, true_residuals
from deniability.evidence.outputs import same_output
from deniability.evidence.procedure import Procedure
from deniability.evidence.progress import Progress, Silent
from deniability.evidence.prove import Exhibit, is_pixel_for_pixel, read_exhibit
from deniability.evidence.replay.case import check_model, check_pictures
from deniability.evidence.replay.latents import compare_residuals
from deniability.evidence.subject import describe_model
from deniability.evidence.tensors import latent_digest, read_sidecar
from deniability.generators.base import Generator
from deniability.imaging.handling import Pixels
from deniability.inversion.solution import Restart, Stop
from deniability.verify.binding import VerifiedBinding
from deniability.wire.binding import Binding, BindingKind, BoundPicture


@dataclass(frozen=True)
class BindingReplay:
    """What V1 found.

    Attributes:
        verdict: of the binding, which has survived.
        pictures, latents: how many were compared and rendered.
        largest_difference: between a stored residual and ours, relative to the larger.

    """

    verdict: str
    pictures: int
    latents: int
    largest_difference: float

    @property
    def lines(self) -> tuple[str, ...]:
        """Say what was checked, in sentences."""
        return (
            f"{self.latents} latents of {self.pictures} pictures were rendered again on this "
            "machine; residuals differ from the stored ones by at most "
            f"{self.largest_difference:.1%}, and no output is counted twice.",
            "Not checked: where the pictures came from, and whether a better search would have "
            "found those that were not.",
        )

    def to_json(self) -> dict[str, object]:
        """Return the same as JSON."""
        return {
            "level": "v1",
            "verdict": self.verdict,
            "pictures": self.pictures,
            "latents": self.latents,
            "largestDifference": f"{self.largest_difference:.6f}",
        }


def replay_binding(
    verified: VerifiedBinding,
    *,
    images: Sequence[Path],
    generator: Generator,
    sidecar: Path,
    progress: Progress | None = None,
) -> BindingReplay:
    """Level V1 of a binding.

    Args:
        verified: the binding at V0.
        images: its pictures, in its order.
        generator: the model, loaded by the verifier.
        sidecar: the latents file written beside the binding.
        progress: is told what happens.

    Raises:
        InputError: the model or a file is missing or another one.
        CommitmentError: a picture or latent is not that of the binding.
        ReplayError: a residual cannot be reproduced, or an output is counted twice.

    """
    report, binding = progress or Silent(), verified.binding
    check_model(generator, binding.model, binding.generator)
    tensors = read_sidecar(sidecar, binding.latents)
    model = describe_model(generator)
    procedure = Procedure(generator, model, binding.protocol, None, binding.beacon)
    check_pictures(procedure, tensors)
    rows = iter(_rows(binding, tensors, generator.dimension))
    report.phase("rendering the stored latents again", len(images))
    session = _Session(binding, procedure)
    for number, (picture, image) in enumerate(zip(binding.pictures, images, strict=True)):
        latent = None if picture.latent is None else next(rows)
        session.check(number, picture, image, latent)
        report.advance(number + 1)
    return BindingReplay(
        verdict=binding.result.verdict,
        pictures=len(images),
        latents=sum(picture.latent is not None for picture in binding.pictures),
        largest_difference=max(session.differences, default=0.0),
    )


def _rows(binding: Binding, tensors: dict[str, Tensor], dimension: int) -> Tensor:
    count = sum(picture.latent is not None for picture in binding.pictures)
    rows = tensors.get("bound")
    if rows is None or tuple(rows.shape) != (count, dimension):
        raise CommitmentError(
            "the latents file does not hold what the binding describes",
            where="bound",
            expected=f"{count} x {dimension}",
            found="nothing" if rows is None else " x ".join(map(str, rows.shape)),
        )
    return rows.to(torch.float32)


class _Session:
    """What has been compared so far."""

    def __init__(self, binding: Binding, procedure: Procedure) -> None:
        self._binding, self._procedure = binding, procedure
        self._kinds = {entry.kind.digest(): entry for entry in binding.kinds}
        self._compared: set[str] = set()
        self._counted: dict[int, Pixels] = {}
        self.differences: list[float] = []

    def check(self, number: int, picture: BoundPicture, image: Path, latent: Tensor | None) -> None:
        """Compare one picture with its record."""
        field = f"pictures.{number}"
        if picture.kind is None:
            return  # it was not examined: nothing is asserted of it, and such a binding fails
        exhibit = read_exhibit(image, self._procedure.generator, called=picture.file.name)
        observed = exhibit.observed
        for name, expected, found in (
            ("file", picture.file, exhibit.file),
            ("kind", picture.kind, observed.handling.kind.digest()),
            ("pixels", picture.pixels, exhibit.picture.canonical_digest),
        ):
            if expected != found:
                raise CommitmentError(
                    "a picture is not what the binding says",
                    where=f"{field}.{name}",
                    expected=str(expected)[:100],
                    found=str(found)[:100],
                )
        entry = self._kinds[picture.kind]
        self._compare_truths(exhibit, entry, f"{field}.kind")
        if latent is None:
            return
        if latent_digest(latent) != picture.latent:
            raise CommitmentError(
                "a stored latent is not that of its picture",
                where=field,
                expected=str(picture.latent),
                found=latent_digest(latent),
            )
        (ours,) = statistic_at(
            self._procedure, observed.handling, observed.observations, latent[None]
        )
        self.differences.append(
            compare_residuals(picture.residual, ours, f"{field}.residual", entry.threshold)
        )
        if picture.stop == "reached":
            self._check_output(number, picture, exhibit, latent)

    def _compare_truths(self, exhibit: Exhibit, entry: BindingKind, field: str) -> None:
        """Compute the truths that a JPEG's threshold follows from, once for each kind."""
        digest = entry.kind.digest()
        if not entry.truths or digest in self._compared:
            return
        self._compared.add(digest)
        ours = true_residuals(self._procedure, exhibit.observed.handling)
        for stored, mine in zip(entry.truths, ours, strict=True):
            known = None if stored == "notFinite" else stored
            value = None if mine is None else float(mine)
            self.differences.append(
                compare_residuals(known, value, f"{field}: truths", entry.threshold)
            )

    def _check_output(
        self, number: int, picture: BoundPicture, exhibit: Exhibit, latent: Tensor
    ) -> None:
        field = f"pictures.{number}"
        best = Restart(0, "prior", Stop.REACHED, 0.0, 0.0, 0, latent)
        if picture.pixel_for_pixel and not is_pixel_for_pixel(
            self._procedure.generator, exhibit, best
        ):
            raise ReplayError(
                "the latent does not re-generate the file pixel for pixel here",
                where=f"{field}.pixelForPixel",
            )
        if picture.repeats is not None:
            return
        output = own_pictures(self._procedure, latent[None])
        for place, other in self._counted.items():
            if same_output(output, other):
                raise ReplayError(
                    "one output is counted twice",
                    where=f"{field}.repeats",
                    expected=f"that it repeats picture {place}",
                    found="nothing",
                )
        self._counted[number] = output
