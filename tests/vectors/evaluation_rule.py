"""What follows from the residuals of an evaluation, written from section 22 of SPEC.md alone.

As the other numbers of these vectors, they are not computed by the code that they test.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import comb, factorial, inf
from typing import Any

from vector_parts import ROOT, independent

Predicate = dict[str, Any]
CONFIDENCE = Fraction(95, 100)
_SPEC = (ROOT / "schemas" / "SPEC.md").read_text("utf-8")


def block(name: str) -> dict[str, str]:
    """Return the lines of a fenced block of the specification by what stands before the colon."""
    found = re.search(rf"^```{name}\n(.*?)^```$", _SPEC, re.DOTALL | re.MULTILINE)
    assert found is not None, name
    return dict(line.split(": ", 1) for line in found[1].splitlines())


#: Closeness and words by name, numbered groups as `other-N`.
GROUPS = {
    head.split(" ")[0]: (head.split("(")[1].rstrip(")"), how)
    for head, how in block("evaluation-groups").items()
}
WORDS, SCOPE = block("evaluation"), block("evaluation-scope")


def about(name: str) -> dict[str, str]:
    """Return the closeness of a group and the words on it."""
    closeness, how = GROUPS[name if name in GROUPS else re.sub(r"[0-9]+$", "N", name)]
    return {"closeness": closeness, "how": how}


def _number(residual: str | None) -> Fraction | float:
    return inf if residual in {None, "notFinite"} else Fraction(residual)


def _up(value: Fraction) -> str:
    millionths = -(-value.numerator * 10**6 // value.denominator)
    return f"{millionths // 10**6}.{millionths % 10**6:06d}"


def _down(value: Fraction) -> str:
    millionths = value.numerator * 10**6 // value.denominator
    return f"{millionths // 10**6}.{millionths % 10**6:06d}"


class Rule:
    """The rule of one family: section 22, *The rule of one family*."""

    def __init__(self, predicate: Predicate, family: Predicate) -> None:
        """Read it from the family's controls."""
        protocol, controls = predicate["protocol"], family["controls"]
        records, n = controls["controls"], len(controls["controls"])
        truths, residuals = (independent.numbers(records, name) for name in ("truth", "residual"))
        limit = independent.threshold(truths, protocol, controls["kind"])
        lossless = controls["kind"]["family"] == "lossless"
        floor = max([independent.FLOOR * lossless, *(t for t in truths if t is not None)])
        allowance = independent.largest(independent.numbers(controls["mismatches"], "residual"))
        missing = [t for t in truths if t is None]
        percentile = independent.percentile99(residuals)
        margin = independent.largest([floor, allowance, percentile, *missing])
        recovered = sum(
            s is not None
            and t is not None
            and s <= max(t, limit) + Fraction(protocol["resolution"])
            for s, t in zip(residuals, truths, strict=True)
        )
        sound = (
            n == protocol["controls"]
            and None not in truths
            and recovered >= Fraction(protocol["recall"]) * n
            and predicate["generator"]["format"] != "diffusers"
        )
        alpha, confidence = Fraction(protocol["alpha"]), Fraction(protocol["confidence"])
        passing = [k for k in range(n) if independent.bounded(k, n, alpha, confidence)]
        self.allowed = max(passing, default=-1) if sound else -1
        self.margin = inf if margin is None else Fraction(protocol["kappa"]) * margin
        self.reached = min(limit, Fraction(independent.decimal(independent.FLOOR)))
        self.controls = [inf if s is None else s for s in residuals]

    def denies(self, s: Fraction | float) -> bool:
        """Tell whether a residual is denied."""
        beyond = sum(c >= s for c in self.controls)
        return inf > s >= self.margin and s > self.reached and beyond <= self.allowed


def results(predicate: Predicate, family: Predicate, number_of_families: int) -> None:
    """Compute what follows in one family."""
    rule = Rule(predicate, family)
    own = [_number(text) for text in family["groups"][0]["residuals"]]
    for group in family["groups"]:
        found = [_number(text) for text in group["residuals"]]
        n, denied = len(found), sum(map(rule.denies, found))
        upper = independent.upper_bound(n - denied, n, CONFIDENCE)
        group |= {
            "denied": denied,
            "reached": sum(s <= rule.reached for s in found),
            "atMost": independent.upper_bound(denied, n, CONFIDENCE),
            "atLeast": _down(1 - Fraction(upper)),
        }
        if group["group"] != "own":
            pairs = [Fraction((o < s) - (o > s) + 1, 2) for o in own for s in found]
            group["auc"] = _down(sum(pairs) / len(pairs))
    level = (1 - CONFIDENCE) / number_of_families
    family["shared"] = _shared(rule, family["groups"][0]["denied"], len(own), level)
    family["uniform"] = _uniform(rule, own, level)


def _beta(a: int, b: int) -> Fraction:
    return Fraction(factorial(a - 1) * factorial(b - 1), factorial(a + b - 1))


def _shared(rule: Rule, denied: int, m: int, level: Fraction) -> Predicate:
    if rule.allowed < 0:
        p, critical = Fraction(denied == 0), 0
    else:
        a, b = rule.allowed + 1, len(rule.controls) - rule.allowed
        chance = [comb(m, x) * _beta(x + a, m - x + b) / _beta(a, b) for x in range(m + 1)]
        p = sum(chance[denied:], Fraction(0))
        critical = next(c for c in range(m + 1) if sum(chance[c + 1 :]) <= level)
    return {
        "allowed": rule.allowed,
        "critical": critical,
        "p": _up(p),
        "passed": denied <= critical,
    }


def _uniform(rule: Rule, own: list[Fraction | float], level: Fraction) -> Predicate:
    m, n = len(own), len(rule.controls)
    excess = max(
        Fraction(sum(s >= t for s in own), m) - Fraction(sum(s >= t for s in rule.controls), n)
        for t in (*own, *rule.controls)
    )
    ways = {(0, 0): 1}  # orders of the largest i + j values in which it was never as large
    for i in range(m + 1):
        for j in range(n + 1):
            small = Fraction(i, m) - Fraction(j, n) < excess
            if i + j and small:
                ways[i, j] = ways.get((i - 1, j), 0) + ways.get((i, j - 1), 0)
    orders = comb(m + n, m)
    p = Fraction(1) if excess <= 0 else Fraction(orders - ways.get((m, n), 0), orders)
    return {"excess": _up(excess), "p": _up(p), "passed": p > level}


def scope(predicate: Predicate) -> list[str]:
    """Return the lines of the scope."""
    near = [g["name"] for g in predicate["groups"] if g["closeness"] == "near"]
    chosen = any(g["name"].startswith(("other-", "nonmembers-")) for g in predicate["groups"])
    names = [
        *("signers-word", "rate", "families", "near" if near else "none near", "strangers"),
        *("chosen" if chosen else "none chosen", "examined"),
        *(["narrowed"] if "narrowed" in predicate else []),
    ]
    values = {
        "near": ", ".join(near),
        "n": str(len(predicate["families"])),
        "narrowed": ", ".join(predicate.get("narrowed", [])),
    }
    return [_filled(SCOPE[name], values) for name in names]


def result(predicate: Predicate) -> Predicate:
    """Return the result that follows from the families."""
    own = [family["groups"][0] for family in predicate["families"]]
    found = {
        "own": sum(len(group["residuals"]) for group in own),
        "denied": sum(group["denied"] for group in own),
        "atMost": max((group["atMost"] for group in own), key=Fraction),
        "promiseHeld": all(family["shared"]["passed"] for family in predicate["families"]),
        "uniform": all(family["uniform"]["passed"] for family in predicate["families"]),
    }
    values = {
        "digest": predicate["model"]["digest"],
        "protocol": predicate["protocol"]["name"],
        "own": str(found["own"]),
        "families": str(len(own)),
        "denied": str(found["denied"]),
        "worst": found["atMost"],
        "promise": WORDS["promise"].split(", or ")[not found["promiseHeld"]],
        "alpha": predicate["protocol"]["alpha"],
        "values": WORDS["values"].split(", or ")[not found["uniform"]],
    }
    return found | {"sentence": _filled(WORDS["sentence"], values)}


def _filled(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\{([a-z]+)\}", lambda match: values[match[1]], text)
