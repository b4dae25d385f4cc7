"""What commands share about time: authorities, the accusation's date, chains and beacons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deniability.cli.failure import UsageError
from deniability.cli.terminal import Output

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from deniability.cli.verification import VerificationReport
    from deniability.crypto.keys import PrivateKey, PublicKey
    from deniability.evidence.progress import Progress
    from deniability.evidence.timestamp import Stamped
    from deniability.generators.base import Generator
    from deniability.verify.bundle import VerifiedBundle
    from deniability.verify.trust import TrustPolicy
    from deniability.wire.beacon import Beacon, BeaconName
    from deniability.wire.protocol import Protocol

TsaOption = Annotated[
    list[str] | None,
    typer.Option("--tsa", help="URL of an RFC 3161 timestamp authority to ask; repeatable."),
]
TsaRootOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--tsa-root",
        help="Root certificates (PEM) of timestamp authorities that you trust; repeatable. "
        "Default: the folder tsa beside the trust store.",
    ),
]
AccusedAtOption = Annotated[
    str | None,
    typer.Option(
        "--accused-at", help="When the accusation was made, such as 2026-11-24T09:00:00Z."
    ),
]


def read_roots(given: list[Path] | None) -> tuple[Certificate, ...]:
    """Return the roots of timestamp authorities: the given ones, or those of the user's folder."""
    from deniability.verify.timestamps import load_root_folder, load_roots  # noqa: PLC0415
    from deniability.verify.trust import default_trust_folder  # noqa: PLC0415

    if given:
        return load_roots(given)
    return load_root_folder(default_trust_folder().parent / "tsa")


def read_accused_at(text: str | None) -> datetime | None:
    """Parse the time of the accusation.

    Raises:
        UsageError: not a time with its zone.

    """
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None or "T" not in text:
        raise UsageError(
            "not a time",
            where="--accused-at",
            expected="RFC 3339 with its zone, such as 2026-11-24T09:00:00Z",
            found=repr(text)[:100],
        )
    return time.astimezone(UTC)


@dataclass(frozen=True)
class Stamping:
    """The timestamp authorities that a command was given.

    Attributes:
        urls: to ask; none asks nobody.
        roots: that the user trusts.

    """

    urls: tuple[str, ...] = ()
    roots: tuple[Certificate, ...] = ()

    @classmethod
    def of(cls, urls: list[str] | None, roots: list[Path] | None) -> Stamping:
        """Read the options, before any work is done.

        Raises:
            InputError: a URL or a file of roots cannot be used.

        """
        from deniability.evidence.web import check_url  # noqa: PLC0415

        checked = tuple(check_url(url, option="--tsa") for url in urls or ())
        return cls(checked, read_roots(roots))

    def stamp(self, out: Output, file: Path) -> list[Stamped]:
        """Timestamp a finished file, and say so; what was written before stays if it fails."""
        from deniability.cli.timestamp import tell_stamps  # noqa: PLC0415
        from deniability.errors import DeniabilityError, UncheckedError  # noqa: PLC0415
        from deniability.evidence.timestamp import add_timestamps  # noqa: PLC0415

        if not self.urls:
            return []
        try:
            made = add_timestamps(file, self.urls, roots=self.roots)
        except DeniabilityError as cause:
            raise UncheckedError(
                f"everything was written, but not timestamped: {cause.what}",
                where=cause.where,
                expected=cause.expected,
                found=cause.found,
                hint=f"Try again with: deny timestamp {file} --tsa URL.",
            ) from cause
        tell_stamps(out, file, made)
        return made

    def stamp_bundle(
        self, path: Path, key: PrivateKey, progress: Progress, *, also: tuple[PublicKey, ...] = ()
    ) -> VerifiedBundle:
        """Timestamp a finished bundle, and read it again with the user's roots.

        Args:
            path: the bundle.
            key: that signed it.
            progress: is told who was asked.
            also: whom else to trust, for a binding that it cites.

        """
        from deniability.verify.bundle import verify_bundle  # noqa: PLC0415
        from deniability.verify.parse import MAX_BUNDLE_BYTES  # noqa: PLC0415
        from deniability.verify.trust import TrustPolicy  # noqa: PLC0415
        from deniability.wire.files import read_capped  # noqa: PLC0415

        self.stamp_quietly(path, progress)
        return verify_bundle(
            read_capped(path, MAX_BUNDLE_BYTES, what="bundle"),
            trust=TrustPolicy((key.public, *also), self.roots),
            where=str(path),
        )

    def stamp_quietly(self, path: Path, progress: Progress, *, what: str = "bundle") -> None:
        """Timestamp a finished file, and only note it; it stays as written if that fails."""
        from deniability.errors import DeniabilityError, UncheckedError  # noqa: PLC0415
        from deniability.evidence.timestamp import add_timestamps  # noqa: PLC0415

        if not self.urls:
            return
        try:
            add_timestamps(path, self.urls, roots=self.roots)
        except DeniabilityError as cause:
            raise UncheckedError(
                f"the {what} was written, but not timestamped: {cause.what}",
                where=cause.where,
                expected=cause.expected,
                found=cause.found,
                hint=f"Try again with: deny timestamp {path} --tsa URL.",
            ) from cause
        progress.note(f"Timestamped by {', '.join(self.urls)}.")

    def stamp_chain(
        self, out: Output, key: PrivateKey, registration: Path | None = None
    ) -> list[Stamped]:
        """Timestamp the key's chain, and renew the copy beside a registration."""
        from deniability.evidence.chain import (  # noqa: PLC0415
            chain_beside,
            chain_path,
            default_chain_folder,
        )
        from deniability.verify.parse import MAX_BUNDLE_BYTES  # noqa: PLC0415
        from deniability.wire.files import read_capped, write_atomic  # noqa: PLC0415

        path = chain_path(default_chain_folder(), key.public.keyid)
        made = self.stamp(out, path)
        if made and registration is not None:
            raw = read_capped(path, MAX_BUNDLE_BYTES, what="chain")
            write_atomic(chain_beside(registration), raw)
        return made


def read_beacon_name(beacon: str | None, file: Path | None, url: str | None) -> BeaconName | None:
    """Read the three options about a beacon.

    Raises:
        UsageError: they do not go together.
        InputError: no round, or an address that cannot be asked.

    """
    from deniability.evidence.beacon import parse_name  # noqa: PLC0415
    from deniability.evidence.web import check_url  # noqa: PLC0415

    if beacon is None:
        if file is not None or url is not None:
            raise UsageError("a beacon's value needs the round that was named", where="--beacon")
        return None
    if file is not None and url is not None:
        raise UsageError("--beacon-file and --beacon-url exclude each other", where="--beacon-url")
    if url is not None:
        check_url(url, option="--beacon-url")
    return parse_name(beacon)


def read_beacon(name: BeaconName, file: Path | None, url: str | None) -> Beacon:
    """Read or fetch the value of a round.

    Raises:
        DeniabilityError: as `read_capped`, `fetch` and `read_pulse`.

    """
    from deniability.evidence.beacon import MAX_PULSE_BYTES, read_pulse  # noqa: PLC0415
    from deniability.evidence.web import fetch  # noqa: PLC0415
    from deniability.wire.files import read_capped  # noqa: PLC0415

    if file is not None:
        raw = read_capped(file, MAX_PULSE_BYTES, what="beacon's value")
    else:
        raw = fetch(str(url), max_bytes=MAX_PULSE_BYTES)
    return read_pulse(raw, name, where=str(file or url))


def name_round(
    out: Output,
    name: BeaconName,
    generator: Generator,
    protocol: Protocol,
    key: PrivateKey,
    stamping: Stamping,
) -> None:
    """Append a link to the key's chain that names a round to come, and date it.

    Raises:
        UsageError: the round's value is public already.

    """
    from deniability.cli.timestamp import describe_stamps  # noqa: PLC0415
    from deniability.evidence.chain import default_chain_folder, open_chain  # noqa: PLC0415
    from deniability.evidence.subject import describe_model  # noqa: PLC0415
    from deniability.wire.beacon import round_time  # noqa: PLC0415

    time = round_time(name)
    if time is not None and time <= datetime.now(UTC):
        raise UsageError(
            "this round is over, so that naming it now would show nothing",
            where="--beacon",
            expected="a round to come",
            found=f"{name.source}:{name.round}, of {time:%Y-%m-%dT%H:%M:%SZ}",
            hint="If you named it before its time, add --beacon-file or --beacon-url.",
        )
    weights = describe_model(generator).weights
    with open_chain(default_chain_folder(), key) as book:
        intent = book.name_round(weights, protocol.digest, name)
    stamps = stamping.stamp_chain(out, key)
    when = "at a time that is not known here" if time is None else f"at {time:%Y-%m-%dT%H:%M:%SZ}"
    out.field("named", f"{name.source} round {name.round}, {when}, for weights sha256:{weights}")
    if not stamps:
        out.field("note", "undated: only a timestamp (--tsa) shows that it was named beforehand")
    out.detail("After that time run the same command with --beacon-file or --beacon-url.")
    out.result(
        {
            "intent": intent.to_wire(),
            "link": intent.digest,
            "timestamps": describe_stamps(stamps),
        }
    )


def check_dating(
    verified: VerifiedBundle,
    trust: TrustPolicy,
    *,
    published: Path | None,
    beacon_file: Path | None,
    report: VerificationReport,
) -> None:
    """Compare with what the verifier got elsewhere, and say what the timestamps show."""
    for stamp in verified.times.stamps:
        report.checked.append(
            f"The bundle existed at {stamp.time:%Y-%m-%dT%H:%M:%SZ}, says {stamp.authority}."
        )
    for authority in verified.times.unknown:
        report.unchecked.append(_unknown("the bundle", authority))
    dating = verified.dating
    for authority in dating.unknown:
        report.unchecked.append(_unknown("the chain of registrations", authority))
    if verified.chain is not None:
        report.checked.append(
            f"Registration {dating.number} of {dating.count} of this key, in a chain with head "
            f"{verified.chain.chain.head}."
        )
    _check_published(verified, trust, published, report)
    _check_beacon(verified, beacon_file, report)


def _unknown(what: str, authority: str) -> str:
    return (
        f"A timestamp of {what} by an authority that you have no root of was not checked and gives "
        f"no time: {authority} (--tsa-root)."
    )


def _check_published(
    verified: VerifiedBundle, trust: TrustPolicy, path: Path | None, report: VerificationReport
) -> None:
    from deniability.errors import UncheckedError  # noqa: PLC0415
    from deniability.verify.chain import check_published, verify_chain  # noqa: PLC0415
    from deniability.verify.parse import MAX_BUNDLE_BYTES  # noqa: PLC0415
    from deniability.wire.files import read_capped  # noqa: PLC0415

    if path is None:
        if verified.chain is not None:
            report.unchecked.append(
                "The chain of registrations was not compared with a published one (--chain FILE)."
            )
        return
    if verified.chain is None:
        raise UncheckedError("the bundle has no chain of registrations to compare", where="--chain")
    raw = read_capped(path, MAX_BUNDLE_BYTES, what="chain")
    signer = replace(trust, keys=(verified.signer,))
    published = verify_chain(raw, trust=signer, where=str(path))
    check_published(verified.chain.chain, published.chain, where=str(path))
    total = sum(link.kind == "registration" for link in published.chain.links)
    report.checked.append(
        f"The chain is the published one, or how it began ({total} registrations published)."
    )


def _check_beacon(verified: VerifiedBundle, path: Path | None, report: VerificationReport) -> None:
    from deniability.errors import CommitmentError, UncheckedError  # noqa: PLC0415
    from deniability.wire.files import read_capped  # noqa: PLC0415

    beacon = verified.exclusion.beacon
    if path is None:
        if beacon is not None:
            report.unchecked.append(
                "The beacon's value was taken from the bundle (--beacon-file); its signature was "
                "not checked."
            )
        return
    if beacon is None:
        raise UncheckedError("no beacon's value entered the bundle", where="--beacon-file")
    from deniability.evidence.beacon import MAX_PULSE_BYTES, read_pulse  # noqa: PLC0415

    found = read_pulse(
        read_capped(path, MAX_PULSE_BYTES, what="beacon's value"), beacon.name, where=str(path)
    )
    if found != beacon:
        raise CommitmentError(
            "the beacon's value in the bundle is another one",
            where=str(path),
            expected=found.value,
            found=beacon.value,
        )
    report.checked.append(f"The beacon's value is that of {path.name}, which you brought.")
