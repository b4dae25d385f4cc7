"""How a finding is told, the same after `prove`, after `verify` and on a page."""

from __future__ import annotations

import shlex
from pathlib import Path

from deniability.wire.exclusion import Exclusion, FamilyFinding

#: What no bundle of this version shows, said near the top of every answer.
CAVEATS = (
    "deployment not verified: nothing shows that the registered model is the one in service",
    "registration undated; seeds could have been ground",
)
_HANDLING = {"lossless": "pixels stored without loss", "jpeg": "saved once as JPEG"}


def numbers(exclusion: Exclusion) -> list[tuple[str, str]]:
    """Return the tier and the numbers behind a finding, each with its name."""
    finding = exclusion.finding
    rows = [("tier", f"{finding.tier} (protocol {exclusion.protocol.name})")]
    for family in finding.families:
        rows += _family(family, undecided=finding.verdict == "inconclusive")
    if finding.reached is not None:
        rows.append(("shown by", f"the latent of restart {finding.reached.restart}"))
    return rows


def _family(family: FamilyFinding, *, undecided: bool) -> list[tuple[str, str]]:
    failed = [gate.reason for gate in family.gates if not gate.passed] if undecided else []
    return [
        ("handling", f"{family.family}: {_HANDLING[family.family]}"),
        (
            "controls",
            f"{family.k} of {family.n} lie at least as far as the accused "
            f"(p = {family.p.numerator}/{family.p.denominator}); "
            f"upper bound {family.upper_bound} of allowed {family.alpha}",
        ),
        (
            "residual",
            f"{family.statistic or 'infinite'}; reached at {family.threshold} or less, "
            f"different from {family.margin or 'infinity'} on",
        ),
        ("recall", f"{family.recovered} of {family.n} controls were found again"),
        *(("not met", reason) for reason in failed),
    ]


def verify_command(
    bundle: Path | str,
    *,
    key: Path | str | None,
    image: Path | str | None = None,
    model: str | None = None,
) -> str:
    """Return the `deny verify` to hand over, quoted for a shell."""
    words = ["deny", "verify", str(bundle), "--key", str(key or "SIGNER.pub.pem")]
    if image is not None:
        words += ["--image", str(image)]
    if model is not None:
        words += ["--model", model, "--trust-model"]
    return shlex.join(words)
