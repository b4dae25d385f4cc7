"""A synthetic bundle, valid at V0, and the means to change and sign it again. No torch."""

import base64
import copy
import functools

from cryptography.hazmat.primitives.asymmetric import ec

from deniability.crypto.canonical import canonical_json
from deniability.crypto.digest import FileDigest, model_digest, sha256_hex
from deniability.crypto.dsse import pae
from deniability.crypto.keys import PrivateKey
from deniability.crypto.merkle import merkle_root
from deniability.errors import DeniabilityError
from deniability.stats.sentence import scope_lines
from deniability.stats.verdict import decide
from deniability.verify.bundle import VerifiedBundle, verify_bundle
from deniability.verify.trust import TrustPolicy
from deniability.wire.beacon import DRAND_DEFAULT, Beacon, Intent
from deniability.wire.chain import CHAIN_TYPE, HEAD_NAME, ChainLink, chain_head
from deniability.wire.controls import Control, ControlSet, Mismatch
from deniability.wire.exclusion import EXCLUSION_TYPE, Exclusion
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import ENGINE_VERSION, PRESETS, mismatch_ways
from deniability.wire.registration import FileDescriptor, ModelDescriptor
from deniability.wire.restarts import RestartRecord
from deniability.wire.roles import control_seed, mismatch_seed, restart_seed
from deniability.wire.statement import BUNDLE_MEDIA_TYPE, PAYLOAD_TYPE, STATEMENT_TYPE

#: Fixed keys, so that every run signs the same bytes (RFC 6979).
KEY = PrivateKey(ec.derive_private_key(0xDE1, ec.SECP256R1()))
ATTACKER = PrivateKey(ec.derive_private_key(0xBAD, ec.SECP256R1()))
TRUST = TrustPolicy((KEY.public,))
QUICK = PRESETS["pristine-quick-v1"]

KIND = ObservationKind.model_validate_json(
    b'{"family":"lossless","channels":3,"height":8,"width":8,"modelChannels":3,"rounding":"round"}'
)
_GENERATOR = {
    "latent": [
        {"name": "z", "shape": [4], "prior": "normal"},
        {"name": "w", "shape": [2], "prior": "uniform", "low": "-1", "high": "1"},
    ],
    "channels": 3,
    "height": 8,
    "width": 8,
    "outputRange": ["-1", "1"],
    "rounding": "round",
    "entropy": {"source": "torch-cpu", "seedBits": 32},
    "format": "state-dict",
    "factory": "nets:make",
    "stateDictKey": "g",
    "prefix": "main.",
}
_FILES = (
    FileDescriptor(name="weights-1.pt", size=1000, sha256=sha256_hex(b"one")),
    FileDescriptor(name="weights-2.pt", size=2000, sha256=sha256_hex(b"two")),
)
MODEL = ModelDescriptor(
    digest=model_digest([FileDigest(f.name, f.size, f.sha256) for f in _FILES]),
    weights=sha256_hex(canonical_json(sorted(f.sha256 for f in _FILES))),
    files=_FILES,
)
PICTURE = FileDescriptor(name="accused.png", size=500, sha256=sha256_hex(b"picture"))
_ENVIRONMENT = {
    "deniability": "0.1.0",
    "python": "3.11.9",
    "torch": "2.13.0",
    "numpy": "2.3.0",
    "pillow": "12.2.0",
    "jpeglib": "1.0.2",
    "platform": "Linux x86_64",
    "device": "cpu",
    "threads": 1,
}
#: The largest mismatch residual of the sample, and what 10 times it comes to.
ALLOWANCE, MARGIN, BELOW_MARGIN = "8.00000e-06", "8.00000e-05", "7.99999e-05"
MISSING = 7  # the control that has no finite residual


def sample_controls(protocol=QUICK, kind=KIND, beacon=None) -> ControlSet:
    """Controls of which one has no finite residual and a few are not at the floor."""
    digest, n = protocol.digest, protocol.controls
    return ControlSet(
        kind=kind,
        device_class="cpu",
        precision="float32",
        engine=ENGINE_VERSION,
        solver="levenberg-marquardt",
        controls=tuple(
            Control(
                index=i,
                seed=control_seed(MODEL, digest, kind.digest(), i, beacon=beacon).hex(),
                truth="0",
                residual=None if i == MISSING else "3.00000e-07" if i < 3 else "0",
                best=None if i == MISSING else 1 if i < 3 else 0,
                restarts=12 if i == MISSING or i < 3 else 1,
                iterations=10,
                latent=None if i == MISSING else sha256_hex(b"control %d" % i),
            )
            for i in range(n)
        ),
        mismatches=tuple(
            Mismatch(
                way=way,
                index=i,
                seed=mismatch_seed(MODEL, digest, kind.digest(), i, beacon=beacon).hex(),
                residual=ALLOWANCE if way == "float16" else "1.00000e-06",
            )
            for way in mismatch_ways(kind.family)
            for i in range(protocol.mismatch_outputs)
        ),
    )


def sample_restarts(residuals, *, reached_at=None, protocol=QUICK) -> tuple[RestartRecord, ...]:
    """A trace with these residuals; the restart at `reached_at` reaches, those after do not run."""

    def record(i):
        run = reached_at is None or i <= reached_at
        return RestartRecord(
            index=i,
            seed=restart_seed(MODEL, protocol.digest, PICTURE.sha256, i).hex(),
            start="encoder" if i == 0 else "encoder-noise" if i % 2 else "prior",
            stop="reached" if i == reached_at else "stalled" if run else "notRun",
            residual=residuals[i] if run else None,
            distance="5.00000e-02" if run else None,
            iterations=20 if run else 0,
            latent=sha256_hex(b"restart %d" % i) if run else None,
        )

    return tuple(record(i) for i in range(protocol.restarts))


def sample(residuals=None, *, reached_at=None, cautions=(), pixel_for_pixel=False) -> Exclusion:
    """Build a predicate whose finding follows from its numbers."""
    controls = sample_controls()
    residuals = residuals or ["4.40000e-02", *["5.00000e-02"] * (QUICK.restarts - 1)]
    restarts = sample_restarts(residuals, reached_at=reached_at)
    finding = decide(
        protocol=QUICK,
        controls=controls,
        restarts=restarts,
        cautions=cautions,
        model_digest=MODEL.digest,
        pixel_for_pixel=pixel_for_pixel,
    )
    wire = {
        "finding": finding.to_wire(),
        "scope": list(scope_lines(KIND)),
        "accused": {
            "file": PICTURE.to_wire(),
            "format": "PNG",
            "width": 8,
            "height": 8,
            "channels": 3,
            "pixels": sha256_hex(b"pixels"),
            "transforms": ["palette expanded"],
            "cautions": list(cautions),
            "kind": KIND.to_wire(),
        },
        "model": MODEL.to_wire(),
        "generator": _GENERATOR,
        "registration": {
            "payload": sha256_hex(b"registration"),
            "createdAt": "2026-11-01T00:00:00Z",
        },
        "protocol": QUICK.to_wire(),
        "protocolDigest": QUICK.digest,
        "encoder": sha256_hex(b"encoder"),
        "controls": controls.to_wire(),
        "restarts": [r.to_wire() for r in restarts],
        "traceRoot": trace_root([r.to_wire() for r in restarts]),
        "latents": {"name": "b.latents.safetensors", "size": 9, "sha256": sha256_hex(b"latents")},
        "environment": _ENVIRONMENT,
        "createdAt": "2026-11-02T00:00:00Z",
    }
    return Exclusion.model_validate_json(canonical_json(wire))


def trace_root(restarts) -> str:
    return merkle_root([canonical_json(r) for r in restarts]).hex()


@functools.cache
def _statement(verdict) -> dict:
    made = {
        "excluded": sample,
        "inconclusive": lambda: sample([BELOW_MARGIN] * QUICK.restarts),
        "reached": lambda: sample(["1.00000e-03", "0"], reached_at=1, pixel_for_pixel=True),
    }[verdict]()
    assert made.finding.verdict == verdict
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": PICTURE.name, "digest": {"sha256": PICTURE.sha256}}],
        "predicateType": EXCLUSION_TYPE,
        "predicate": made.to_wire(),
    }


def statement(verdict="excluded") -> dict:
    """A fresh copy of a valid statement."""
    return copy.deepcopy(_statement(verdict))


def sign_bytes(payload: bytes, key=KEY) -> bytes:
    """Put any payload into an envelope as its signer would."""
    return canonical_json(envelope_of(payload, key))


def envelope_of(payload: bytes, key=KEY, payload_type=PAYLOAD_TYPE) -> dict:
    signature = key.sign(pae(payload_type, payload))
    return {
        "mediaType": BUNDLE_MEDIA_TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": key.public.keyid},
            "tlogEntries": [],
            "timestampVerificationData": {"rfc3161Timestamps": []},
        },
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": payload_type,
            "signatures": [
                {"sig": base64.b64encode(signature).decode(), "keyid": key.public.keyid}
            ],
        },
    }


def sign(content: dict, key=KEY) -> bytes:
    """Sign a statement, whatever it says."""
    return sign_bytes(canonical_json(content), key)


def recommit(content: dict) -> dict:
    """Recompute root and finding, as a dishonest signer who knows the rule would."""
    predicate = content["predicate"]
    predicate["traceRoot"] = trace_root(predicate["restarts"])
    claimed = predicate["finding"].get("reached", {})
    finding = decide(
        protocol=QUICK,
        controls=ControlSet.model_validate_json(canonical_json(predicate["controls"])),
        restarts=tuple(
            RestartRecord.model_validate_json(canonical_json(r)) for r in predicate["restarts"]
        ),
        cautions=tuple(predicate["accused"]["cautions"]),
        model_digest=predicate["model"]["digest"],
        pixel_for_pixel=claimed.get("pixelForPixel", False),
    )
    predicate["finding"] = finding.to_wire()
    return content


def check(raw: bytes, trust=TRUST) -> VerifiedBundle:
    return verify_bundle(raw, trust=trust, where="b.json")


def refusal(raw: bytes, trust=TRUST) -> DeniabilityError | None:
    """Return the refusal of a bundle, or None if it verifies."""
    try:
        check(raw, trust)
    except DeniabilityError as error:
        return error
    return None


def attacked(change, verdict="excluded"):
    """Return the refusal after `change(predicate)`, root mended, finding as it was."""
    content = statement(verdict)
    change(content["predicate"])
    content["predicate"]["traceRoot"] = trace_root(content["predicate"]["restarts"])
    return refusal(sign(content))


def expect(error, kind, words):
    """Check a refusal's class and stage, and that it names the field."""
    assert type(error) is kind, error
    assert error.stage == kind.stage
    assert words in str(error), error


# --- chain of registrations and beacon

REGISTRATION = sha256_hex(b"registration")  # what every sample names


def sample_beacon(round_="1000", signature=b"beacon's signature" * 4) -> Beacon:
    """A value of drand's quicknet that is the hash of its signature."""
    return Beacon(
        source="drand",
        chain=DRAND_DEFAULT,
        round=round_,
        value=sha256_hex(signature),
        signature=signature.hex(),
    )


def chain_links(*, before=0, after=0, beacon=None) -> list[dict]:
    """Links with the samples' registration among `before` and `after` others.

    With a beacon, the link just before it names its round.
    """

    def other(name):
        return {
            "kind": "registration",
            "payload": sha256_hex(name.encode()),
            "weights": sha256_hex(b"other weights"),
            "createdAt": "2026-10-01T00:00:00Z",
        }

    links = [other(f"before {i}") for i in range(before)]
    own = {"weights": MODEL.weights, "createdAt": "2026-11-01T00:00:00Z"}
    if beacon is not None:
        intent = Intent(
            weights=MODEL.weights,
            protocol_digest=QUICK.digest,
            beacon=beacon.name,
            position=len(links),
            previous=links[-1]["payload"] if links else None,
        )
        links.append({"kind": "intent", "payload": intent.digest, **own})
    links.append({"kind": "registration", "payload": REGISTRATION, **own})
    return links + [other(f"after {i}") for i in range(after)]


def sign_chain(links, *, earlier=(), key=KEY, head=None) -> bytes:
    """Sign a chain file, whatever it says."""
    parsed = [ChainLink.model_validate_json(canonical_json(link)) for link in links]
    return sign(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": HEAD_NAME, "digest": {"sha256": head or chain_head(parsed)}}],
            "predicateType": CHAIN_TYPE,
            "predicate": {"links": list(links), "earlier": list(earlier)},
        },
        key,
    )


def chained_statement(verdict="excluded", *, links=None, raw=None, beacon=None, key=KEY) -> dict:
    """A valid statement with a chain, and with a beacon's value in its seeds if one is given.

    Args:
        links: of the chain; `chain_links()` by default.
        raw: a chain file to embed instead, e.g. one with timestamps.
        key: that signs the chain.

    """
    content = statement(verdict)
    predicate = content["predicate"]
    links = chain_links(beacon=beacon) if links is None else links
    chain = sign_chain(links, key=key) if raw is None else raw
    predicate["registration"]["chain"] = base64.b64encode(chain).decode()
    predicate["scope"] = list(scope_lines(KIND, chained=True, beacon=beacon is not None))
    if beacon is not None:
        predicate["beacon"] = beacon.to_wire()
        predicate["controls"] = sample_controls(beacon=beacon).to_wire()
    return content
