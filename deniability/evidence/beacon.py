"""Public beacons: naming a round, and reading its value from what the beacon's API gave."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from deniability.crypto.digest import sha256_hex
from deniability.errors import CommitmentError, InputError
from deniability.wire.beacon import DRAND_DEFAULT, NIST_DEFAULT, Beacon, BeaconName

#: Largest answer of a beacon that is read, bytes.
MAX_PULSE_BYTES = 65_536


def parse_name(text: str) -> BeaconName:
    """Read drand:ROUND, drand:CHAIN:ROUND, nist:TIME or nist:MILLISECONDS.

    Raises:
        InputError: it is none of these.

    """
    source, _, rest = text.partition(":")
    chain = DRAND_DEFAULT if source == "drand" else NIST_DEFAULT
    if source == "drand" and ":" in rest:
        chain, _, rest = rest.partition(":")
    if source == "nist" and not rest.isdigit():
        try:
            time = datetime.fromisoformat(rest)
            rest = str(int(time.astimezone(UTC).timestamp()) * 1000) if time.tzinfo else ""
        except (ValueError, OverflowError):
            rest = ""
    try:
        return BeaconName.model_validate({"source": source, "chain": chain, "round": rest})
    except ValidationError as cause:
        raise InputError(
            "not a round of a beacon",
            where="--beacon",
            expected="drand:ROUND, drand:CHAIN:ROUND, nist:TIME such as "
            "nist:2026-12-01T12:00:00Z, or nist:MILLISECONDS",
            found=repr(text)[:200],
        ) from cause


def read_pulse(raw: bytes, name: BeaconName, *, where: str) -> Beacon:
    """Read a round's value from the JSON that the beacon's API gives.

    Raises:
        InputError: not such JSON, or of another round.
        CommitmentError: drand's randomness is not the hash of its signature.

    """
    try:
        found = json.loads(raw)
        if name.source == "drand":
            signature = str(found["signature"]).lower()
            value = sha256_hex(bytes.fromhex(signature))
            given = str(found.get("randomness", value)).lower()
            fields: dict[str, Any] = {"value": given, "signature": signature}
            round_ = str(found["round"])
        else:
            pulse = found["pulse"]
            fields = {"value": str(pulse["outputValue"]).lower()}
            value = fields["value"]
            time = datetime.fromisoformat(str(pulse["timeStamp"]))
            round_ = str(round(time.timestamp() * 1000))
            if str(pulse["chainIndex"]) != name.chain:
                round_ += f" of chain {pulse['chainIndex']}"
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as cause:
        raise InputError(
            "not what the beacon's API gives for a round",
            where=where,
            expected="drand's /public/ROUND, or NIST's /beacon/2.0/…/pulse, as JSON",
        ) from cause
    if round_ != name.round:
        raise InputError("another round", where=where, expected=name.round, found=round_[:100])
    if fields["value"] != value:
        raise CommitmentError(
            "drand's randomness is not the SHA-256 of its signature", where=where, expected=value
        )
    try:
        return Beacon.model_validate({**name.to_wire(), **fields})
    except ValidationError as cause:
        raise InputError("not a value of this beacon", where=where) from cause
