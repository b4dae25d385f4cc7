"""The rule of an evaluation: what follows from residuals of controls, own outputs and strangers.

Writers and the verifier both call these. A family's rule here is that of `deny prove` for one
picture, so a denial is what one family contributes to `excluded`, which needs all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from deniability.stats.binomial import (
    beta_binomial_critical,
    beta_binomial_tail,
    conformal_p,
    decimal_down,
    decimal_up,
    largest_passing,
    upper_bound,
)
from deniability.stats.twosample import area_under_curve, excess_tail, largest_excess
from deniability.stats.verdict import (
    LOSSLESS_FLOOR,
    Infinite,
    Residual,
    residual,
    rounded_up,
    thresholds,
)
from deniability.wire.cited import CONFIDENCE
from deniability.wire.controls import ControlSet
from deniability.wire.evaluation import (
    EvaluatedFamily,
    EvaluationResult,
    GroupResult,
    SharedControlsTest,
    UniformityTest,
)
from deniability.wire.protocol import Protocol

OWN = "own"
_DIGITS = 6


@dataclass(frozen=True)
class FamilyRule:
    """What one family's controls say of any picture's smallest residual.

    Attributes:
        residuals: of the controls.
        allowed: most of them that may be at least as large; -1 if no picture can be denied.
        margin: least residual that counts as different, infinite if none does.
        reached: residual at or below which a picture is re-generated.

    """

    residuals: tuple[Residual, ...]
    allowed: int
    margin: Residual
    reached: Fraction

    @classmethod
    def of(
        cls, controls: ControlSet, protocol: Protocol, *, cautions: Sequence[str] = ()
    ) -> FamilyRule:
        """Take the rule from a control set; cautions about the model forbid every denial."""
        limits = thresholds(controls, protocol)
        n = len(controls.controls)
        sound = (
            n == protocol.controls
            and limits.recovered >= Fraction(protocol.recall) * protocol.controls
            and all(control.truth is not None for control in controls.controls)
            and not cautions
        )
        allowed = largest_passing(n, Fraction(protocol.alpha), Fraction(protocol.confidence))
        return cls(
            tuple(residual(control.residual) for control in controls.controls),
            allowed if sound else -1,
            limits.largest * Fraction(protocol.kappa),
            min(limits.threshold, rounded_up(LOSSLESS_FLOOR)),
        )

    def beyond(self, statistic: Residual) -> int:
        """Count the controls that lie at least as far."""
        return sum(value >= statistic for value in self.residuals)

    def denies(self, statistic: Residual) -> bool:
        """Tell whether this family would exclude a picture; a residual that is not finite never."""
        finite = Infinite not in {statistic, self.margin}
        different = finite and statistic >= self.margin and statistic > self.reached
        return different and self.beyond(statistic) <= self.allowed

    def p_value(self, statistic: Residual) -> Fraction:
        """Return the conformal p-value."""
        return conformal_p(self.beyond(statistic), len(self.residuals))


def read_measured(texts: Sequence[str]) -> list[Residual]:
    """Read residuals of an evaluation."""
    return [residual(None if text == "notFinite" else text) for text in texts]


def group_result(
    group: str,
    residuals: Sequence[str],
    rule: FamilyRule,
    own: Sequence[str],
    *,
    iterations: int,
    seconds: str,
) -> GroupResult:
    """Compute what follows from one group's residuals.

    Args:
        group: its name.
        residuals: of its pictures.
        rule: of the family.
        own: residuals of the own outputs in this family.
        iterations: for the record.
        seconds: for the record.

    """
    values = read_measured(residuals)
    n = len(values)
    denied = sum(map(rule.denies, values))
    confidence = Fraction(CONFIDENCE)
    return GroupResult(
        group=group,
        residuals=tuple(residuals),
        denied=denied,
        reached=sum(value <= rule.reached for value in values),
        at_least=decimal_down(1 - upper_bound(n - denied, n, confidence), _DIGITS),
        at_most=decimal_up(upper_bound(denied, n, confidence), _DIGITS),
        auc=None
        if group == OWN
        else decimal_down(area_under_curve(read_measured(own), values), _DIGITS),
        iterations=iterations,
        seconds=seconds,
    )


def shared_controls_test(
    denied: int, own: int, rule: FamilyRule, *, families: int
) -> SharedControlsTest:
    """Hold the number of own outputs denied against the rule's promise.

    All are judged by the same n controls. With at most `allowed` controls as far, the rule denies
    no more than lie beyond the (allowed + 1)-th largest control; of m exchangeable outputs that
    number is beta-binomial (negative hypergeometric), which counts that the controls are shared.
    A tie of an output with a control is no denial, so ties only make denials fewer.

    Args:
        denied: own outputs denied.
        own: how many there are.
        rule: of the family.
        families: how many share the confidence.

    """
    n, allowed = len(rule.residuals), rule.allowed
    critical, p = 0, Fraction(int(denied == 0))
    if allowed >= 0:
        critical = beta_binomial_critical(own, n, allowed, 1 - level(families))
        p = beta_binomial_tail(denied, own, allowed, n)
    return SharedControlsTest(
        allowed=allowed, critical=critical, p=decimal_up(p, _DIGITS), passed=denied <= critical
    )


def uniformity_test(own: Sequence[str], rule: FamilyRule, *, families: int) -> UniformityTest:
    """Test that p-values of own outputs are not too small: that they are super-uniform.

    Small p-values mean that own outputs lie farther than controls. Args as `shared_controls_test`.
    """
    m, n = len(own), len(rule.residuals)
    excess = largest_excess(read_measured(own), rule.residuals)
    p = excess_tail(excess, m, n)
    return UniformityTest(
        excess=decimal_up(Fraction(excess, m * n), _DIGITS),
        p=decimal_up(p, _DIGITS),
        passed=p > level(families),
    )


def own_p_values(family: EvaluatedFamily, protocol: Protocol) -> list[Fraction]:
    """Return the conformal p-values of a family's own outputs, in order of index."""
    rule = FamilyRule.of(family.controls, protocol)
    return [rule.p_value(value) for value in read_measured(own_of(family).residuals)]


def level(families: int) -> Fraction:
    """Return the level of a test in one of so many families (Bonferroni)."""
    return (1 - Fraction(CONFIDENCE)) / families


def own_of(family: EvaluatedFamily) -> GroupResult:
    """Return the own outputs of a family; they come first in every one."""
    return family.groups[0]


def decide_evaluation(
    families: Sequence[EvaluatedFamily], *, model_digest: str, protocol: Protocol
) -> EvaluationResult:
    """Compute the result from all families.

    Args:
        families: with their results.
        model_digest: named in the sentence.
        protocol: named in the sentence.

    """
    own = sum(len(own_of(family).residuals) for family in families)
    denied = sum(own_of(family).denied for family in families)
    worst = max((own_of(family).at_most for family in families), key=Fraction)
    held = all(family.shared.passed for family in families)
    uniform = all(family.uniform.passed for family in families)
    promise = "does not contradict" if held else "contradicts"
    values = "are not" if uniform else "are"
    sentence = (
        f"Measured on the model sha256:{model_digest} (protocol {protocol.name}): of {own} own "
        f"outputs in {len(families)} families of handling {denied} were denied; in no family are "
        f"more than a share {worst} denied (with {CONFIDENCE} confidence for each, given its "
        f"controls). That {promise} the promised rate of at most {protocol.alpha}, the shared "
        f"controls counted; p-values of own outputs {values} significantly too small. How often "
        "strangers are denied is listed by group. Of copies of the model that are near it nothing "
        "is promised."
    )
    return EvaluationResult(
        sentence=sentence,
        own=own,
        denied=denied,
        at_most=worst,
        promise_held=held,
        uniform=uniform,
    )
