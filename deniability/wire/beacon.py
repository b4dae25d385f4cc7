"""A public beacon's value in the seeds: a round named beforehand, so that none can be ground."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from deniability.crypto.canonical import canonical_json
from deniability.crypto.digest import sha256_hex
from deniability.wire.base import Sha256Hex, WireModel

BeaconSource = Literal["drand", "nist"]
BeaconRound = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,14}$")]

#: drand's public chains by hash: (first round's Unix time, seconds between rounds).
DRAND_CHAINS = {
    "8990e7a9aaed2ffed73dbd7092123d6f289930540d7651336225dc172e51b2ce": (1595431050, 30),
    "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971": (1692803367, 3),
}
#: Taken where only drand:ROUND is said: "quicknet".
DRAND_DEFAULT = "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971"
#: Chain of NIST's beacon, version 2.0.
NIST_DEFAULT = "2"


class BeaconName(WireModel):
    """One round of one public beacon, before anybody knows its value.

    Attributes:
        source: drand, or NIST's Randomness Beacon 2.0.
        chain: drand: hash of the chain, hex. NIST: number of the chain.
        round: drand: number of the round. NIST: the pulse's Unix time in milliseconds.

    """

    source: BeaconSource
    chain: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64}|[1-9][0-9]{0,8})$")]
    round: BeaconRound


class Beacon(BeaconName):
    """A round with its value.

    Attributes:
        value: drand: randomness. NIST: outputValue. Lower-case hex.
        signature: drand only: whose SHA-256 the value is.

    """

    value: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64}|[0-9a-f]{128})$")]
    signature: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2}){48,96}$")] | None = None

    @property
    def name(self) -> BeaconName:
        """The round without its value."""
        return BeaconName(source=self.source, chain=self.chain, round=self.round)


class Intent(WireModel):
    """What a chain's link of kind `intent` is the digest of: a round named before its time.

    Attributes:
        weights, protocol_digest: of the model that will be registered.
        beacon: the round.
        position, previous: of the link, as in a registration.

    """

    weights: Sha256Hex
    protocol_digest: Sha256Hex
    beacon: BeaconName
    position: Annotated[int, Field(ge=0, le=4095)]
    previous: Sha256Hex | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return sha256_hex(canonical_json(self.to_wire()))


def round_time(beacon: BeaconName) -> datetime | None:
    """Return when a round's value became public; None for a drand chain that is not known here."""
    number = int(beacon.round)
    if beacon.source == "nist":
        seconds = number // 1000
    elif beacon.chain in DRAND_CHAINS:
        genesis, period = DRAND_CHAINS[beacon.chain]
        seconds = genesis + (number - 1) * period
    else:
        return None
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        return None
