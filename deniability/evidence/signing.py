"""From a predicate to a signed bundle: Statement, DSSE envelope, Sigstore bundle."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from deniability.crypto.canonical import canonical_json
from deniability.crypto.dsse import pae
from deniability.crypto.keys import PrivateKey
from deniability.wire.base import WireModel
from deniability.wire.registration import FileDescriptor
from deniability.wire.statement import BUNDLE_MEDIA_TYPE, PAYLOAD_TYPE, STATEMENT_TYPE


def sign_statement(
    predicate: WireModel,
    *,
    predicate_type: str,
    subjects: Sequence[FileDescriptor],
    key: PrivateKey,
) -> bytes:
    """Return the canonical bytes of a Sigstore bundle that states `predicate` of `subjects`."""
    payload = canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": s.name, "digest": {"sha256": s.sha256}} for s in subjects],
            "predicateType": predicate_type,
            "predicate": predicate.to_wire(),
        }
    )
    return sign_payload(payload, key)


def sign_payload(payload: bytes, key: PrivateKey) -> bytes:
    """Return the canonical bytes of a Sigstore bundle around a statement's bytes."""
    signature = key.sign(pae(PAYLOAD_TYPE, payload))
    keyid = key.public.keyid
    return canonical_json(
        {
            "mediaType": BUNDLE_MEDIA_TYPE,
            "verificationMaterial": {
                "publicKey": {"hint": keyid},
                "tlogEntries": [],
                "timestampVerificationData": {"rfc3161Timestamps": []},
            },
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": keyid}],
            },
        }
    )
