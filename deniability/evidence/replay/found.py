"""What level V2 found, in numbers, sentences and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from deniability.stats.binomial import decimal_down, decimal_up
from deniability.wire.edits import HandlingName
from deniability.wire.numbers import decimal_string


@dataclass(frozen=True)
class FamilySearch:
    """What V2 found of one family of handling.

    Attributes:
        family: which.
        prover_residual: the bundle's statistic.
        best: the smallest residual that the verifier's search reached, None if none was finite.
        restarts: that the verifier ran on the accused picture.
        fresh: fresh controls.
        extreme: those with a residual at least the accused's.
        recovered: those found again.
        probed, alone: fresh controls also searched for without the prover's encoder, and those
            found so: what an independent search like this one can see.
        pooled_bound: Clopper-Pearson bound over the bundle's and the fresh controls together.

    """

    family: HandlingName
    prover_residual: str | None
    best: float | None
    restarts: int
    fresh: int
    extreme: int
    recovered: int
    probed: int
    alone: int
    pooled_bound: Fraction

    @property
    def ratio(self) -> float:
        """The smallest residual in units of the bundle's."""
        if self.best is None or self.prover_residual is None:
            return float("inf")
        claimed = float(self.prover_residual)
        return self.best / claimed if claimed else 1.0

    @property
    def found(self) -> str:
        """The smallest residual, in words."""
        return "nothing finite" if self.best is None else f"{self.best:.5e}"

    def numbers(self) -> dict[str, object]:
        """Return what JSON says of it."""
        return {
            "restarts": self.restarts,
            "best": None if self.best is None else decimal_string(self.best),
            "proverResidual": self.prover_residual,
            "extreme": self.extreme,
            "recovered": self.recovered,
            "probedWithoutEncoder": self.probed,
            "foundWithoutEncoder": self.alone,
            "pooledUpperBound": decimal_up(self.pooled_bound, 6),
        }


@dataclass(frozen=True)
class SearchReplay(FamilySearch):
    """What V2 found: of the first family, and what is the same for all.

    Attributes:
        detection: probability with which a hidden tail of size alpha would have shown.
        alpha: the protocol's.
        handled: further families.
        enough: whether `fresh` is at least 3 / alpha.

    """

    detection: Fraction
    alpha: str
    handled: tuple[FamilySearch, ...] = ()

    @property
    def enough(self) -> bool:
        """Whether there were as many fresh controls as a full check takes."""
        return self.fresh * Fraction(self.alpha) >= 3

    @property
    def lines(self) -> tuple[str, ...]:
        """Say what was checked, in sentences."""
        verdict = (
            "This is a full check."
            if self.enough
            else f"A full check takes {-(-3 // Fraction(self.alpha))} fresh controls."
        )
        return (
            *(self._of_all() if self.handled else self._of_one()),
            f"A hidden tail of size {self.alpha} would have shown with probability "
            f"{decimal_down(self.detection, 4)}. {verdict}",
        )

    def _of_one(self) -> tuple[str, ...]:
        return (
            f"{self.restarts} restarts on the accused picture, from the prover's seeds and from "
            f"own prior draws, reached {self.found}; the bundle says {self.prover_residual}.",
            f"Own prior draws alone, without the prover's encoder, found {self.alone} of "
            f"{self.probed} fresh controls: that is how well they would have found the picture.",
            f"{self.fresh} fresh controls by this verifier's randomness: {self.recovered} found "
            f"again, {self.extreme} with a residual as large as the accused's; together with the "
            f"bundle's the bound is {decimal_up(self.pooled_bound, 6)} (allowed {self.alpha}).",
        )

    def _of_all(self) -> tuple[str, ...]:
        """Say of every number the family in which it speaks most against the bundle."""
        families: tuple[FamilySearch, ...] = (self, *self.handled)
        lowest = min(families, key=lambda one: one.ratio)
        hardest = min(families, key=lambda one: one.alone)
        lost = min(families, key=lambda one: one.recovered)
        worst = max(families, key=lambda one: one.pooled_bound)
        return (
            f"{sum(one.restarts for one in families)} restarts on the accused picture, from the "
            f"prover's seeds and from own prior draws, over {len(families)} families of handling; "
            f"lowest against the bundle in {lowest.family}: {lowest.found}, where it says "
            f"{lowest.prover_residual}.",
            "Own prior draws alone, without the prover's encoder, found at least "
            f"{hardest.alone} of {hardest.probed} fresh controls of each family (fewest in "
            f"{hardest.family}): that is how well they would have found the picture.",
            f"{self.fresh} fresh controls of each family by this verifier's randomness: at least "
            f"{lost.recovered} found again (fewest in {lost.family}), at most "
            f"{max(one.extreme for one in families)} with a residual as large as the accused's; "
            "together with the bundle's the bound is at most "
            f"{decimal_up(worst.pooled_bound, 6)} (allowed {self.alpha}).",
        )

    def to_json(self) -> dict[str, object]:
        """Return the same as JSON: the first family's numbers, and below `handled` the others'."""
        found: dict[str, object] = {
            "level": "v2",
            "freshControls": self.fresh,
            **self.numbers(),
            "detectionProbability": decimal_down(self.detection, 6),
            "fullCheck": self.enough,
        }
        if self.handled:
            found["handled"] = [{"family": one.family, **one.numbers()} for one in self.handled]
        return found
