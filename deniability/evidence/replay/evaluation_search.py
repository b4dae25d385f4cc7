"""Level V2 of an evaluation: some of its pictures searched for again, and fresh own outputs."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from deniability.errors import InputError, ReplayError
from deniability.evidence.calibrate import control_latents, control_observations
from deniability.evidence.evaluate_groups import Group, picture_seeds
from deniability.evidence.measure import measure
from deniability.evidence.progress import Progress, Silent
from deniability.evidence.replay.evaluation_case import EvaluationCase
from deniability.evidence.replay.evaluation_found import Encoder, EvaluationSearch
from deniability.evidence.search import Seed
from deniability.imaging.handling import Handling
from deniability.imaging.observation import build_handling
from deniability.inversion.solution import Trace
from deniability.stats.binomial import decimal_up
from deniability.stats.evaluation import OWN, FamilyRule, own_of, read_measured
from deniability.stats.replication import (
    FreshTests,
    Tally,
    fresh_level,
    fresh_tests,
    lowest_compared,
    paired_level,
    tally,
)
from deniability.stats.sentence import model_cautions
from deniability.stats.verdict import Residual, residual, thresholds
from deniability.wire.evaluation import EvaluatedFamily
from deniability.wire.numbers import decimal_string
from deniability.wire.roles import control_restart_seed, evaluation_restart_seed

#: Most searches of one re-check: a larger one is an evaluation of one's own.
MOST_SEARCHES = 50_000
_ROWS = 64  # controls whose observations are held at once


def replay_measured(
    case: EvaluationCase, *, count: int, progress: Progress | None = None
) -> EvaluationSearch:
    """Level V2 of an evaluation.

    Args:
        case: of V1, which has passed.
        count: pictures of each group, controls, and fresh own outputs in each family; which ones
            this machine's randomness says.
        progress: is told what happens.

    Raises:
        InputError: nothing to do, or too much.
        ReplayError: searches end elsewhere than the evaluation says, more often than by chance.

    """
    families = case.evaluation.families
    _check_count(count, len(families) * (2 * (len(case.groups) + 1) + 1))
    report = progress or Silent()
    case = case.with_encoder(report)
    own = controls = strangers = Tally()
    fresh: dict[str, FreshTests] = {}
    for index, family in enumerate(families):
        again = _Family(case, family, count, report)
        for group in case.groups:
            found = again.searched(group)
            if group.name == OWN:
                own += found
                fresh[family.name] = again.fresh(group)
                _judge_fresh(fresh[family.name], len(families), f"families.{index}")
            else:
                strangers += found
        controls += again.controls()
    for name, found in (("own", own), ("strangers", strangers), ("controls", controls)):
        _judge(name, found)
    return EvaluationSearch(
        count=count,
        own=own,
        controls=controls,
        strangers=strangers,
        fresh=fresh,
        alpha=case.evaluation.protocol.alpha,
        encoder=_encoder(case),
        left_out=case.left_out,
    )


def _check_count(count: int, each: int) -> None:
    if count < 1:
        raise InputError("nothing to replay", where="--replay", expected="1 or more")
    if count * each > MOST_SEARCHES:
        raise InputError(
            "too many searches to run again",
            where="--replay",
            expected=f"at most {MOST_SEARCHES // each}, for {each} searches each",
            found=str(count),
            hint="To measure all of it again, run deny evaluate yourself.",
        )


def _encoder(case: EvaluationCase) -> Encoder:
    if case.procedure.encoder is None:
        return "none"
    return "trained-anew" if case.opened is None else "registered"


def _own_seed(_: int, __: int) -> bytes:
    return secrets.token_bytes(32)


@dataclass(frozen=True)
class _Family:
    """One family, searched in again."""

    case: EvaluationCase
    family: EvaluatedFamily
    count: int
    report: Progress

    @property
    def _handling(self) -> Handling:
        return build_handling(
            self.family.controls.kind, device=self.case.procedure.generator.device
        )

    @property
    def _rule(self) -> FamilyRule:
        cautions = model_cautions(self.case.evaluation.generator.format)
        return FamilyRule.of(self.family.controls, self.case.procedure.protocol, cautions=cautions)

    def _tally(self, stated: Sequence[Residual], again: list[tuple[Residual, Residual]]) -> Tally:
        limits = thresholds(self.family.controls, self.case.procedure.protocol)
        return tally(stated, again, lowest_compared(limits))

    def searched(self, group: Group) -> Tally:
        """Search again for some pictures of a group."""
        procedure, handling = self.case.procedure, self._handling
        stated = next(one for one in self.family.groups if one.group == group.name).residuals
        picks = _drawn(len(stated), self.count)
        kind, digest = handling.kind.digest(), procedure.protocol.digest
        seeds = picture_seeds(procedure, kind, group.name, len(stated))
        chosen = group
        if group.pictures is not None:
            chosen = replace(group, pictures=group.pictures[picks])
        values = read_measured([stated[pick] for pick in picks])

        def as_evaluated(target: int, index: int) -> bytes:
            return evaluation_restart_seed(
                procedure.model,
                digest,
                kind,
                group.name,
                picks[target] * procedure.protocol.searches + index,
                beacon=procedure.beacon,
            )

        again = self._twice(chosen, handling, [seeds[pick] for pick in picks], as_evaluated)
        return self._tally(values, again)

    def _twice(
        self, group: Group, handling: Handling, seeds: list[bytes], as_evaluated: Seed
    ) -> list[tuple[Residual, Residual]]:
        pictures = group.make(self.case.procedure, handling, seeds)
        found: list[list[Residual]] = []
        for words, restart_seed in (("", as_evaluated), (", own seeds", _own_seed)):
            self.report.phase(
                f"searching again for {group.name} as {self.family.name}{words}", len(pictures)
            )
            measured = measure(
                self.case.procedure,
                handling,
                self.family.controls,
                pictures,
                seeds=seeds,
                restart_seed=restart_seed,
                progress=self.report,
            )
            found.append(read_measured(measured.residuals))
        return list(zip(*found, strict=True))

    def fresh(self, own: Group) -> FreshTests:
        """Draw own outputs by the system's randomness and search for them."""
        procedure, handling = self.case.procedure, self._handling
        seeds = [secrets.token_bytes(32) for _ in range(self.count)]
        self.report.phase(f"searching for fresh own outputs as {self.family.name}", self.count)
        measured = measure(
            procedure,
            handling,
            self.family.controls,
            own.make(procedure, handling, seeds),
            seeds=seeds,
            restart_seed=_own_seed,
            progress=self.report,
        )
        limits = thresholds(self.family.controls, procedure.protocol)
        return fresh_tests(
            read_measured(measured.residuals),
            read_measured(own_of(self.family).residuals),
            self._rule,
            lowest_compared(limits),
        )

    def controls(self) -> Tally:
        """Search again for some controls, with as many restarts as a control has."""
        procedure, handling, protocol = (
            self.case.procedure,
            self._handling,
            self.case.procedure.protocol,
        )
        stored, kind = self.family.controls.controls, handling.kind.digest()
        picks = _drawn(len(stored), self.count)
        seeds, latents = control_latents(procedure, handling.kind)
        limits = thresholds(self.family.controls, protocol)
        engine = procedure.engine(handling, limits.threshold)
        self.report.phase(f"searching again for controls as {self.family.name}", len(picks))
        again: list[tuple[Residual, Residual]] = []
        for start in range(0, len(picks), _ROWS):
            rows = picks[start : start + _ROWS]
            observations = control_observations(
                procedure, handling, latents[rows], [seeds[row] for row in rows]
            )

            def as_calibrated(target: int, index: int, rows: list[int] = rows) -> bytes:
                number = rows[target] * protocol.restarts + index
                return control_restart_seed(
                    procedure.model, protocol.digest, kind, number, beacon=procedure.beacon
                )

            theirs, ours = (
                [_value(trace) for trace in engine.run(observations, seed)]
                for seed in (as_calibrated, _own_seed)
            )
            again += zip(theirs, ours, strict=True)
            self.report.advance(start + len(rows))
        return self._tally([residual(stored[pick].residual) for pick in picks], again)


def _value(trace: Trace) -> Residual:
    return residual(None if trace.residual is None else decimal_string(trace.residual))


def _drawn(count: int, most: int) -> list[int]:
    """Draw which of so many are searched for again."""
    return sorted(secrets.SystemRandom().sample(range(count), min(count, most)))


_HARDER = {
    "own": "own outputs are harder to find than the evaluation says: it may hide denials",
    "strangers": "others' pictures come out farther from the model than the evaluation says",
    "controls": "controls are harder to find than the evaluation says: they are not believable",
}
_NEARER = {
    "own": "own outputs are easier to find than the evaluation says",
    "strangers": "others' pictures come out nearer to the model than the evaluation says: it "
    "overstates how often they are told apart",
    "controls": "controls are easier to find than the evaluation says: they may hide denials",
}


def _judge(name: str, found: Tally) -> None:
    """Refuse residuals that stand out more often than one search of three would."""
    for words, k, m, p in (
        (_HARDER[name], found.stated_low, found.low, found.p_low),
        (_NEARER[name], found.stated_high, found.high, found.p_high),
    ):
        if p < paired_level():
            raise ReplayError(
                words,
                where=f"residuals ({name})",
                expected=f"to stand out in a third of {m} pictures in which one of three searches "
                "does",
                found=f"it stands out in {k} (probability {decimal_up(p, 6)})",
            )


def _judge_fresh(found: FreshTests, families: int, field: str) -> None:
    """Refuse an evaluation whose own outputs or controls are easier than fresh outputs are."""
    level = fresh_level(families)
    if found.p_denied < level:
        raise ReplayError(
            "fresh own outputs are denied more often than the evaluation says: it hides denials",
            where=f"{field}.groups.0.denied",
            expected=f"about {found.stated_denied} of {found.stated}",
            found=f"{found.denied} of {found.count} (probability {decimal_up(found.p_denied, 6)})",
        )
    if found.p_own < level:
        raise ReplayError(
            "fresh own outputs are farther from the model than the evaluation's",
            where=f"{field}.groups.0.residuals",
            expected="to be as far",
            found=f"farther (probability {decimal_up(found.p_own, 6)})",
        )
    if found.p_controls < level:
        raise ReplayError(
            "fresh own outputs are harder to find than the controls: those are not believable",
            where=f"{field}.controls",
            expected="as many to be found",
            found=f"fewer (probability {decimal_up(found.p_controls, 6)})",
        )
