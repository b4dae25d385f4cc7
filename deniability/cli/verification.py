"""What `deny verify` was asked for, and what it has to say at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from deniability.cli.failure import UsageError
from deniability.cli.options import Device, ModelFlags
from deniability.cli.terminal import Output
from deniability.errors import UncheckedError

if TYPE_CHECKING:
    from deniability.verify.bundle import VerifiedBundle


class Level(StrEnum):
    """How far a bundle is checked (SPEC.md)."""

    V0 = "v0"
    V1 = "v1"
    V2 = "v2"


FIRST_LINES = {
    Level.V0: "authentic and consistent; the search was not re-run",
    Level.V1: "authentic and consistent; its latents were rendered again, the search was not "
    "re-run",
    Level.V2: "authentic and consistent; its latents were rendered again and the search was "
    "re-run in part",
}


@dataclass(frozen=True)
class VerificationRequest:
    """What the verifier brought, and asks for.

    Attributes:
        bundle, image, model, latents: files.
        flags: of the model.
        replay: fresh controls for V2.
        device: to run the model on.
        require: level below which it fails.
        vouched: whether examiners' attestations were brought, which may state more.
        trust_model: whether the model may be run without isolation.
        time_limit, memory_limit: of its process, in seconds and GiB; None: the usual ones.
        folders: of pictures of an evaluation.
        registration: that an evaluation names.

    """

    bundle: Path
    image: Path | None
    model: str | None
    latents: Path | None
    flags: ModelFlags
    replay: int | None
    device: Device
    require: Level
    vouched: bool = False
    trust_model: bool = False
    time_limit: int | None = None
    memory_limit: int | None = None
    folders: tuple[Path, ...] = ()
    registration: Path | None = None

    @property
    def level(self) -> Level:
        """The level that this reaches if all goes well."""
        if self.model is None:
            return Level.V0
        return Level.V1 if self.replay is None else Level.V2

    @property
    def unusual(self) -> bool:
        """Whether it is what nobody asks of a bundle, so that the file is looked at first."""
        return (
            (self.model is not None and self.image is None)
            or (self.replay is not None and self.model is None)
            or self.require > self.level
            or len(self.folders) > 1
            or self.registration is not None
        )


@dataclass
class VerificationReport:
    """What was and was not checked, in sentences, and as JSON; and what the bundle had to say."""

    checked: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    replays: list[dict[str, object]] = field(default_factory=list)
    borrowed: list[str] = field(default_factory=list)
    isolation: dict[str, object] | None = None
    #: When the accusation was made, as the verifier says.
    accused_at: datetime | None = None
    #: Notes for the first lines.
    warnings: list[str] = field(default_factory=list)
    #: What examiners state beyond what was checked here, as words, and all of it as JSON.
    attested: str | None = None
    attestation: dict[str, object] | None = None
    #: The attestation that was written.
    attested_to: str | None = None

    def add_withdrawals(self, given: int) -> None:
        """Say how many withdrawals were looked at."""
        if given:
            self.checked.append(f"None of the {given} withdrawals given takes it back.")
        else:
            self.unchecked.append(
                "Withdrawals were not looked at: none were given (--withdrawal); nothing in a "
                "bundle shows whether it was taken back."
            )


def check_request(request: VerificationRequest, require: Level, *, pictures: bool = True) -> None:
    """Refuse what cannot lead to the level asked for, before anything is looked at.

    `pictures`: whether V1 needs them, which that of an evaluation does not.
    """
    if pictures and request.model is not None and request.image is None:
        raise UsageError("V1 needs the picture too", where="--image", found="only --model")
    model = "--image and --model" if pictures else "--model"
    if request.replay is not None and request.model is None:
        raise UsageError(f"V2 needs {model}", where="--replay")
    if require > request.level and not request.vouched:
        both = "--image, --model and --replay N" if pictures else "--model and --replay N"
        needs = model if require is Level.V1 else both
        raise UncheckedError(
            f"level {require} cannot be reached with what was given",
            where="--require",
            expected=needs,
            found=f"enough for {request.level}",
        )


def tell(
    out: Output,
    level: Level,
    verified: VerifiedBundle,
    source: str,
    report: VerificationReport,
    *,
    evaluated: bool = False,
) -> None:
    """Print the first lines, what was and was not checked, and the scope.

    Args:
        out: where to.
        level: that was reached.
        verified: the bundle.
        source: of the trust in its signer, in words.
        report: what was and was not checked.
        evaluated: whether the known error rate was compared with its evaluation.

    """
    from deniability.report.error_rate import error_rate_line  # noqa: PLC0415
    from deniability.report.wording import caveats as caveats_of  # noqa: PLC0415
    from deniability.report.wording import numbers  # noqa: PLC0415

    exclusion = verified.exclusion
    finding = exclusion.finding
    first = FIRST_LINES[level]
    if report.attested is not None:
        checked = "authentic and consistent" if level is Level.V0 else first
        first = f"{checked}; {report.attested}; that was not checked here"
    out.line(first)
    out.line(finding.sentence)
    out.field("picture", f"{exclusion.accused.file.name}, sha256 {exclusion.accused.file.sha256}")
    out.field("signed by", f"key {verified.signer.keyid} ({source})")
    caveats = [
        *caveats_of(
            verified.dating,
            accused_at=report.accused_at,
            deployment=verified.deployment,
            narrowed=verified.exclusion.narrowed,
        ),
        *report.warnings,
    ]
    if report.borrowed:
        caveats.append(
            "taken from the bundle and not checked: the model's "
            + ", ".join(report.borrowed)
            + " (state them in generator.toml beside the model, or by options)"
        )
    for caveat in caveats:
        out.field("note", caveat)
    rate = error_rate_line(exclusion, compared=evaluated)
    out.field("error rate", rate, detail=exclusion.evaluation is None)
    for name, text in numbers(exclusion):
        out.field(name, text, detail=True)
    if report.attested_to is not None:
        out.field("attested", report.attested_to)
    for line in (*report.checked, *report.unchecked):
        out.detail(f"* {line}")
    for line in exclusion.scope:
        out.detail(f"- {line}")
    out.result(
        {
            "verified": True,
            "level": level.value,
            "summary": first,
            "finding": finding.to_wire(),
            "picture": exclusion.accused.file.to_wire(),
            "model": exclusion.model.digest,
            "keyid": verified.signer.keyid,
            "payload": verified.payload_digest,
            "notes": caveats,
            "knownErrorRate": rate,
            "takenFromBundle": report.borrowed,
            "checked": report.checked,
            "notChecked": report.unchecked,
            "replays": report.replays,
            "isolation": report.isolation,
            "scope": list(exclusion.scope),
            "attested": report.attestation,
            "attestation": report.attested_to,
        }
    )
