"""The key's chain of registrations on disk: appended under a lock, never begun anew by itself."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from deniability.crypto.canonical import canonical_json
from deniability.crypto.digest import sha256_hex
from deniability.crypto.encoding import b64decode_strict
from deniability.crypto.keys import PrivateKey
from deniability.errors import DeniabilityError, InputError, OutputError
from deniability.evidence.signing import sign_payload
from deniability.evidence.subject import now
from deniability.verify.chain import VerifiedChain, verify_chain
from deniability.verify.parse import MAX_BUNDLE_BYTES, parse_bundle
from deniability.verify.trust import TrustPolicy
from deniability.wire.beacon import Beacon, BeaconName, Intent
from deniability.wire.chain import (
    MAX_LINKS,
    MAX_STAMPED,
    Chain,
    ChainLink,
    StampedHead,
    chain_statement,
)
from deniability.wire.files import read_capped, write_atomic
from deniability.wire.protocol import Protocol
from deniability.wire.registration import ModelDescriptor, Registration

_WAIT = 60.0  # seconds for another run to append its link


def default_chain_folder() -> Path:
    """Return the user's folder of chains; `XDG_DATA_HOME` decides where it is set."""
    base = os.environ.get("XDG_DATA_HOME", "")
    if Path(base).is_absolute():
        return Path(base) / "deniability" / "chains"
    from platformdirs import user_data_dir  # noqa: PLC0415 - only needed here

    return Path(user_data_dir("deniability", appauthor=False)) / "chains"


def chain_path(folder: Path, keyid: str) -> Path:
    """Return the file of a key's chain."""
    return folder / f"{keyid}.chain.json"


def chain_beside(registration: Path) -> Path:
    """Return where a registration's copy of the chain goes: MODEL.chain.json."""
    name = registration.name.removesuffix(".json").removesuffix(".registration")
    return registration.with_name(f"{name}.chain.json")


def read_chain(path: Path, key: PrivateKey) -> VerifiedChain | None:
    """Read a key's chain; None if there is no file.

    Raises:
        InputError: it is damaged or another key's. It is never begun anew silently.

    """
    if not path.exists():
        return None
    raw = read_capped(path, MAX_BUNDLE_BYTES, what="chain of registrations")
    try:
        return verify_chain(raw, trust=TrustPolicy((key.public,)), where=str(path))
    except DeniabilityError as cause:
        raise InputError(
            f"the key's chain of registrations is damaged, or not this key's: {cause.what}",
            where=str(path),
            expected=cause.expected,
            found=cause.found,
            hint="Restore it from a backup, a registration's folder or where it was published. To "
            "begin another chain would look like hiding this one's links.",
        ) from cause


@dataclass
class ChainBook:
    """A key's chain, locked; with no path, a registration outside any chain.

    Attributes:
        path: of the chain, or None.
        key: that signs it.
        verified: the chain as it is, None before its first link.

    """

    path: Path | None
    key: PrivateKey
    verified: VerifiedChain | None = None

    @property
    def links(self) -> tuple[ChainLink, ...]:
        """The links there are."""
        return () if self.verified is None else self.verified.chain.links

    def placed(self, registration: Registration) -> Registration:
        """Return a registration with its place in the chain."""
        if self.path is None:
            return registration
        return registration.model_copy(
            update={
                "position": len(self.links),
                "previous": self.links[-1].payload if self.links else None,
            }
        )

    def append(self, raw: bytes, registration: Registration, *, copy: Path) -> None:
        """Append a signed registration, and write a copy of the chain beside it."""
        if self.path is None:
            return
        envelope = parse_bundle(raw, where="registration").dsse_envelope
        payload = sha256_hex(b64decode_strict(envelope.payload, "registration"))
        self._add("registration", payload, registration.model.weights)
        write_atomic(copy, self.path.read_bytes())

    def name_round(self, weights: str, protocol: str, beacon: BeaconName) -> Intent:
        """Append a link that names a beacon's round for a model."""
        intent = Intent(
            weights=weights,
            protocol_digest=protocol,
            beacon=beacon,
            position=len(self.links),
            previous=self.links[-1].payload if self.links else None,
        )
        self._add("intent", intent.digest, weights)
        return intent

    def _add(self, kind: str, payload: str, weights: str) -> None:
        assert self.path is not None  # noqa: S101 - asked by the callers
        if len(self.links) >= MAX_LINKS:
            raise OutputError(
                "the chain is full",
                where=str(self.path),
                expected=f"at most {MAX_LINKS} links",
                hint="Make another key with: deny keygen --name NAME.",
            )
        earlier = self._earlier()
        if len(earlier) > MAX_STAMPED:
            raise OutputError(
                "the chain has been timestamped too often",
                where=str(self.path),
                expected=f"at most {MAX_STAMPED} versions with timestamps",
                hint="Make another key with: deny keygen --name NAME.",
            )
        link = ChainLink.model_validate(
            {"kind": kind, "payload": payload, "weights": weights, "created_at": now()}
        )
        chain = Chain(links=(*self.links, link), earlier=earlier)
        raw = sign_payload(canonical_json(chain_statement(chain)), self.key)
        self.verified = verify_chain(
            raw, trust=TrustPolicy((self.key.public,)), where=str(self.path)
        )
        write_atomic(self.path, raw)

    def _earlier(self) -> tuple[StampedHead, ...]:
        """Return the versions with timestamps; today's is among them if it has any."""
        if self.verified is None or self.path is None:
            return ()
        chain = self.verified.chain
        bundle = parse_bundle(
            read_capped(self.path, MAX_BUNDLE_BYTES, what="chain"), where=str(self.path)
        )
        tokens = bundle.verification_material.timestamp_verification_data.rfc3161_timestamps
        if not tokens:
            return chain.earlier
        signature = bundle.dsse_envelope.signatures[0].sig
        version = StampedHead(links=len(chain.links), signature=signature, timestamps=tokens)
        return (*chain.earlier, version)


@contextlib.contextmanager
def open_chain(folder: Path | None, key: PrivateKey) -> Iterator[ChainBook]:
    """Lock a key's chain and read it; no folder gives a book outside any chain.

    Raises:
        InputError: the chain is damaged, or another run has held it too long.
        OutputError: the folder cannot be made.

    """
    if folder is None:
        yield ChainBook(None, key)
        return
    path = chain_path(folder, key.public.keyid)
    with locked(path):
        yield ChainBook(path, key, read_chain(path, key))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that belongs to a chain's file, waiting a minute for another run.

    Raises:
        InputError: another run has held it too long.
        OutputError: the lock's file cannot be made.

    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = lock.open("ab")
    except OSError as cause:
        raise OutputError(
            "the folder of chains cannot be written", where=str(path.parent), found=cause.strerror
        ) from cause
    with file:
        deadline = time.monotonic() + _WAIT
        while not _try_lock(file):
            if time.monotonic() > deadline:
                raise InputError("another run holds this key's chain", where=str(path))
            time.sleep(0.05)
        yield  # closing the file releases the lock


def _try_lock(file: BinaryIO) -> bool:
    try:
        import fcntl  # noqa: PLC0415 - not on every system
    except ImportError:  # pragma: no cover - Windows
        import msvcrt  # noqa: PLC0415

        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as cause:
        raise OutputError(
            "this file system has no locks, which a chain of registrations needs",
            where=file.name,
            found=cause.strerror,
        ) from cause
    return True


def require_intent(
    folder: Path | None, key: PrivateKey, model: ModelDescriptor, protocol: Protocol, beacon: Beacon
) -> None:
    """Refuse to use a beacon's value whose round the key's chain has not named for this model.

    Raises:
        InputError: it has not.

    """
    chain = None if folder is None else read_chain(chain_path(folder, key.public.keyid), key)
    links = () if chain is None else chain.chain.links
    for index, link in enumerate(links):
        intent = Intent(
            weights=model.weights,
            protocol_digest=protocol.digest,
            beacon=beacon.name,
            position=index,
            previous=links[index - 1].payload if index else None,
        )
        if link.kind == "intent" and link.payload == intent.digest:
            return
    raise InputError(
        "this round was not named for this model and preset before its value was given",
        where="--beacon",
        found=f"{beacon.source}:{beacon.round}",
        hint="First run deny register with --beacon and --tsa alone, for a round to come; after "
        "its time run it again with --beacon-file.",
    )


def chain_for(
    payload: str, key: PrivateKey, *, folder: Path | None, beside: Path | None
) -> bytes | None:
    """Return the bytes of the key's chain that has a registration: the key's own, or the copy.

    Raises:
        InputError: the key's own chain is damaged.

    """
    candidates = [] if folder is None else [chain_path(folder, key.public.keyid)]
    candidates += [] if beside is None else [beside]
    for path in candidates:
        if not path.exists():
            continue
        raw = read_capped(path, MAX_BUNDLE_BYTES, what="chain of registrations")
        if path == beside:
            with contextlib.suppress(DeniabilityError):
                chain = verify_chain(raw, trust=TrustPolicy((key.public,)), where=str(path))
                if chain.position(payload) is not None:
                    return raw
            continue
        found = read_chain(path, key)
        if found is not None and found.position(payload) is not None:
            return raw
    return None
