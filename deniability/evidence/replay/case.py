"""Bundle, picture, model and latents, all shown to belong together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from deniability.errors import CommitmentError, InputError, ReplayError
from deniability.evidence.procedure import Procedure
from deniability.evidence.prove import Exhibit, read_exhibit
from deniability.evidence.register import procedure_from
from deniability.evidence.reproduction import difference
from deniability.evidence.subject import describe_model
from deniability.evidence.tensors import read_sidecar
from deniability.generators.base import Generator
from deniability.imaging.handling import Handling, Observations
from deniability.verify.bundle import VerifiedBundle
from deniability.wire.controls import ControlSet
from deniability.wire.edits import HandlingName
from deniability.wire.exclusion import Exclusion, FamilyFinding
from deniability.wire.generator import GeneratorSpec
from deniability.wire.registration import ModelDescriptor
from deniability.wire.restarts import Restarts


@dataclass(frozen=True)
class Family:
    """One family of handling: what the bundle says of it, and the file as the family takes it.

    Attributes:
        number: its place among the finding's families.
        handling, observations: of the accused file.
        controls, restarts: as signed.
        finding: what the bundle says that follows.

    """

    number: int
    handling: Handling
    observations: Observations
    controls: ControlSet
    restarts: Restarts
    finding: FamilyFinding

    @property
    def prefix(self) -> str:
        """What the names of its fields and of its tensors in the sidecar begin with."""
        return f"handled.{self.number - 1}." if self.number else ""

    @property
    def name(self) -> HandlingName:
        """Of the edit."""
        return self.handling.kind.edit or "unedited"


@dataclass(frozen=True)
class Case:
    """Bundle, picture, model and latents, all shown to belong together."""

    exclusion: Exclusion
    exhibit: Exhibit
    procedure: Procedure
    tensors: dict[str, Tensor]

    @property
    def families(self) -> tuple[Family, ...]:
        """All families of handling that were searched, in the finding's order."""
        first, handled = self.exclusion, self.exclusion.handled or ()
        signed = [
            (first.controls, first.restarts),
            *((one.controls, one.restarts) for one in handled),
        ]
        return tuple(
            Family(number, *seen, *said, finding)
            for number, (seen, said, finding) in enumerate(
                zip(self.exhibit.families, signed, first.finding.families, strict=True)
            )
        )


def open_case(verified: VerifiedBundle, image: Path, generator: Generator, sidecar: Path) -> Case:
    """Load what a re-check needs and show that it belongs to the bundle.

    Raises:
        InputError: the model is another one, or a file is missing.
        ReplayError: the model is described otherwise.
        CommitmentError: picture, latents or encoder are not those of the bundle.

    """
    exclusion = verified.exclusion
    check_model(generator, exclusion.model, exclusion.generator)
    exhibit = read_exhibit(
        image,
        generator,
        called=exclusion.accused.file.name,
        protocol=exclusion.protocol,
        only=exclusion.narrowed,
    )
    _same(exhibit, exclusion)
    tensors = read_sidecar(sidecar, exclusion.latents)
    procedure = procedure_from(
        generator,
        exclusion.protocol,
        tensors,
        exclusion.encoder,
        stages=exclusion.stages,
        beacon=exclusion.beacon,
        where=str(sidecar),
    )
    check_pictures(procedure, tensors)
    return Case(exclusion, exhibit, procedure, tensors)


def check_model(generator: Generator, model: ModelDescriptor, spec: GeneratorSpec) -> None:
    """Check that a loaded generator is the model that something signed is about.

    Raises:
        InputError: it is another one.
        ReplayError: it is described otherwise.

    """
    found = describe_model(generator)
    if found != model:
        raise InputError(
            "not the model that the bundle is about",
            where="--model",
            expected=f"model sha256:{model.digest}",
            found=f"sha256:{found.digest}",
            hint="File names count: they must be "
            + ", ".join(repr(file.name) for file in model.files[:4])
            + ".",
        )
    if generator.spec != spec:
        raise ReplayError(
            "the model is described otherwise than in the bundle",
            where="--model",
            expected=str(spec.to_wire()),
            found=str(generator.spec.to_wire()),
            hint="Use the generator.toml that belongs to the bundle.",
        )


def check_pictures(procedure: Procedure, tensors: dict[str, Tensor]) -> None:
    """Check that the model gives the pictures that it gave when it was registered.

    Raises:
        CommitmentError: the sidecar has none.
        ReplayError: it gives others.

    """
    pictures = tensors.get("pictures")
    if pictures is None:
        raise CommitmentError(
            "the latents file does not hold what the bundle describes",
            where="pictures",
            found="nothing",
        )
    found = difference(procedure, pictures)
    if found is not None:
        raise ReplayError(
            "this model does not give the pictures that it gave when it was registered",
            where="--model",
            found=found,
            hint="Its factory or description may be another one than the prover's.",
        )


def _same(exhibit: Exhibit, exclusion: Exclusion) -> None:
    """Check that decoding the picture here gives what the bundle says it gave there."""
    accused, observed, picture = exclusion.accused, exhibit.observed, exhibit.picture
    further = [one.controls.kind for one in exclusion.handled or ()]
    pairs: list[tuple[str, object, object]] = [
        ("file", accused.file, exhibit.file),
        ("format", accused.format, picture.format),
        ("pixels", accused.pixels, picture.canonical_digest),
        ("kind", accused.kind, observed.handling.kind),
        ("kind (of further families)", further, [one.kind for one, _ in observed.further]),
        ("transforms", accused.transforms, observed.transforms),
        ("cautions", accused.cautions, observed.cautions),
    ]
    for field, expected, found in pairs:
        if expected != found:
            raise CommitmentError(
                f"the picture does not give the accused.{field} of the bundle",
                where="--image",
                expected=str(expected)[:100],
                found=str(found)[:100],
            )
