"""Programs that know nothing of ours read its bundles: Sigstore's, securesystemslib, openssl."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from bundle_samples import ATTACKER, KEY, sign, statement
from cryptography.hazmat.primitives.asymmetric import ed25519
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from deniability.crypto.dsse import pae
from deniability.crypto.keys import PrivateKey

SIGSTORE = Path(__file__).parent / "sigstore"
EDWARDS = PrivateKey(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def flipped(raw):
    """The bundle with one letter of its payload changed: still JSON, still base64."""
    bundle = json.loads(raw)
    payload = bundle["dsseEnvelope"]["payload"]
    middle = len(payload) // 2
    other = "A" if payload[middle] != "A" else "B"
    bundle["dsseEnvelope"]["payload"] = payload[:middle] + other + payload[middle + 1 :]
    return json.dumps(bundle).encode()


def signed(key=KEY):
    return sign(statement(), key)


@pytest.fixture(scope="module")
def sigstore(tmp_path_factory):
    """Run Sigstore's own verifier of bundles, from npm."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node.js: apt-get install nodejs npm")
    if not (SIGSTORE / "node_modules").is_dir():
        pytest.skip(f"needs npm ci --ignore-scripts in {SIGSTORE.name}/ (.ci/run does it)")
    folder = tmp_path_factory.mktemp("sigstore")

    def run(raw, key=KEY.public):
        (folder / "bundle.json").write_bytes(raw)
        (folder / "key.pem").write_bytes(key.pem)
        hint = json.loads(raw)["verificationMaterial"]["publicKey"]["hint"]
        return subprocess.run(
            [node, SIGSTORE / "verify.mjs", folder / "bundle.json", folder / "key.pem", hint],
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_sigstore_accepts_our_bundle(sigstore):
    done = sigstore(signed())
    assert (done.returncode, done.stdout.strip()) == (0, "application/vnd.in-toto+json"), (
        done.stderr
    )


@pytest.mark.parametrize("change", ["payload", "key"])
def test_sigstore_refuses_a_changed_one(sigstore, change):
    raw = signed()
    done = sigstore(flipped(raw)) if change == "payload" else sigstore(raw, ATTACKER.public)
    assert done.returncode == 1
    assert done.stderr.startswith("SIGNATURE_ERROR")


@pytest.mark.parametrize("key", [KEY, EDWARDS], ids=lambda key: key.algorithm)
def test_securesystemslib_accepts_our_envelope(key):
    envelope = Envelope.from_dict(json.loads(signed(key))["dsseEnvelope"])
    assert envelope.pae() == pae(envelope.payload_type, envelope.payload)
    scheme = {"ecdsa-p256": ("ecdsa", "ecdsa-sha2-nistp256"), "ed25519": ("ed25519", "ed25519")}
    known = _key_of(key.public, *scheme[key.algorithm])
    assert list(envelope.verify([known], 1).values()) == [known]
    other = _key_of(ATTACKER.public, *scheme["ecdsa-p256"])
    other.keyid = known.keyid
    with pytest.raises(VerificationError):
        envelope.verify([other], 1)


def _key_of(public, kind, scheme):
    value = public.pem.decode() if kind == "ecdsa" else public.der[-32:].hex()
    return SSlibKey(public.keyid, kind, scheme, {"public": value})


@pytest.mark.parametrize("key", [KEY, EDWARDS], ids=lambda key: key.algorithm)
@pytest.mark.parametrize("changed", [False, True])
def test_openssl_checks_the_signature(tmp_path, key, changed):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl: apt-get install openssl")
    raw = signed(key)
    envelope = json.loads(flipped(raw) if changed else raw)["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    # By hand, as SPEC.md gives it: lengths in bytes, single spaces.
    kind = envelope["payloadType"].encode()
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    (tmp_path / "message").write_bytes(message)
    (tmp_path / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    (tmp_path / "key.pem").write_bytes(key.public.pem)
    command = {
        "ecdsa-p256": "dgst -sha256 -verify key.pem -signature signature message",
        "ed25519": "pkeyutl -verify -pubin -inkey key.pem -sigfile signature -rawin -in message",
    }
    done = subprocess.run(
        ["openssl", *command[key.algorithm].split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is not changed, done.stderr
