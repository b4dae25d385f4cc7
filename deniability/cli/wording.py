"""How a finding is told on a terminal, the same after `prove` and after `verify`."""

from __future__ import annotations

import shlex
from pathlib import Path

from deniability.wire.exclusion import Exclusion, FamilyFinding

#: Exit codes of `prove` by verdict (DESIGN section 6).
VERDICT_CODES = {"excluded": 0, "reached": 10, "inconclusive": 11}
#: What no bundle of this version shows, said near the top of every answer.
CAVEATS = (
    "deployment not verified: nothing shows that the registered model is the one in service",
    "registration undated; seeds could have been ground",
)
_NUMBERS = {"lossless": "pixels stored without loss", "jpeg": "saved once as JPEG"}


def number_lines(exclusion: Exclusion) -> list[str]:
    """Return the tier and the numbers behind a finding, a line for each."""
    finding = exclusion.finding
    lines = [f"tier         {finding.tier} (protocol {exclusion.protocol.name})"]
    for family in finding.families:
        lines += _family_lines(family, undecided=finding.verdict == "inconclusive")
    if finding.reached is not None:
        lines.append(f"shown by     the latent of restart {finding.reached.restart}")
    return lines


def _family_lines(family: FamilyFinding, *, undecided: bool) -> list[str]:
    p = f"{family.p.numerator}/{family.p.denominator}"
    failed = [gate.reason for gate in family.gates if not gate.passed] if undecided else []
    return [
        f"handling     {family.family}: {_NUMBERS[family.family]}",
        f"controls     {family.k} of {family.n} lie at least as far as the accused (p = {p}); "
        f"upper bound {family.upper_bound} of allowed {family.alpha}",
        f"residual     {family.statistic or 'infinite'}; reached at {family.threshold} or less, "
        f"different from {family.margin or 'infinity'} on",
        f"recall       {family.recovered} of {family.n} controls were found again",
        *(f"not met      {reason}" for reason in failed),
    ]


def verify_command(
    bundle: Path,
    *,
    key: Path | None,
    image: Path | None = None,
    model: str | None = None,
) -> str:
    """Return the `deny verify` to hand over, quoted for a shell."""
    words = ["deny", "verify", str(bundle), "--key", str(key or "SIGNER.pub.pem")]
    if image is not None:
        words += ["--image", str(image)]
    if model is not None:
        words += ["--model", model, "--trust-model"]
    return shlex.join(words)
