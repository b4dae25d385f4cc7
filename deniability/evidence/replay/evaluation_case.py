"""An evaluation, the model, its groups made again, and the registration if it is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deniability.errors import CommitmentError, ReplayError
from deniability.evidence.evaluate_families import kind_of_family
from deniability.evidence.evaluate_groups import Group, Strangers, brought, groups_for
from deniability.evidence.procedure import Procedure, train_encoder
from deniability.evidence.progress import Progress
from deniability.evidence.prove import MAX_IMAGE_BYTES
from deniability.evidence.register import OpenRegistration, open_registration
from deniability.evidence.replay.case import check_model, check_pictures
from deniability.evidence.subject import describe_model
from deniability.evidence.tensors import describe_bytes
from deniability.generators.base import Generator
from deniability.stats.evaluation import OWN
from deniability.stats.evaluation_words import COPIES
from deniability.verify.evaluation import VerifiedEvaluation
from deniability.verify.trust import TrustPolicy
from deniability.wire.evaluation import EvaluatedGroup, Evaluation
from deniability.wire.files import read_capped

#: A copy's distance is believed within this share: tuning is another one on another processor.
_DISTANCE = 0.1


@dataclass(frozen=True)
class EvaluationCase:
    """What a re-check of an evaluation needs, all shown to belong together.

    Attributes:
        evaluation: as signed.
        procedure: of the model; with the registration's encoder if that was brought.
        opened: the registration, if it was brought.
        groups: those that can be made here, in the evaluation's order.
        left_out: the others by name, and why.

    """

    evaluation: Evaluation
    procedure: Procedure
    opened: OpenRegistration | None
    groups: tuple[Group, ...]
    left_out: dict[str, str]

    def with_encoder(self, progress: Progress) -> EvaluationCase:
        """Return the case with an encoder: trained anew where there is no registration."""
        procedure = self.procedure
        if self.opened is not None:
            return self
        encoder = train_encoder(
            procedure.generator, procedure.model, procedure.protocol, state=None, progress=progress
        )
        return replace(self, procedure=replace(procedure, encoder=encoder))


def open_evaluation(
    verified: VerifiedEvaluation,
    *,
    generator: Generator,
    registration: Path | None,
    trust: TrustPolicy,
    pictures: Mapping[str, Sequence[Path]],
    progress: Progress,
) -> EvaluationCase:
    """Load what a re-check needs and show that it belongs to the evaluation.

    Args:
        verified: the evaluation at V0.
        generator: the model, loaded by the verifier.
        registration: the one it names, its latents file beside it; None if it is not here.
        trust: in the registration's signer.
        pictures: files of the groups `nonmembers-N` that were brought, in their order.
        progress: is told of each copy.

    Raises:
        InputError: the model is another one, or a file is missing.
        ReplayError: the model is described otherwise, a group that can be made was left out, or a
            copy is another one.
        CommitmentError: registration, picture or kind are not those of the evaluation.

    """
    evaluation = verified.evaluation
    check_model(generator, evaluation.model, evaluation.generator)
    check_kinds(evaluation)
    opened = None
    model = describe_model(generator)
    procedure = Procedure(generator, model, evaluation.protocol, None, evaluation.beacon)
    if registration is not None:
        opened = open_registration(registration, generator, trust=trust)
        _check_registration(evaluation, opened, str(registration))
        procedure = opened.procedure
        check_pictures(procedure, {"pictures": opened.pictures})
    groups, left_out = _groups_again(evaluation, procedure, pictures, progress)
    return EvaluationCase(evaluation, procedure, opened, groups, left_out)


def check_kinds(evaluation: Evaluation) -> None:
    """Check that each family's kind of file is that of its name; for JPEGs a file is saved.

    Raises:
        CommitmentError: it is another.

    """
    for index, family in enumerate(evaluation.families):
        expected, found = kind_of_family(evaluation.generator, family.name), family.controls.kind
        if expected != found:
            raise CommitmentError(
                "the kind of file of a family is another one than its name says",
                where=f"families.{index}.controls.kind",
                expected=expected.digest(),
                found=found.digest(),
            )


def _check_registration(evaluation: Evaluation, opened: OpenRegistration, where: str) -> None:
    registration = opened.verified.registration
    pairs: tuple[tuple[str, object, object], ...] = (
        ("payload", evaluation.registration.payload, opened.verified.payload_digest),
        ("createdAt", evaluation.registration.created_at, registration.created_at),
        ("protocol", evaluation.protocol, registration.protocol),
        ("beacon", evaluation.beacon, registration.beacon),
    )
    for field, expected, found in pairs:
        if expected != found:
            raise CommitmentError(
                "not the registration that the evaluation used",
                where=f"{where}: {field}",
                expected=str(expected)[:100],
                found=str(found)[:100],
            )
    for index, family in enumerate(evaluation.families):
        calibrated = opened.sets.get(family.controls.kind.digest())
        if calibrated is None or calibrated.controls.device_class != family.controls.device_class:
            continue
        if calibrated.controls != family.controls:
            raise CommitmentError(
                "the controls are not those of the registration",
                where=f"families.{index}.controls",
                hint="An evaluation uses the registration's controls where it has some.",
            )


def _groups_again(
    evaluation: Evaluation,
    procedure: Procedure,
    pictures: Mapping[str, Sequence[Path]],
    progress: Progress,
) -> tuple[tuple[Group, ...], dict[str, str]]:
    """Make the evaluation's groups again, and say which cannot be made here and why."""
    made, missing = groups_for(procedure, Strangers({}), own=1, each=1, progress=progress)
    ours = {group.name: group for group in made}
    why = {entry.name: entry.reason for entry in missing}
    stated = {about.name for about in evaluation.groups}
    if hidden := [name for name in ours if name not in stated]:
        raise ReplayError(
            "a group that can be made of this model is not in the evaluation",
            where="groups",
            expected=hidden[0],
        )
    found: list[Group] = []
    left_out: dict[str, str] = {}
    for about in evaluation.groups:
        if about.name.startswith("nonmembers-"):
            files = pictures.get(about.name)
            if files is None:
                left_out[about.name] = "its pictures were not all brought: --image FOLDER"
            else:
                found.append(_brought_again(about, files, procedure))
            continue
        group = ours.get(about.name)
        if group is None:
            left_out[about.name] = why.get(about.name, "its generator is not here")
        elif about.name in COPIES:
            _compare_distance(about, group)
            found.append(group)
        elif (group.about.weights, group.about.files) != (about.weights, about.files):
            left_out[about.name] = "this version of the program ships others"
        else:
            found.append(group)
    assert found[0].name == OWN  # noqa: S101 - V0 has checked that they come first
    return tuple(found), left_out


def _brought_again(about: EvaluatedGroup, files: Sequence[Path], procedure: Procedure) -> Group:
    """Read the pictures of the signer that the verifier has."""
    spec, described = procedure.generator.spec, about.files or ()
    read = [read_capped(path, MAX_IMAGE_BYTES, what="picture") for path in files]
    expected = [file.sha256 for file in described]
    found = [describe_bytes("picture", data).sha256 for data in read]
    if expected != found:
        raise CommitmentError(
            "not the pictures of the evaluation", where=f"--image: groups.{about.name}.files"
        )
    shown = [brought(data, spec, where=str(path)) for path, data in zip(files, read, strict=True)]
    return Group(about, len(shown), pictures=np.stack(shown))


def _compare_distance(stated: EvaluatedGroup, group: Group) -> None:
    theirs, ours = float(stated.distance or 0), float(group.about.distance or 0)
    if abs(theirs - ours) > _DISTANCE * max(theirs, ours):
        raise ReplayError(
            "a copy of the model is as far from it here as the evaluation does not say",
            where=f"groups.{stated.name}.distance",
            expected=f"{theirs:.5e}",
            found=f"{ours:.5e}",
        )
