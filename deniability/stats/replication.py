"""Whether searches that were run again agree with those that an evaluation states (SPEC.md 22).

A search is a matter of luck: another one of the same picture may end elsewhere. But if all of them
are by one procedure, none has a right to be the luckiest: of three, each is as likely to be the one
that ends far from both others. These tests count how often it was the signer's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from deniability.errors import StatisticsError
from deniability.stats.binomial import hypergeometric_tail
from deniability.stats.evaluation import FamilyRule
from deniability.stats.twosample import excess_tail, largest_excess
from deniability.stats.verdict import Residual, Thresholds
from deniability.wire.cited import CONFIDENCE

#: Searches of one picture that are compared: the signer's, and two by the verifier.
SEARCHES = 3
#: A residual this many times another is clearly larger.
CLEAR = 2
#: Tests of pairs: own outputs, controls and strangers, each in both directions.
PAIRED_TESTS = 6
#: Tests of fresh outputs in each family.
FRESH_TESTS = 3


def lowest_compared(limits: Thresholds) -> Fraction:
    """Return the residual below which differences do not count: no denial depends on them."""
    return max(limits.threshold, limits.floor)


@dataclass(frozen=True)
class Tally:
    """How pictures that were searched for again came out, against what was stated.

    Attributes:
        pictures: searched for again.
        low, high: those in which one of three searches ends clearly lower than both others, or
            clearly higher.
        stated_low, stated_high: those of them in which it is the signer's.

    """

    pictures: int = 0
    low: int = 0
    stated_low: int = 0
    high: int = 0
    stated_high: int = 0

    def __add__(self, other: Tally) -> Tally:
        """Pool two tallies."""
        return Tally(*(a + b for a, b in zip(_counts(self), _counts(other), strict=True)))

    @property
    def p_low(self) -> Fraction:
        """How probably the signer's would be the low one as often, if all were alike."""
        return odd_tail(self.stated_low, self.low)

    @property
    def p_high(self) -> Fraction:
        """How probably it would be the high one as often."""
        return odd_tail(self.stated_high, self.high)


def _counts(tally: Tally) -> tuple[int, ...]:
    return tally.pictures, tally.low, tally.stated_low, tally.high, tally.stated_high


def tally(
    stated: Sequence[Residual], again: Sequence[tuple[Residual, Residual]], lowest: Fraction
) -> Tally:
    """Count the pictures of which one search stands out.

    Args:
        stated: smallest residual of each picture, as signed.
        again: of the verifier's two searches of each.
        lowest: smaller residuals count as this.

    """
    found = Tally()
    for first, others in zip(stated, again, strict=True):
        values = [max(value, lowest) for value in (first, *others)]
        smallest, middle, largest = sorted(values)
        low, high = CLEAR * smallest < middle, CLEAR * middle < largest
        found += Tally(
            pictures=1,
            low=int(low),
            stated_low=int(low and values[0] == smallest),
            high=int(high),
            stated_high=int(high and values[0] == largest),
        )
    return found


def odd_tail(k: int, m: int) -> Fraction:
    """Return P(X >= k), X binomial with m trials and chance 1/3.

    So often one of three exchangeable searches is the one that stands out, in m pictures in which
    one does. Two that are copies of each other stand out less often, never more.

    Raises:
        StatisticsError: unless 0 <= k <= m.

    """
    if not 0 <= k <= m:
        raise StatisticsError("an impossible count", expected=f"0 to {m}", found=str(k))
    ways = sum(math.comb(m, i) * (SEARCHES - 1) ** (m - i) for i in range(k, m + 1))
    return Fraction(ways, SEARCHES**m)


@dataclass(frozen=True)
class FreshTests:
    """Own outputs of the verifier's draw in one family, against what was stated.

    Attributes:
        count, denied: fresh outputs, and those that the stated controls deny.
        stated, stated_denied: likewise of the signer's.
        p_denied: probability of as many denials or more among the fresh ones, if both are alike.
        p_own: of their residuals being so much larger than the signer's own outputs'.
        p_controls: of as many fresh ones being clearly not found, given how many controls are.

    """

    count: int
    denied: int
    stated: int
    stated_denied: int
    p_denied: Fraction
    p_own: Fraction
    p_controls: Fraction


def fresh_tests(
    fresh: Sequence[Residual], own: Sequence[Residual], rule: FamilyRule, lowest: Fraction
) -> FreshTests:
    """Test fresh own outputs of one family against the stated own outputs and controls.

    Exact for exchangeable residuals, one-sided towards harder fresh outputs: hypergeometric for
    counts, and Kolmogorov-Smirnov for all residuals of own outputs, where ties err on passing.
    """
    cut = CLEAR * lowest

    def raised(values: Sequence[Residual]) -> list[Residual]:
        return [max(value, lowest) for value in values]

    m, n = len(fresh), len(own)
    lost, controls_lost = (sum(v > cut for v in values) for values in (fresh, rule.residuals))
    denied, stated_denied = (sum(map(rule.denies, values)) for values in (fresh, own))
    return FreshTests(
        count=m,
        denied=denied,
        stated=n,
        stated_denied=stated_denied,
        p_denied=hypergeometric_tail(denied, m, stated_denied, n),
        p_own=excess_tail(largest_excess(raised(fresh), raised(own)), m, n),
        p_controls=hypergeometric_tail(lost, m, controls_lost, len(rule.residuals)),
    )


def paired_level() -> Fraction:
    """Return the level of each test of pairs: together half of what there is (Bonferroni)."""
    return (1 - Fraction(CONFIDENCE)) / 2 / PAIRED_TESTS


def fresh_level(families: int) -> Fraction:
    """Return the level of each test of fresh outputs in so many families: the other half."""
    return (1 - Fraction(CONFIDENCE)) / 2 / (FRESH_TESTS * families)
