"""Findings that do not follow from the numbers: stage statistics."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import vector_parts as v
from vector_cases import add


def changed(change: Callable[[dict[str, Any]], Any], verdict: str) -> bytes:
    content = v.statement(verdict)
    change(content["predicate"])
    return v.sign(v.mend(content, keep=tuple(p for p in v.MENDED if p != "root")))


def refused(
    name: str,
    about: str,
    change: Callable[[dict[str, Any]], Any],
    *,
    verdict: str = "excluded",
    says: str = "finding",
) -> None:
    add("statistics", name, about, functools.partial(changed, change, verdict), says=says)


def family(p: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = p["finding"]["families"][0]
    return found


def control(p: dict[str, Any], index: int) -> dict[str, Any]:
    found: dict[str, Any] = p["controls"]["controls"][index]
    return found


for name, value in (
    ("n", 98),
    ("k", 0),
    ("alpha", "0.01"),
    ("upperBound", "0.000001"),
    ("p", {"numerator": 1, "denominator": 100}),
    ("p-not-lowest", {"numerator": 2, "denominator": 100}),
    ("statistic", "9.00000e-01"),
    ("threshold", "2.00000e-09"),
    ("percentile99", "0"),
    ("floor", "0"),
    ("allowance", "0"),
    ("margin", "0"),
    ("recovered", 99),
    ("family", "jpeg"),
):
    field = name.split("-")[0]
    refused(
        f"number-{name.lower()}",
        f"{field} is not what follows.",
        lambda p, n=field, x=value: family(p).update({n: x}),
        says=field,
    )
for name in ("statistic", "percentile99", "allowance", "margin"):
    refused(
        f"number-{name.lower()}-missing",
        f"{name} left out.",
        lambda p, n=name: family(p).pop(n),
        says=name,
    )
refused(
    "residual-inflated",
    "The smallest residual raised, the root mended.",
    lambda p: p["restarts"][0].update(residual="9.00000e-01"),
)
refused(
    "residual-lowered",
    "A residual lowered by its signer.",
    lambda p: p["restarts"][0].update(residual="1.00000e-02"),
)
refused(
    "residuals-of-an-inconclusive-inflated",
    "Just below the margin, raised to it.",
    lambda p: [r.update(residual="8.00000e-05") for r in p["restarts"]],
    verdict="inconclusive",
)
refused(
    "restart-without-result",
    "A residual left out as not finite.",
    lambda p: (
        p["restarts"][0].pop("residual"),
        p["restarts"][0].pop("distance"),
        p["restarts"][0].update(stop="nonFinite"),
    ),
)
refused(
    "control-hard-made-easy",
    "The control that was not found, found.",
    lambda p: control(p, 7).update(residual="0", best=0, restarts=1, latent="0" * 64),
)
refused(
    "control-easy-made-hard",
    "An accuser's control raised above the accused.",
    lambda p: control(p, 9).update(residual="9.00000e-01", restarts=12),
)
refused(
    "control-without-result",
    "A control's residual left out.",
    lambda p: (
        control(p, 9).pop("residual"),
        control(p, 9).pop("best"),
        control(p, 9).pop("latent"),
        control(p, 9).update(restarts=12),
    ),
)
refused(
    "truth-raised",
    "A truth raised: a higher floor.",
    lambda p: control(p, 9).update(truth="1.00000e-03"),
)
refused(
    "truth-missing",
    "A truth left out: the margin is infinite.",
    lambda p: control(p, 9).pop("truth"),
)
refused(
    "mismatch-lowered",
    "The largest mismatch lowered.",
    lambda p: p["controls"]["mismatches"][12].update(residual="0"),
    says="allowance",
)
refused(
    "mismatch-raised",
    "A mismatch raised.",
    lambda p: p["controls"]["mismatches"][0].update(residual="1.00000e-02"),
    says="allowance",
)
refused(
    "mismatch-missing",
    "A mismatch without residual.",
    lambda p: p["controls"]["mismatches"][0].pop("residual"),
    says="allowance",
)
refused(
    "caution-added",
    "A caution, in spite of which it is excluded.",
    lambda p: p["accused"].update(cautions=["restart intervals"]),
)


def claim(verdict: str, **other: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda p: p["finding"].update(verdict=verdict, **other)


for verdict in ("excluded", "inconclusive", "reached"):
    for claimed in ("excluded", "inconclusive", "reached"):
        if claimed == verdict:
            continue
        refused(
            f"verdict-{verdict}-called-{claimed}",
            "The verdict edited.",
            claim(claimed),
            verdict=verdict,
            says="finding",
        )

        def whole(p: dict[str, Any], claimed: str = claimed) -> None:
            p["finding"] = v.statement(claimed)["predicate"]["finding"]

        refused(
            f"finding-of-{claimed}-in-{verdict}",
            "The whole finding of another bundle.",
            whole,
            verdict=verdict,
        )
refused("tier", "The tier that promises more.", lambda p: p["finding"].update(tier="reached"))
refused(
    "sentence-innocent",
    "A sentence of one's own.",
    lambda p: p["finding"].update(sentence="The picture is authentic; the accused is innocent."),
    says="sentence",
)
refused(
    "sentence-one-word",
    "The word not, left out.",
    lambda p: p["finding"].update(sentence=p["finding"]["sentence"].replace(" not an", " an")),
    says="sentence",
)
refused(
    "sentence-other-model",
    "The digest of another model in the sentence.",
    lambda p: p["finding"].update(
        sentence=p["finding"]["sentence"].replace(p["model"]["digest"], "0" * 64)
    ),
    says="sentence",
)
refused(
    "gate-passed",
    "A gate that failed, passed.",
    lambda p: [g.update(passed=True) for g in family(p)["gates"]],
    verdict="inconclusive",
    says="gates",
)
refused(
    "gate-failed",
    "A gate that passed, failed.",
    lambda p: family(p)["gates"][2].update(passed=False),
    says="gates",
)
refused(
    "gate-reason",
    "Another reason.",
    lambda p: family(p)["gates"][4].update(reason="all is well"),
    says="gates",
)
refused("gate-missing", "A gate left out.", lambda p: family(p)["gates"].pop(1), says="gates")
refused(
    "gate-twice",
    "A gate in place of another.",
    lambda p: family(p)["gates"].__setitem__(1, family(p)["gates"][0]),
    says="gates",
)
refused(
    "gates-reordered", "In another order.", lambda p: family(p)["gates"].reverse(), says="gates"
)
refused(
    "second-family",
    "A family beside the one that was tested.",
    lambda p: p["finding"]["families"].append(family(p) | {"family": "jpeg"}),
    says="families",
)
refused(
    "reached-missing",
    "Reached, but not by which restart.",
    lambda p: p["finding"].pop("reached"),
    verdict="reached",
    says="reached",
)
refused(
    "reached-other-restart",
    "Reached by another restart.",
    lambda p: p["finding"]["reached"].update(restart=0),
    verdict="reached",
    says="restart",
)
refused(
    "reached-beside-excluded",
    "A latent that reached, beside excluded.",
    lambda p: p["finding"].update(reached={"restart": 0, "pixelForPixel": True}),
    says="reached",
)
refused(
    "pixel-for-pixel-not-in-sentence",
    "Another claim than the sentence's.",
    lambda p: p["finding"]["reached"].update(pixelForPixel=False),
    verdict="reached",
    says="sentence",
)
