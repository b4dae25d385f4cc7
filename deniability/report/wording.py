"""How a finding is told, the same after `prove`, after `verify` and on a page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from deniability.report.deployment import NOT_SHOWN, deployment_line
from deniability.verify.chain import Dating
from deniability.wire.edits import WORDS
from deniability.wire.exclusion import Exclusion, FamilyFinding

_NARROWED = "the search was narrowed by whoever made it; other handling was not examined than"
if TYPE_CHECKING:
    from deniability.verify.bundle import VerifiedBundle
    from deniability.verify.deployment import Deployment

_UNDATED = "registered after the accusation, or undated"
#: What a bundle without chain, timestamps and beacon does not show.
CAVEATS = (
    NOT_SHOWN,
    f"{_UNDATED}: no timestamp by an authority that you trust shows when",
    "seeds could have been ground: no public beacon entered them",
)
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_HANDLING = {"lossless": "pixels stored without loss", "jpeg": "saved once as JPEG"}


def caveats(
    dating: Dating,
    *,
    accused_at: datetime | None = None,
    deployment: Deployment | None = None,
    narrowed: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Return what is said near the top of every answer: narrowing, deployment, date and seeds.

    Args:
        dating: what the bundle shows, to this verifier.
        accused_at: when the accusation was made, as the verifier says.
        deployment: what the binding shows that the bundle cites, if it cites one.
        narrowed: families of handling that the search was narrowed to, if it was.

    """
    said = (deployment_line(deployment), _date(dating, accused_at), _seeds(dating))
    return said if narrowed is None else (f"{_NARROWED}: {', '.join(narrowed)}", *said)


def candidates_caveats(
    bundles: Sequence[VerifiedBundle], *, accused_at: datetime | None = None
) -> tuple[str, ...]:
    """Return the same of every candidate of an attribution; what is not of all says of which."""
    said: dict[str, list[int]] = {}
    for index, bundle in enumerate(bundles):
        lines = caveats(
            bundle.dating,
            accused_at=accused_at,
            deployment=bundle.deployment,
            narrowed=bundle.exclusion.narrowed,
        )
        for line in lines:
            said.setdefault(line, []).append(index + 1)
    return tuple(
        line if len(which) == len(bundles) else f"model {', '.join(map(str, which))}: {line}"
        for line, which in said.items()
    )


def candidate_line(exclusion: Exclusion) -> str:
    """Return in a line what an attribution found of one of its models."""
    (family, *_) = exclusion.finding.families
    failed = [gate.name for gate in family.gates if not gate.passed]
    unmet = exclusion.finding.verdict == "inconclusive" and failed
    return (
        f"sha256:{exclusion.model.digest}: {exclusion.finding.verdict} (residual "
        f"{family.statistic or 'infinite'}, p = {family.p.numerator}/{family.p.denominator}, "
        f"protocol {exclusion.protocol.name}"
        + (f"; not met: {', '.join(failed)})" if unmet else ")")
    )


def _date(dating: Dating, accused_at: datetime | None) -> str:
    which = "" if dating.number is None else f" (registration {dating.number} of {dating.count})"
    if dating.time is None:
        return CAVEATS[1] + which
    shown = f"{dating.time:{_TIME}}"
    if accused_at is None:
        return (
            f"{_UNDATED}, as far as was asked: a timestamp shows it at {shown}{which}; give the "
            "accusation's time with --accused-at"
        )
    if dating.time < accused_at:
        return (
            f"registered before the accusation of {accused_at:{_TIME}}: a timestamp shows it at "
            f"{shown}{which}"
        )
    return f"{_UNDATED}: a timestamp shows it only at {shown}{which}"


def _seeds(dating: Dating) -> str:
    beacon = dating.beacon
    if beacon is None:
        return CAVEATS[2]
    name = f"{beacon.source} round {beacon.round}"
    if not dating.named_beforehand:
        return f"seeds could have been ground: nothing shows that {name} was named before its time"
    tries = "" if dating.intents == 1 else f"; {dating.intents} rounds were named for these weights"
    return f"seeds from {name}, which was named at {dating.named:{_TIME}}, before its time{tries}"


def numbers(exclusion: Exclusion) -> list[tuple[str, str]]:
    """Return the tier and the numbers behind a finding, each with its name."""
    finding = exclusion.finding
    rows = [("tier", f"{finding.tier} (protocol {exclusion.protocol.name})")]
    if len(finding.families) > 1:
        reached = len(finding.families) if finding.reached is None else finding.reached.family or 0
        rows += [
            ("family", _in_a_line(family, decided=reached < number))
            for number, family in enumerate(finding.families)
        ]
    else:
        rows += _family(finding.families[0], undecided=finding.verdict == "inconclusive")
    if finding.reached is not None:
        edit = finding.families[finding.reached.family or 0].edit
        rows.append(
            (
                "shown by",
                f"the latent of restart {finding.reached.restart}"
                + ("" if edit is None else f", {WORDS[edit]}"),
            )
        )
    return rows


def _in_a_line(family: FamilyFinding, *, decided: bool) -> str:
    """Return the numbers of one of many families, in the order in which the rule takes them.

    `decided` says that an earlier family has reached the picture.
    """
    if decided and family.statistic is None:
        return f"{family.edit or 'unedited'}: not searched, the picture is reached already"
    failed = [gate.name for gate in family.gates if not gate.passed]
    return (
        f"{family.edit or 'unedited'}: {family.k} of {family.n} controls as far or farther, "
        f"residual {family.statistic or 'infinite'} where {family.margin or 'infinity'} counts as "
        f"different, {family.recovered} found again; "
        + (f"not met: {', '.join(failed)}" if failed else "excluded")
    )


def _family(family: FamilyFinding, *, undecided: bool) -> list[tuple[str, str]]:
    failed = [gate.reason for gate in family.gates if not gate.passed] if undecided else []
    return [
        (
            "handling",
            f"{family.family}: {_HANDLING[family.family]}"
            + ("" if family.edit is None else f"; before that {WORDS[family.edit]}"),
        ),
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
    model: str | Sequence[str] | None = None,
) -> str:
    """Return the `deny verify` to hand over, quoted for a shell; several models are repeated."""
    words = ["deny", "verify", str(bundle), "--key", str(key or "SIGNER.pub.pem")]
    if image is not None:
        words += ["--image", str(image)]
    for name in [model] if isinstance(model, str) else model or ():
        words += ["--model", name]  # nobody is told to run a stranger's model without isolation
    return shlex.join(words)
