"""What is wrong with the file, the envelope or the signature: stages parse, trust, signature."""

from __future__ import annotations

import base64
import functools
import itertools
import json
from collections.abc import Callable
from typing import Any

import vector_parts as v
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from vector_cases import add


def good() -> bytes:
    return v.sign(v.statement())


def payload() -> bytes:
    return v.canonical(v.statement())


def outer(change: Callable[[dict[str, Any]], Any], key: Any = v.KEY) -> bytes:
    """Change what is not signed."""
    bundle = v.envelope(payload(), key)
    change(bundle)
    return v.canonical(bundle)


def parse(name: str, about: str, build: Callable[[], bytes], **options: Any) -> None:
    add("parse", name, about, build, **options)


def changed(name: str, about: str, change: Callable[[dict[str, Any]], Any], **options: Any) -> None:
    parse(name, about, functools.partial(outer, change), **options)


# --- parse: other bytes

parse("white-space-after", "A newline behind the bundle.", lambda: good() + b"\n")
parse("white-space-inside", "A space after a colon.", lambda: good().replace(b'":', b'": ', 1))
parse("formatted", "Indented.", lambda: json.dumps(json.loads(good()), indent=1).encode())
parse("byte-order-mark", "A UTF-8 byte order mark.", lambda: b"\xef\xbb\xbf" + good())
parse("trailing-garbage", "A second value behind the first.", lambda: good() + b"{}")
parse("cut-short", "The last half is missing.", lambda: good()[: len(good()) // 2])
parse("empty", "An empty file.", lambda: b"")
parse("other-file", "Not JSON at all.", lambda: b"<!DOCTYPE html><title>404</title>")
parse(
    "key-order",
    "Members in another order.",
    lambda: json.dumps(dict(reversed(json.loads(good()).items())), separators=(",", ":")).encode(),
)
parse(
    "needless-escape",
    "A letter of a string escaped.",
    lambda: good().replace(b"application/vnd.in-toto", b"\\u0061pplication/vnd.in-toto"),
)
parse(
    "escaped-slash", "A slash escaped.", lambda: good().replace(b"vnd.in-toto+json", b"vnd.in\\/x")
)
parse(
    "duplicate-key-at-the-top",
    "mediaType twice.",
    lambda: good().replace(b'"mediaType":', b'"mediaType":"x","mediaType":'),
)
parse(
    "duplicate-key-nested",
    "keyid twice in the signature; parsers take the last.",
    lambda: good().replace(b'[{"keyid":', b'[{"keyid":"' + b"0" * 64 + b'","keyid":'),
)
parse(
    "duplicate-payload",
    "Two payloads: the first is another's.",
    lambda: good().replace(
        b'{"payload":',
        b'{"payload":"' + base64.b64encode(v.canonical(v.statement("reached"))) + b'","payload":',
    ),
)
for name, value in (
    ("nan", b"NaN"),
    ("infinity", b"1e999"),
    ("fraction", b"1.0"),
    ("minus-zero", b"-0"),
):
    parse(
        f"number-{name}",
        f"The number {value.decode()} where a list is.",
        lambda value=value: good().replace(b'"tlogEntries":[]', b'"tlogEntries":[' + value + b"]"),
    )
parse("invalid-utf-8", "A byte that is not UTF-8.", lambda: good().replace(b"vnd.in", b"vnd\xffin"))
parse(
    "lone-surrogate",
    "Half a surrogate pair, escaped.",
    lambda: good().replace(b"vnd.in-toto", b"\\ud800"),
)
parse(
    "deep",
    "A hundred thousand nested lists beside the payload.",
    lambda: good().replace(b'"tlogEntries":[]', b'"tlogEntries":' + b"[" * 10**5 + b"]" * 10**5),
    stored=False,
)
parse(
    "large-beside-payload",
    "More than 1 MiB beside the payload.",
    lambda: good().replace(
        b'"tlogEntries":[]', b'"tlogEntries":[' + b",".join([b"0"] * 600000) + b"]"
    ),
    stored=False,
)
parse(
    "large",
    "More than 64 MiB.",
    lambda: b'{"dsseEnvelope":{"payload":"' + b"A" * (64 * 2**20),
    stored=False,
)

# --- parse: another form

material = "verificationMaterial"
changed("media-type", "An older bundle.", lambda b: b.update(mediaType=b["mediaType"][:-8] + "2"))
changed("unknown-field", "A member more.", lambda b: b.update(note="trust me"), says="note")
changed(
    "null", "null for an empty list.", lambda b: b[material].update(tlogEntries=None), says="tlog"
)
changed("missing-field", "No hint.", lambda b: b[material].update(publicKey={}), says="hint")
changed(
    "log-entry",
    "A log entry, which nobody checks.",
    lambda b: b[material].update(tlogEntries=[{"logIndex": "1"}]),
    says="tlogEntries",
)
changed(
    "embedded-certificate",
    "The attacker's key in the bundle in place of a hint.",
    lambda b: b[material].update(publicKey={"rawBytes": v.b64(v.public(v.ATTACKER))}),
)
changed(
    "embedded-key-beside-hint",
    "The attacker's key beside the hint.",
    lambda b: b[material]["publicKey"].update(rawBytes=v.b64(v.public(v.ATTACKER))),
    says="rawBytes",
)
changed(
    "two-signatures",
    "One signature twice.",
    lambda b: b["dsseEnvelope"].update(signatures=b["dsseEnvelope"]["signatures"] * 2),
    says="signatures",
)
changed("no-signature", "None.", lambda b: b["dsseEnvelope"].update(signatures=[]))
changed(
    "hint-upper-case",
    "The key's name in capitals.",
    lambda b: b[material]["publicKey"].update(hint=v.keyid(v.KEY).upper()),
    says="hint",
)
for name, kind in (
    ("text", "text/plain"),
    ("json", "application/json"),
    ("non-ascii", "application/vnd.in-toto+jsön"),
    ("capitals", "Application/vnd.in-toto+json"),
):
    parse(
        f"payload-type-{name}",
        f"Validly signed as {kind}.",
        lambda kind=kind: v.canonical(v.envelope(payload(), kind=kind)),
        says="payloadType",
    )

for where in ("payload", "sig"):
    holder: Callable[[dict[str, Any]], dict[str, Any]]
    if where == "payload":
        holder = lambda b: b["dsseEnvelope"]  # noqa: E731
    else:
        holder = lambda b: b["dsseEnvelope"]["signatures"][0]  # noqa: E731
    for name, about, respell in (
        ("line-break", "A line break in base64.", lambda t: t[:64] + "\n" + t[64:]),
        ("trailing", "Something behind the padding.", lambda t: t + "AAAA="),
        ("padding", "Padding too much.", lambda t: t + "="),
        ("url-alphabet", "The alphabet of URLs.", lambda t: "-_" + t[2:]),
        ("not-ascii", "A digit outside ASCII.", lambda t: "\uff21" + t[1:]),
    ):
        changed(
            f"base64-{where}-{name}",
            f"{about} ({where})",
            lambda b, h=holder, w=where, r=respell: h(b).update({w: r(h(b)[w])}),
            says=where,
        )


def unused_bits() -> bytes:
    """Set a bit of the last base64 digit that decoders ignore."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    bundle = v.envelope(payload(), v.ED25519)  # 64 bytes: two = and four unused bits
    text = bundle["dsseEnvelope"]["signatures"][0]["sig"]
    last = digits[digits.index(text[-3]) | 1]
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = text[:-3] + last + "=="
    assert base64.b64decode(text) == base64.b64decode(text[:-3] + last + "==")
    return v.canonical(bundle)


parse("base64-unused-bits", "Bits that decoders ignore are set.", unused_bits, keys=(v.ED25519,))

# --- trust

add("trust", "unknown-signer", "Validly signed by a stranger.", good, keys=(v.SECOND,))
add("trust", "nobody-trusted", "The verifier trusts no key.", good, keys=())
add(
    "trust",
    "attacker-under-own-name",
    "The attacker signs with a key of his own.",
    lambda: v.sign(v.statement(), v.ATTACKER),
)
add(
    "trust",
    "names-of-another-key",
    "Both names are changed to a key that is not trusted.",
    lambda: outer(
        lambda b: (
            b[material]["publicKey"].update(hint=v.keyid(v.ATTACKER)),
            b["dsseEnvelope"]["signatures"][0].update(keyid=v.keyid(v.ATTACKER)),
        )
    ),
)

# --- signature


def signed_as(build: Callable[[bytes], bytes], key: Any = v.KEY) -> bytes:
    """Put the signature that `build(payload)` returns."""
    raw = build(payload())
    return outer(lambda b: b["dsseEnvelope"]["signatures"][0].update(sig=v.b64(raw)), key)


def respelled(build: Callable[[int, int], bytes]) -> bytes:
    """Write the numbers of the true signature in another way."""
    return signed_as(
        lambda p: build(*decode_dss_signature(v.signature(v.pae(v.PAYLOAD_TYPE.encode(), p))))
    )


def _length_in_characters() -> bytes:
    raw = v.canonical(v.make(picture="ü.png"))
    bundle = v.envelope(raw)
    head = b"DSSEv1 28 application/vnd.in-toto+json %d " % len(raw.decode())
    assert len(raw.decode()) < len(raw)
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = v.b64(v.signature(head + raw))
    return v.canonical(bundle)


def signature(name: str, about: str, build: Callable[[], bytes], **options: Any) -> None:
    add("signature", name, about, build, **options)


def integer(value: int, pad: int = 0) -> bytes:
    raw = bytes(pad) + value.to_bytes((value.bit_length() + 8) // 8, "big")
    return b"\x02" + bytes([len(raw)]) + raw


def sequence(*parts: bytes) -> bytes:
    raw = b"".join(parts)
    return b"\x30" + bytes([len(raw)]) + raw


signature(
    "keyid-differs-from-hint",
    "keyid names another key than the hint.",
    lambda: outer(lambda b: b["dsseEnvelope"]["signatures"][0].update(keyid="0" * 64)),
    says="keyid",
)
signature(
    "attacker-under-the-trusted-name",
    "Signed by the attacker; keyid and hint are the trusted key's.",
    lambda: signed_as(lambda p: v.signature(v.pae(v.PAYLOAD_TYPE.encode(), p), v.ATTACKER)),
)
signature(
    "high-s",
    "The other s that verifies.",
    lambda: respelled(lambda r, s: encode_dss_signature(r, v.ORDER - s)),
)
signature(
    "ber-padded-integer",
    "An integer with a needless zero byte.",
    lambda: respelled(lambda r, s: sequence(integer(r, 1), integer(s))),
)
signature(
    "ber-long-length",
    "A length written in two bytes.",
    lambda: respelled(lambda r, s: b"\x30\x81" + sequence(integer(r), integer(s))[1:]),
)
signature(
    "der-trailing-byte",
    "A byte behind the sequence.",
    lambda: respelled(lambda r, s: encode_dss_signature(r, s) + b"\0"),
)
signature(
    "der-third-integer",
    "Three integers.",
    lambda: respelled(lambda r, s: sequence(integer(r), integer(s), integer(1))),
)
signature(
    "raw-r-and-s",
    "r and s as 64 bytes.",
    lambda: respelled(lambda r, s: r.to_bytes(32, "big") + s.to_bytes(32, "big")),
)
signature(
    "zero-r-and-s", "r = s = 0.", lambda: respelled(lambda *_: sequence(integer(0), integer(0)))
)
signature(
    "s-plus-order", "s + n.", lambda: respelled(lambda r, s: encode_dss_signature(r, s + v.ORDER))
)
signature("signature-empty", "No bytes.", lambda: signed_as(lambda _: b""))
signature(
    "ed25519-s-plus-order",
    "Ed25519 with S + L.",
    lambda: signed_as(
        lambda p: _plus_order(v.signature(v.pae(v.PAYLOAD_TYPE.encode(), p), v.ED25519)),
        v.ED25519,
    ),
    keys=(v.ED25519,),
)


def _plus_order(raw: bytes) -> bytes:
    scalar = int.from_bytes(raw[32:], "little") + 2**252 + 27742317777372353535851937790883648493
    return raw[:32] + scalar.to_bytes(32, "little")


signature(
    "payload-without-pae", "Signed are the payload's bytes only.", lambda: signed_as(v.signature)
)
signature(
    "pae-of-base64",
    "Signed is the base64 text.",
    lambda: signed_as(lambda p: v.signature(v.pae(v.PAYLOAD_TYPE.encode(), base64.b64encode(p)))),
)
signature(
    "pae-of-another-type",
    "Signed for another payload type.",
    lambda: signed_as(lambda p: v.signature(v.pae(b"application/json", p))),
)
signature(
    "pae-length-in-characters",
    "The payload's length counted in characters, of a statement with a name outside ASCII.",
    _length_in_characters,
)
signature(
    "sha-512",
    "ECDSA over SHA-512.",
    lambda: signed_as(
        lambda p: _low(
            v.KEY.sign(
                v.pae(v.PAYLOAD_TYPE.encode(), p),
                ec.ECDSA(hashes.SHA512(), deterministic_signing=True),
            )
        )
    ),
)


def _low(raw: bytes) -> bytes:
    r, s = decode_dss_signature(raw)
    return encode_dss_signature(r, min(s, v.ORDER - s))


def edited(change: Callable[[dict[str, Any]], Any]) -> bytes:
    """Change the statement as a third party would: all follows, but nobody signs."""
    bundle, content = v.envelope(payload()), v.statement()
    change(content["predicate"])
    v.mend(content)
    bundle["dsseEnvelope"]["payload"] = v.b64(v.canonical(content))
    return v.canonical(bundle)


signature(
    "finding-edited-by-a-third-party",
    "The accuser lowers a residual to 0, and all follows; the old signature.",
    lambda: edited(lambda p: p["accused"].update(cautions=["a caution"])),
)
signature(
    "registration-edited-by-a-third-party",
    "Another registration is named; the old signature.",
    lambda: edited(lambda p: p["registration"].update(payload="0" * 64)),
)
signature(
    "created-at-edited-by-a-third-party",
    "Dated back; the old signature.",
    lambda: edited(lambda p: p.update(createdAt="2020-01-01T00:00:00Z")),
)

VERDICTS = ("excluded", "inconclusive", "reached")


def moved(to: str, source: str) -> bytes:
    """Put the signature of one bundle on another."""
    bundle = v.envelope(v.canonical(v.statement(to)))
    other = v.envelope(v.canonical(v.statement(source)))
    bundle["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"]
    return v.canonical(bundle)


for to, source in itertools.permutations(VERDICTS, 2):
    signature(
        f"moved-from-{source}-to-{to}",
        f"The signature of the bundle that says {source}, on the one that says {to}.",
        functools.partial(moved, to, source),
    )
