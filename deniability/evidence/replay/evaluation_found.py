"""What level V2 of an evaluation found, in numbers, sentences and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from deniability.stats.binomial import (
    decimal_down,
    decimal_up,
    detection_probability,
    upper_bound,
)
from deniability.stats.replication import CLEAR, FreshTests, Tally

Encoder = Literal["registered", "trained-anew", "none"]
_FROM: dict[Encoder, str] = {
    "registered": "The searches had the registration's encoder.",
    "trained-anew": "The searches had an encoder that was trained anew here, as the procedure says "
    "and from its derived seed: the registration was not brought.",
    "none": "The procedure has no encoder; the searches began as it says.",
}


@dataclass(frozen=True)
class EvaluationSearch:
    """What V2 found.

    Attributes:
        count: pictures of each group, controls, and fresh own outputs, at most, in each family.
        own, controls, strangers: pictures that were searched for again, over all families.
        fresh: by family.
        alpha: the protocol's.
        encoder: where that of the searches came from.
        left_out: groups that could not be made here, and why.

    """

    count: int
    own: Tally
    controls: Tally
    strangers: Tally
    fresh: Mapping[str, FreshTests]
    alpha: str
    encoder: Encoder
    left_out: Mapping[str, str]

    @property
    def detection(self) -> Fraction:
        """How probably a hidden rate of denials of alpha shows as one, in each family."""
        return detection_probability(self.count, Fraction(self.alpha))

    @property
    def enough(self) -> bool:
        """Whether there were as many fresh outputs as a full check takes."""
        return self.count * Fraction(self.alpha) >= 3

    @property
    def worst(self) -> Fraction:
        """Largest bound of any family on own outputs denied, stated and fresh together."""
        return max(pooled_bound(one) for one in self.fresh.values())

    @property
    def lines(self) -> tuple[str, ...]:
        """Say what was checked, in sentences."""
        every = self.own + self.controls + self.strangers
        fresh = self.fresh.values()
        full = (
            "This is a full check."
            if self.enough
            else f"A full check takes {-(-3 // Fraction(self.alpha))} in each family."
        )
        left = "; ".join(f"{name}: {why}" for name, why in self.left_out.items())
        return (
            f"{self.own.pictures} own outputs, {self.controls.pictures} controls and "
            f"{self.strangers.pictures} outputs or pictures of others, drawn by this verifier from "
            f"{len(self.fresh)} families, were searched for again, once from the evaluation's "
            "seeds and once from own ones.",
            f"One of the three searches ended clearly (by a factor of {CLEAR}) below the others "
            f"for {every.low} of them, in {every.stated_low} the evaluation's; clearly above for "
            f"{every.high}, in {every.stated_high} the evaluation's: no more often than by chance.",
            f"{sum(one.count for one in fresh)} fresh own outputs by this verifier's randomness: "
            f"{sum(one.denied for one in fresh)} denied, where the evaluation has "
            f"{sum(one.stated_denied for one in fresh)} of {sum(one.stated for one in fresh)}; "
            "together at most a share "
            f"{decimal_up(self.worst, 6)} is denied in any family (95 % confidence).",
            f"A hidden rate of denials of {self.alpha} in a family would have shown as a denial of "
            f"a fresh output with probability {decimal_down(self.detection, 4)}. {full}",
            _FROM[self.encoder],
            "Not checked: differences by less than that factor, or below what a control has at its "
            "true latent, and pictures that were not drawn"
            + (f"; and of groups, {left}" if left else "")[:1700]
            + ".",
        )

    def to_json(self) -> dict[str, object]:
        """Return the same as JSON."""
        return {
            "level": "v2",
            "count": self.count,
            "own": tally_json(self.own),
            "controls": tally_json(self.controls),
            "strangers": tally_json(self.strangers),
            "fresh": [
                {
                    "family": name,
                    "outputs": one.count,
                    "denied": one.denied,
                    "pDenied": decimal_up(one.p_denied, 6),
                    "pOwn": decimal_up(one.p_own, 6),
                    "pControls": decimal_up(one.p_controls, 6),
                    "pooledUpperBound": decimal_up(pooled_bound(one), 6),
                }
                for name, one in self.fresh.items()
            ],
            "detectionProbability": decimal_down(self.detection, 6),
            "fullCheck": self.enough,
            "encoder": self.encoder,
            "leftOut": sorted(self.left_out),
        }


def pooled_bound(one: FreshTests) -> Fraction:
    """Return the Clopper-Pearson bound on denials over stated and fresh own outputs."""
    return upper_bound(one.denied + one.stated_denied, one.count + one.stated)


def tally_json(tally: Tally) -> dict[str, object]:
    """Return the counts of a tally."""
    return {
        "pictures": tally.pictures,
        "low": tally.low,
        "statedLow": tally.stated_low,
        "high": tally.high,
        "statedHigh": tally.stated_high,
    }
