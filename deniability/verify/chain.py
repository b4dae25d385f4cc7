"""A key's chain of registrations: checked alone, inside a bundle, and against a published one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from deniability.crypto.dsse import pae
from deniability.crypto.encoding import b64decode_strict
from deniability.errors import CommitmentError
from deniability.verify.envelope import verify_envelope
from deniability.verify.parse import parse_predicate
from deniability.verify.timestamps import Times, check_timestamps
from deniability.verify.trust import TrustPolicy
from deniability.wire.beacon import Beacon, Intent, round_time
from deniability.wire.chain import CHAIN_TYPE, HEAD_NAME, Chain, earlier_payloads
from deniability.wire.statement import PAYLOAD_TYPE


@dataclass(frozen=True)
class Version:
    """One signed version of a chain: its length, and what its timestamps show."""

    links: int
    times: Times


@dataclass(frozen=True)
class VerifiedChain:
    """A chain that passed its checks. Only `verify_chain` makes one.

    Attributes:
        chain: the links.
        versions: those with timestamps and the newest, in order of length.
        keyid: of the signer.

    """

    chain: Chain
    versions: tuple[Version, ...]
    keyid: str

    def position(self, payload: str) -> int | None:
        """Return the place of a registration's link, if it is there."""
        for index, link in enumerate(self.chain.links):
            if link.kind == "registration" and link.payload == payload:
                return index
        return None

    def time_of(self, position: int) -> datetime | None:
        """Return the earliest time at which the link at `position` is shown to have existed."""
        times = (v.times.earliest for v in self.versions if v.links > position)
        return min((time for time in times if time is not None), default=None)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Authorities of timestamps that were not checked."""
        return tuple(dict.fromkeys(name for v in self.versions for name in v.times.unknown))


@dataclass(frozen=True)
class Dating:
    """What a bundle shows about when its model was registered, and about its seeds.

    Attributes:
        number, count: registration `number` of `count` of this key; None without a chain.
        time: at which the registration existed at the latest, by an authority the verifier trusts.
        unknown: authorities of timestamps that were not checked.
        beacon: whose value is in the seeds.
        named: when its round is shown to have been named.
        round_time: when its value became public, where that is known.
        intents: how many rounds the key has named for these weights up to the registration.

    """

    number: int | None = None
    count: int | None = None
    time: datetime | None = None
    unknown: tuple[str, ...] = ()
    beacon: Beacon | None = None
    named: datetime | None = None
    round_time: datetime | None = None
    intents: int = 0

    @property
    def named_beforehand(self) -> bool:
        """Whether the beacon's round is shown to have been named before its time."""
        known = self.named is not None and self.round_time is not None
        return known and self.named < self.round_time  # type: ignore[operator]


def verify_chain(raw: bytes, *, trust: TrustPolicy, where: str = "chain") -> VerifiedChain:
    """Verify a chain's bytes: signature, head, timestamps of this version and of earlier ones.

    Raises:
        ParseError, UncheckedError, SignatureError, StatementError, TimestampError: as
            `verify_envelope`.
        CommitmentError: head, order or an earlier version does not follow.

    """
    signed = verify_envelope(raw, trust=trust, predicate_type=CHAIN_TYPE, where=where)
    chain = parse_predicate(signed.statement.predicate, Chain, where=where)
    subjects = [(s.name, s.digest.sha256) for s in signed.statement.subject]
    if subjects != [(HEAD_NAME, chain.head)]:
        raise CommitmentError(
            "the subject is not the head of the links",
            where=f"{where}: subject",
            expected=chain.head,
        )
    payloads = [link.payload for link in chain.links]
    if len(set(payloads)) != len(payloads):
        raise CommitmentError("a link comes twice", where=f"{where}: links")
    lengths = [version.links for version in chain.earlier]
    if lengths != sorted(set(lengths)) or (lengths and lengths[-1] >= len(chain.links)):
        raise CommitmentError(
            "earlier versions are not each longer than the one before and shorter than this one",
            where=f"{where}: earlier",
        )
    versions = []
    stamped = zip(chain.earlier, earlier_payloads(chain), strict=True)
    for index, (version, payload) in enumerate(stamped):
        field = f"{where}: earlier.{index}"
        signature = b64decode_strict(version.signature, f"{field}.signature", CommitmentError)
        signed.signer.verify(signature, pae(PAYLOAD_TYPE, payload))
        times = check_timestamps(version.timestamps, signature, roots=trust.tsa_roots, where=field)
        versions.append(Version(version.links, times))
    versions.append(Version(len(chain.links), signed.times))
    return VerifiedChain(chain, tuple(versions), signed.signer.keyid)


def date_registration(
    chain: VerifiedChain,
    payload: str,
    *,
    weights: str,
    protocol: str,
    beacon: Beacon | None,
    where: str,
) -> Dating:
    """Find a registration in its key's chain, and say when it was there.

    Raises:
        CommitmentError: it is not in the chain, or there with other weights.

    """
    position = chain.position(payload)
    if position is None or chain.chain.links[position].weights != weights:
        raise CommitmentError(
            "the registration is not in this chain",
            where=where,
            expected=f"a link to payload {payload} with weights {weights}",
        )
    links = chain.chain.links
    registrations = [i for i, link in enumerate(links) if link.kind == "registration"]
    dating = Dating(
        number=registrations.index(position) + 1,
        count=len(registrations),
        time=chain.time_of(position),
        unknown=chain.unknown,
        beacon=beacon,
        round_time=None if beacon is None else round_time(beacon),
        intents=sum(k.kind == "intent" and k.weights == weights for k in links[:position]),
    )
    if beacon is None:
        return dating
    times = [chain.time_of(i) for i in _intents(chain.chain, position, weights, protocol, beacon)]
    named = min((time for time in times if time is not None), default=None)
    return Dating(**{**vars(dating), "named": named})


def _intents(
    chain: Chain, before: int, weights: str, protocol: str, beacon: Beacon
) -> Iterator[int]:
    """Yield the places of links that named this round for this model."""
    for index in range(before):
        intent = Intent(
            weights=weights,
            protocol_digest=protocol,
            beacon=beacon.name,
            position=index,
            previous=chain.links[index - 1].payload if index else None,
        )
        link = chain.links[index]
        if link.kind == "intent" and link.payload == intent.digest:
            yield index


def check_published(embedded: Chain, published: Chain, *, where: str) -> None:
    """Check that the chain in a bundle is the published one, or how that one began.

    Raises:
        CommitmentError: they differ: the key has shown different chains to different people.

    """
    common = len(embedded.links)
    if published.links[:common] != embedded.links:
        place = next(
            (
                i
                for i, (a, b) in enumerate(zip(embedded.links, published.links, strict=False))
                if a != b
            ),
            len(published.links),
        )
        raise CommitmentError(
            "the chain in the bundle is not the published one: a split view",
            where=where,
            expected=f"link {place} as published, or a published chain that goes on from the "
            "bundle's",
            found=f"{common} links in the bundle, {len(published.links)} published",
            hint="Get the newest published chain; if they still differ, the signer keeps two.",
        )
