import os
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from deniability.crypto.digest import sha256_hex
from deniability.crypto.keys import (
    MAX_KEY_BYTES,
    P256_ORDER,
    PrivateKey,
    PublicKey,
    generate_key,
    is_encrypted,
    load_private_key,
    load_public_key,
    private_pem,
    read_private_key,
    read_public_key,
)
from deniability.errors import KeyFileError, SignatureError

ALGORITHMS = ("ecdsa-p256", "ed25519")
KEYS = {name: generate_key(name) for name in ALGORITHMS}
PEM = serialization.Encoding.PEM
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
PKCS8 = serialization.PrivateFormat.PKCS8
PLAIN = serialization.NoEncryption()
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")


@pytest.fixture(params=ALGORITHMS)
def key(request):
    return KEYS[request.param]


def openssl(*arguments, **options):
    return subprocess.run(
        ["openssl", *map(str, arguments)], check=True, capture_output=True, **options
    ).stdout


def test_the_default_is_ecdsa_p256():
    assert generate_key().algorithm == "ecdsa-p256"
    with pytest.raises(KeyFileError, match="unknown kind of key"):
        generate_key("rsa")


def test_round_trip_through_files(key):
    again = load_private_key(private_pem(key, None), None, "k.pem")
    assert again.public == key.public == load_public_key(key.public.pem, "k.pub.pem")
    assert hash(again.public) == hash(key.public)
    key.public.verify(again.sign(b"m"), b"m")
    assert again.public.algorithm == key.algorithm


def test_round_trip_with_a_passphrase(key):
    pem = private_pem(key, b"secret")
    assert is_encrypted(pem)
    assert not is_encrypted(private_pem(key, None))
    assert load_private_key(pem, b"secret", "k.pem").public == key.public
    with pytest.raises(KeyFileError, match=r"k\.pem: the passphrase is wrong"):
        load_private_key(pem, b"Secret", "k.pem")
    for none in (None, b""):
        with pytest.raises(KeyFileError, match="encrypted and no passphrase"):
            load_private_key(pem, none, "k.pem")
    with pytest.raises(KeyFileError, match="not encrypted"):
        load_private_key(private_pem(key, None), b"secret", "k.pem")
    for passphrase in (b"", b"x" * 5000):
        with pytest.raises(KeyFileError, match="passphrase"):
            private_pem(key, passphrase)


def test_the_keyid_is_the_hash_of_the_spki(key):
    assert key.public.keyid == sha256_hex(key.public.der)
    assert "_key" not in repr(key)


def test_rfc_6979_vectors_with_the_smaller_s():
    # RFC 6979, A.2.5, P-256 with SHA-256; the s of "sample" is above n/2
    secret = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
    key = PrivateKey(ec.derive_private_key(secret, ec.SECP256R1()))
    r, s = decode_dss_signature(key.sign(b"sample"))
    assert r == 0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
    assert P256_ORDER - s == 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8
    r, s = decode_dss_signature(key.sign(b"test"))
    assert r == 0xF1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367
    assert s == 0x019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083


def test_rfc_8032_vector():
    # RFC 8032, section 7.1, test 1
    secret = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
    key = PrivateKey(ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret)))
    assert key.sign(b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(ALGORITHMS), st.binary(max_size=200))
def test_signatures_are_deterministic_and_bind_every_byte(name, message):
    key = KEYS[name]
    signature = key.sign(message)
    assert signature == key.sign(message)
    key.public.verify(signature, message)
    with pytest.raises(SignatureError):
        key.public.verify(signature, message + b"\0")
    for other in KEYS.values():
        if other is not key:
            with pytest.raises(SignatureError):
                other.public.verify(signature, message)


def test_every_flipped_bit_of_a_signature_is_refused(key):
    signature = key.sign(b"m")
    for at in range(len(signature)):
        for bit in range(8):
            flipped = bytearray(signature)
            flipped[at] ^= 1 << bit
            with pytest.raises(SignatureError):
                key.public.verify(bytes(flipped), b"m")
    for wrong in (b"", signature[:-1], signature + b"\0", b"\0" + signature):
        with pytest.raises(SignatureError):
            key.public.verify(wrong, b"m")


def test_no_second_ecdsa_signature_can_be_made_from_a_first():
    key = KEYS["ecdsa-p256"]
    r, s = decode_dss_signature(key.sign(b"m"))
    assert 1 <= s <= P256_ORDER // 2
    with pytest.raises(SignatureError, match="smaller of the two"):
        key.public.verify(encode_dss_signature(r, P256_ORDER - s), b"m")
    for values in ((r + P256_ORDER, s), (0, s), (r, 0), (P256_ORDER, s), (r, s + P256_ORDER)):
        with pytest.raises(SignatureError, match="out of range"):
            key.public.verify(encode_dss_signature(*values), b"m")


def test_der_other_than_the_shortest_is_refused():
    key = KEYS["ecdsa-p256"]
    signature = key.sign(b"m")
    long_length = b"\x30\x81" + signature[1:]
    r_length = signature[3]
    padded = (
        bytes([0x30, signature[1] + 1, 2, r_length + 1, 0]) + signature[4 : 4 + r_length]
    ) + signature[4 + r_length :]
    for wrong in (long_length, padded, b"\x30\x80" + signature[2:] + b"\0\0"):
        with pytest.raises(SignatureError, match="strict DER"):
            key.public.verify(wrong, b"m")


def test_ed25519_s_above_the_order_is_refused():
    key = KEYS["ed25519"]
    signature = key.sign(b"m")
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(signature[32:], "little") + order
    with pytest.raises(SignatureError):
        key.public.verify(signature[:32] + s.to_bytes(32, "little"), b"m")


@pytest.fixture(scope="module")
def foreign():
    return {
        "rsa": rsa.generate_private_key(65537, 2048),
        "p384": ec.generate_private_key(ec.SECP384R1()),
        "secp256k1": ec.generate_private_key(ec.SECP256K1()),
        "ed448": ed448.Ed448PrivateKey.generate(),
        "dsa": dsa.generate_private_key(1024),
    }


@pytest.mark.parametrize("name", ["rsa", "p384", "secp256k1", "ed448", "dsa"])
def test_other_kinds_of_key_are_refused(foreign, name):
    key = foreign[name]
    with pytest.raises(KeyFileError, match=r"k\.pem: a (private )?key on? ?") as caught:
        load_private_key(key.private_bytes(PEM, PKCS8, PLAIN), None, "k.pem")
    assert caught.value.expected == "an ECDSA P-256 or Ed25519 key"
    with pytest.raises(KeyFileError, match=r"k\.pem: a (public )?key") as caught:
        load_public_key(key.public_key().public_bytes(PEM, SPKI), "k.pem")
    assert caught.value.expected == "an ECDSA P-256 or Ed25519 key"
    der = key.public_key().public_bytes(serialization.Encoding.DER, SPKI)
    with pytest.raises(KeyFileError):
        PublicKey(der)


def test_private_and_public_are_not_mixed_up(key):
    with pytest.raises(KeyFileError, match="public key where a private one is needed"):
        load_private_key(key.public.pem, None, "k.pub.pem")
    for pem in (private_pem(key, None), private_pem(key, b"p")):
        with pytest.raises(KeyFileError, match="private key where a public one is needed"):
            load_public_key(pem, "k.pem")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello\n",
        b"\xff\xfe" * 10,
        b"-----BEGIN PUBLIC KEY-----\n",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        b"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
        b" " * (MAX_KEY_BYTES + 1),
    ],
)
def test_what_is_no_key_is_refused_by_name(data):
    for load in (load_public_key, lambda pem, where: load_private_key(pem, None, where)):
        with pytest.raises(KeyFileError, match=r"^some\.file: "):
            load(data, "some.file")
    with pytest.raises(KeyFileError):
        load_private_key(data, b"secret", "some.file")


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_any_der_is_a_key_or_a_key_file_error(der):
    with pytest.raises(KeyFileError):
        PublicKey(der)


def test_one_key_has_one_keyid(key):
    with pytest.raises(KeyFileError):
        PublicKey(key.public.der + b"\0")
    with pytest.raises(KeyFileError, match="several PEM blocks"):
        load_public_key(key.public.pem + generate_key().public.pem, "two.pem")
    raw = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    short = raw.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    )
    der = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + short
    with pytest.raises(KeyFileError, match="unusual encoding"):
        PublicKey(der)


def test_other_formats_come_with_the_way_to_convert():
    sec1 = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        PEM, serialization.PrivateFormat.TraditionalOpenSSL, PLAIN
    )
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    for pem in (sec1, parameters + sec1):
        with pytest.raises(KeyFileError, match="openssl pkcs8 -topk8"):
            load_private_key(pem, None, "ec.pem")


@pytest.mark.skipif(os.name != "posix", reason="POSIX permission bits")
def test_private_key_files_must_be_private(tmp_path, key):
    path = tmp_path / "k.pem"
    path.write_bytes(private_pem(key, None))
    for mode in (0o600, 0o400):
        path.chmod(mode)
        assert read_private_key(path, None).public == key.public
    for mode in (0o640, 0o604, 0o620, 0o644, 0o777, 0o610):
        path.chmod(mode)
        with pytest.raises(KeyFileError, match=f"expected mode 0600, found mode {mode:04o}"):
            read_private_key(path, None)


def test_key_files_that_cannot_be_read_are_named(tmp_path, key):
    big = tmp_path / "big.pem"
    big.write_bytes(key.public.pem + b"\n" * MAX_KEY_BYTES)
    big.chmod(0o600)
    for path in (big, tmp_path, tmp_path / "none.pem", big / "below", "a\0b"):
        for read in (read_public_key, lambda path: read_private_key(path, None)):
            with pytest.raises(KeyFileError) as caught:
                read(path)
            assert caught.value.where == str(path)
    path = tmp_path / "k.pub.pem"
    path.write_bytes(key.public.pem)
    path.chmod(0o644)
    assert read_public_key(path) == key.public


@needs_openssl
def test_openssl_verifies_ours_and_we_its(tmp_path):
    key = KEYS["ecdsa-p256"]
    for name, data in (("pub", key.public.pem), ("sig", key.sign(b"hello")), ("m", b"hello")):
        (tmp_path / name).write_bytes(data)
    out = openssl(
        "dgst",
        "-sha256",
        "-verify",
        tmp_path / "pub",
        "-signature",
        tmp_path / "sig",
        tmp_path / "m",
    )
    assert b"Verified OK" in out

    made = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    mine = load_private_key(made, None, "openssl.pem")
    (tmp_path / "priv").write_bytes(made)
    assert load_public_key(openssl("pkey", "-in", tmp_path / "priv", "-pubout"), "p") == mine.public
    assert sha256_hex(openssl("pkey", "-in", tmp_path / "priv", "-pubout", "-outform", "DER")) == (
        mine.public.keyid
    )
    r, s = decode_dss_signature(
        openssl("dgst", "-sha256", "-sign", tmp_path / "priv", tmp_path / "m")
    )
    mine.public.verify(encode_dss_signature(r, min(s, P256_ORDER - s)), b"hello")

    made = openssl("genpkey", "-algorithm", "ED25519", "-aes-256-cbc", "-pass", "pass:abc")
    assert load_private_key(made, b"abc", "openssl.pem").algorithm == "ed25519"


def test_other_verifiers_accept_the_smaller_s():
    key = KEYS["ecdsa-p256"]
    public = serialization.load_pem_public_key(key.public.pem)
    for i in range(8):
        public.verify(key.sign(bytes([i])), bytes([i]), ec.ECDSA(hashes.SHA256()))
