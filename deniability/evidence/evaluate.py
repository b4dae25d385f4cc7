"""`deny evaluate`: how often the procedure is wrong on a model, measured and signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from deniability.crypto.canonical import canonical_json
from deniability.crypto.digest import sha256_hex
from deniability.crypto.keys import PrivateKey
from deniability.errors import InputError
from deniability.evidence.cache import controls_for, default_cache_folder
from deniability.evidence.evaluate_families import handling_of_family, narrowed_families
from deniability.evidence.evaluate_groups import Group, Strangers, groups_for, picture_seeds
from deniability.evidence.measure import Measurement, measure
from deniability.evidence.progress import Progress, Silent
from deniability.evidence.register import (
    OpenRegistration,
    check_reproduction,
    check_writable,
    state_folder,
)
from deniability.evidence.signing import sign_statement
from deniability.evidence.state import RunState
from deniability.evidence.subject import describe_environment, now
from deniability.imaging.handling import Handling
from deniability.inversion.executor import Executor
from deniability.stats.evaluation import (
    FamilyRule,
    decide_evaluation,
    group_result,
    shared_controls_test,
    uniformity_test,
)
from deniability.stats.evaluation_words import evaluation_scope, families_of, why_unfit
from deniability.stats.sentence import model_cautions
from deniability.verify.evaluation import VerifiedEvaluation, verify_evaluation
from deniability.verify.parse import MAX_BUNDLE_BYTES, MAX_VALUES
from deniability.verify.trust import TrustPolicy
from deniability.wire.controls import ControlSet
from deniability.wire.evaluation import (
    MAX_PICTURES,
    EvaluatedFamily,
    Evaluation,
    Measured,
    NotApplied,
)
from deniability.wire.exclusion import RegistrationReference
from deniability.wire.files import read_capped, write_atomic
from deniability.wire.protocol import mismatch_ways
from deniability.wire.roles import evaluation_restart_seed
from deniability.wire.statement import EVALUATION_TYPE

DEFAULT_OWN, DEFAULT_STRANGERS = 300, 30
_RESIDUALS: TypeAdapter[tuple[Measured, ...]] = TypeAdapter(tuple[Measured, ...])
#: Values of a control or mismatch, and of a group and a family beside their residuals. From above.
_PER_CONTROL, _PER_GROUP, _PER_FAMILY = 9, 12, 300


@dataclass(frozen=True)
class Evaluated:
    """What `evaluate` wrote, verified from disk.

    Attributes:
        path: of the evaluation.
        verified: as read back.

    """

    path: Path
    verified: VerifiedEvaluation


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        own: own outputs in each family.
        strangers: outputs of each copy and of each other generator, in each family.
        only: families that it is narrowed to; None for all of the preset.

    """

    own: int = DEFAULT_OWN
    strangers: int = DEFAULT_STRANGERS
    only: tuple[str, ...] | None = None


def evaluate(
    opened: OpenRegistration,
    *,
    key: PrivateKey,
    output: Path,
    strangers: Strangers | None = None,
    extent: Extent | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    cache: Path | None = None,
    batch_limit: int | None = None,
    executor: Executor | None = None,
) -> Evaluated:
    """Measure every group in every family, apply the rules, sign, write, and verify from disk.

    Args:
        opened: the model's registration.
        key: that signs.
        output: file for the evaluation.
        strangers: other generators and pictures of the user.
        extent: how much is measured.
        resume: continue an interrupted run for the same output.
        progress: is told what happens.
        cache: folder of control sets made on demand; the user's cache folder if None.
        batch_limit: most restarts at once; the memory decides if None.
        executor: searches; in this process if None.

    Raises:
        InputError: a count, folder, picture or family cannot be used.
        GeneratorError: the model is not the function that was registered.
        OutputError: the evaluation cannot be written.

    """
    report, how, procedure = progress or Silent(), extent or Extent(), opened.procedure
    check_writable(output)
    for option, count in (("--own", how.own), ("--strangers", how.strangers)):
        if not 1 <= count <= MAX_PICTURES:
            raise InputError(
                "not a number of pictures that can be evaluated",
                where=option,
                expected=f"1 to {MAX_PICTURES}",
                found=str(count),
            )
    spec = procedure.generator.spec
    names = narrowed_families(procedure.protocol, spec, how.only)
    check_reproduction(procedure, opened.pictures)
    groups, missing = groups_for(
        procedure, strangers or Strangers({}), own=how.own, each=how.strangers, progress=report
    )
    check_size(opened, names, groups)
    unfit = families_of(procedure.protocol, spec)[1] if how.only is None else ()
    missing += [NotApplied(name=name, reason=why_unfit(name)) for name in unfit]
    identity = _identity(opened, how, groups)
    with RunState(state_folder(output), identity, resume=resume, note=report.note) as state:
        session = _Session(
            opened, state, report, cache or default_cache_folder(), batch_limit, executor
        )
        families = [
            session.family(name, groups, families=len(names), place=f"{number} of {len(names)}")
            for number, name in enumerate(names, start=1)
        ]
        evaluation = _evaluation(opened, groups, families, missing, how)
        raw = sign_statement(
            evaluation, predicate_type=EVALUATION_TYPE, subjects=procedure.model.files, key=key
        )
        write_atomic(output, raw)
        verified = verify_evaluation(
            read_capped(output, MAX_BUNDLE_BYTES, what="evaluation"),
            trust=TrustPolicy((key.public,)),
            where=str(output),
        )
        state.remove()
    return Evaluated(output, verified)


def check_size(opened: OpenRegistration, names: Sequence[str], groups: Sequence[Group]) -> None:
    """Refuse more than a verifier reads, before hours of work.

    Raises:
        InputError: the evaluation would have too many values.

    """
    protocol = opened.procedure.protocol
    controls = protocol.controls + len(mismatch_ways("jpeg")) * protocol.mismatch_outputs
    measured = sum(group.count + _PER_GROUP for group in groups)
    values = len(names) * (_PER_CONTROL * controls + measured + _PER_FAMILY)
    if values > MAX_VALUES:
        raise InputError(
            "too many pictures and families for one evaluation",
            where="--own, --strangers, --family",
            expected=f"controls, residuals and all else to be at most {MAX_VALUES} values",
            found=f"up to {values}",
            hint="Evaluate fewer families at once with --family, or fewer pictures.",
        )


def _identity(opened: OpenRegistration, how: Extent, groups: Sequence[Group]) -> str:
    return sha256_hex(
        canonical_json(
            {
                "registration": opened.verified.payload_digest,
                "own": how.own,
                "strangers": how.strangers,
                "groups": [group.about.to_wire() for group in groups],
                "families": list(how.only or ()),
            }
        )
    )


class _Session:
    """Measures one family after the other; what is finished of each group is kept."""

    def __init__(
        self,
        opened: OpenRegistration,
        state: RunState,
        report: Progress,
        cache: Path,
        batch_limit: int | None,
        executor: Executor | None,
    ) -> None:
        self._opened, self._state, self._report = opened, state, report
        self._cache, self._batch_limit, self._executor = cache, batch_limit, executor

    def family(
        self, name: str, groups: Sequence[Group], *, families: int, place: str
    ) -> EvaluatedFamily:
        """Measure all groups in one family, and compute what follows."""
        procedure = self._opened.procedure
        self._report.note(f"Family {place}: {name}")
        handling = handling_of_family(procedure, name)
        controls = controls_for(
            self._opened,
            handling,
            folder=self._cache,
            state=self._state,
            progress=self._report,
            batch_limit=self._batch_limit,
            executor=self._executor,
        ).controls
        cautions = model_cautions(procedure.generator.spec.format)
        rule = FamilyRule.of(controls, procedure.protocol, cautions=cautions)
        measured = {group.name: self._measured(name, group, handling, controls) for group in groups}
        own = measured[groups[0].name].residuals
        results = tuple(
            group_result(
                group,
                found.residuals,
                rule,
                own,
                iterations=found.iterations,
                seconds=f"{found.seconds:.1f}",
            )
            for group, found in measured.items()
        )
        return EvaluatedFamily(
            name=name,
            controls=controls,
            groups=results,
            shared=shared_controls_test(results[0].denied, len(own), rule, families=families),
            uniform=uniformity_test(own, rule, families=families),
        )

    def _measured(
        self, family: str, group: Group, handling: Handling, controls: ControlSet
    ) -> Measurement:
        """Measure one group, or take what an interrupted run measured."""
        name = f"{family}-{group.name}"
        if (kept := self._kept(name, group.count)) is not None:
            return kept
        procedure = self._opened.procedure
        kind, protocol = handling.kind.digest(), procedure.protocol
        seeds = picture_seeds(procedure, kind, group.name, group.count)
        self._report.phase(f"searching for {group.name} as {family}", group.count)
        found = measure(
            procedure,
            handling,
            controls,
            group.make(procedure, handling, seeds),
            seeds=seeds,
            restart_seed=lambda target, index: evaluation_restart_seed(
                procedure.model,
                protocol.digest,
                kind,
                group.name,
                target * protocol.searches + index,
                beacon=procedure.beacon,
            ),
            state=self._state,
            name=f"measuring-{name}",
            progress=self._report,
            batch_limit=self._batch_limit,
            executor=self._executor,
        )
        # Without the latents, which nothing needs any more.
        self._state.save(f"measured-{name}", {}, vars(found) | {"residuals": [*found.residuals]})
        for segment in self._state.names(f"measuring-{name}-restarts-"):
            self._state.forget(segment)
        return found

    def _kept(self, name: str, count: int) -> Measurement | None:
        stored = self._state.tensors(f"measured-{name}")
        if stored is None:
            return None
        told: dict[str, Any] = stored[1]
        try:
            residuals = _RESIDUALS.validate_python(tuple(told["residuals"]))
            kept = Measurement(residuals, int(told["iterations"]), float(told["seconds"]))
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            raise self._state.damaged(f"measured-{name}") from error
        if len(kept.residuals) != count:
            raise self._state.damaged(f"measured-{name}")
        return kept


def _evaluation(
    opened: OpenRegistration,
    groups: Sequence[Group],
    families: Sequence[EvaluatedFamily],
    missing: Sequence[NotApplied],
    how: Extent,
) -> Evaluation:
    procedure, registration = opened.procedure, opened.verified.registration
    about = tuple(group.about for group in groups)
    narrowed = None if how.only is None else tuple(family.name for family in families)
    return Evaluation(
        result=decide_evaluation(
            families, model_digest=procedure.model.digest, protocol=procedure.protocol
        ),
        scope=evaluation_scope(about, families, narrowed),
        model=procedure.model,
        generator=procedure.generator.spec,
        registration=RegistrationReference(
            payload=opened.verified.payload_digest, created_at=registration.created_at
        ),
        protocol=procedure.protocol,
        protocol_digest=procedure.protocol.digest,
        beacon=procedure.beacon,
        groups=about,
        families=tuple(families),
        narrowed=narrowed,
        not_applied=tuple(missing),
        environment=describe_environment(procedure.generator.device),
        created_at=now(),
    )
