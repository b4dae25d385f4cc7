"""Validly signed payloads that are no statement of the one form: stage statement."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import vector_parts as v
from vector_cases import add


def raw(change: Callable[[bytes], bytes]) -> bytes:
    """Sign other bytes of a statement that holds."""
    good = v.canonical(v.statement())
    changed = change(good)
    assert changed != good
    return v.sign(changed)


def field(change: Callable[[dict[str, Any]], Any]) -> bytes:
    """Change the predicate, and what follows, and sign."""
    content = v.statement()
    change(content["predicate"])
    return v.sign(content)


def top(change: Callable[[dict[str, Any]], Any]) -> bytes:
    content = v.statement()
    change(content)
    return v.sign(content)


def written(name: str, about: str, change: Callable[[bytes], bytes], **options: Any) -> None:
    add("statement", name, about, functools.partial(raw, change), **options)


def formed(name: str, about: str, change: Callable[[dict[str, Any]], Any], says: str = "") -> None:
    add("statement", name, about, functools.partial(field, change), says=says)


written("white-space-after", "A newline behind the payload.", lambda p: p + b"\n")
written("byte-order-mark", "A byte order mark.", lambda p: b"\xef\xbb\xbf" + p)
written("trailing-garbage", "A second value.", lambda p: p + b"null")
written(
    "formatted",
    "Spaces after colons and commas.",
    lambda p: json.dumps(json.loads(p), sort_keys=True).encode(),
)
written(
    "duplicate-key-at-the-top",
    "predicateType twice, the last being right.",
    lambda p: p.replace(b'"predicateType":', b'"predicateType":"x","predicateType":'),
)
written(
    "duplicate-key-nested",
    "A verdict before the verdict.",
    lambda p: p.replace(b'"verdict":', b'"verdict":"reached","verdict":'),
)
written(
    "duplicate-key-escaped",
    "A verdict under an escaped spelling of the same key.",
    lambda p: p.replace(b'"verdict":', b'"verd\\u0069ct":"reached","verdict":'),
)
written(
    "key-order",
    "Members in another order.",
    lambda p: json.dumps(
        dict(reversed(json.loads(p).items())), separators=(",", ":"), ensure_ascii=False
    ).encode(),
)
written("escape", "A letter escaped.", lambda p: p.replace(b"accused.png", b"\\u0061ccused.png"))
written("lone-surrogate", "Half a pair.", lambda p: p.replace(b"accused.png", b"\\udc00.png"))
written("invalid-utf-8", "Not UTF-8.", lambda p: p.replace(b"accused.png", b"\xc3.png"))
written("overlong-utf-8", "A slash in two bytes.", lambda p: p.replace(b"d.png", b"\xc0\xafg"))
for name, number in (
    ("nan", b"NaN"),
    ("infinity", b"Infinity"),
    ("1e999", b"1e999"),
    ("fraction", b"8.0"),
    ("minus-zero", b"-0"),
    ("exponent", b"8e0"),
    ("leading-zero", b"08"),
    ("plus", b"+8"),
    ("too-large", b"9007199254740993"),
    ("digits", b"9" * 5000),
):
    written(
        f"number-{name}",
        "A number that canonical JSON does not have, as a width."[:55],
        lambda p, n=number: p.replace(b'"width":8', b'"width":' + n, 1),
    )
written(
    "deep",
    "A thousand nested lists in a field.",
    lambda p: p.replace(b'"cautions":[]', b'"cautions":' + b"[" * 1000 + b"]" * 1000),
)
written(
    "many-values",
    "Two million empty objects in a field: a thousand times their size if they were parsed.",
    lambda p: p.replace(b'"cautions":[]', b'"cautions":[' + b",".join([b"{}"] * 2_000_000) + b"]"),
    stored=False,
    says="too many values",
)
written("empty", "No payload.", lambda _: b"")
written("not-an-object", "A list.", lambda p: b"[" + p + b"]")
add(
    "statement",
    "predicate-type-registration",
    "The same predicate called a registration.",
    lambda: top(lambda s: s.update(predicateType=v.REGISTRATION)),
    says="predicateType",
)
add(
    "statement",
    "predicate-type-newer",
    "A version that does not exist.",
    lambda: top(lambda s: s.update(predicateType="urn:deniability:exclusion/v2")),
    says="predicateType",
)
add(
    "statement",
    "statement-type",
    "An older statement.",
    lambda: top(lambda s: s.update(_type="https://in-toto.io/Statement/v0.1")),
    says="_type",
)
add(
    "statement",
    "no-subject",
    "No subject.",
    lambda: top(lambda s: s.update(subject=[])),
    says="subject",
)
add(
    "statement",
    "annotations",
    "A field of later in-toto versions.",
    lambda: top(lambda s: s["subject"][0].update(annotations={})),
    says="annotations",
)
add(
    "statement",
    "subject-second-digest",
    "A second digest of the subject.",
    lambda: top(lambda s: s["subject"][0]["digest"].update(sha512="0" * 128)),
    says="sha512",
)
formed("unknown-field", "A field more.", lambda p: p.update(note="x"), "note")
formed("missing-finding", "No finding.", lambda p: p.pop("finding"), "finding")
formed("missing-controls", "No controls.", lambda p: p.pop("controls"), "controls")
formed("null-encoder", "null in place of nothing.", lambda p: p.update(encoder=None), "encoder")
formed(
    "python-names",
    "A field under its Python name.",
    lambda p: p.update(trace_root=p.pop("traceRoot")),
    "trace",
)
for name, value in (
    ("number", 0),
    ("nan", "NaN"),
    ("infinity", "Infinity"),
    ("negative", "-4.40000e-02"),
    ("five-digits", "4.4000e-02"),
    ("capital", "4.40000E-02"),
    ("leading-zero", "0.44000e-01"),
    ("three-digit-exponent", "4.40000e-002"),
    ("line-break", "4.40000e-02\n"),
    ("minus-zero-exponent", "4.40000e-00"),
    ("other-digits", "\u0664.40000e-02"),
    ("true", True),
):
    formed(
        f"residual-{name}",
        f"A residual written {value!a}.",
        lambda p, r=value: p["restarts"][0].update(residual=r),
        "restarts.0.residual",
    )
for name, text in (
    ("ansi", "\x1b[2Jaccused.png"),
    ("c1-control", "\x9b2Jaccused.png"),
    ("bidi", "gnp.\u202edesucca"),
    ("bidi-isolate", "\u2066accused.png\u2069"),
    ("bidi-mark", "accused\u200f.png"),
    ("line-break", "accused.png\nOK"),
    ("line-separator", "accused.png\u2028OK"),
    ("nul", "accused.png\x00.exe"),
    ("empty", ""),
    ("long", "a" * 2001),
):
    formed(
        f"name-{name}",
        "The accused file's name would deceive a terminal, or is none."[:61],
        lambda p, t=text: p["accused"]["file"].update(name=t),
        "accused.file.name",
    )
for name, path in (
    ("parent", "../m-1.pt"),
    ("inner-parent", "a/../../m-1.pt"),
    ("absolute", "/etc/m-1.pt"),
    ("backslash", "..\\m-1.pt"),
    ("drive", "C:\\m-1.pt"),
    ("dot", "./m-1.pt"),
    ("empty-part", "a//m-1.pt"),
):

    def renamed(path: str = path) -> bytes:
        content = v.statement()
        content["predicate"]["model"]["files"][0]["name"] = path
        return v.sign(v.mend(content))

    add("commitment", f"model-file-{name}", f"A model file called {path}.", renamed)
formed(
    "time-that-does-not-exist",
    "February 30th.",
    lambda p: p.update(createdAt="2026-02-30T00:00:00Z"),
    "createdAt",
)
formed(
    "time-zone",
    "Another time zone.",
    lambda p: p.update(createdAt="2026-11-02T00:00:00+01:00"),
    "createdAt",
)
formed(
    "gray-file-colour-model",
    "A gray file is not compared with a colour model.",
    lambda p: (
        p["accused"]["kind"].update(channels=1),
        p["controls"]["kind"].update(channels=1),
    ),
    "kind",
)
formed(
    "jpeg-fields-of-a-lossless-kind",
    "A lossless kind with quantisation tables.",
    lambda p: p["accused"]["kind"].update(lumaTable=v.LUMA),
    "kind",
)
formed("unknown-verdict", "Innocent.", lambda p: p["finding"].update(verdict="innocent"), "verdict")
formed("negative-count", "k = -1.", lambda p: p["finding"]["families"][0].update(k=-1), "k")
formed("true-for-one", "true as an index.", lambda p: p["restarts"][1].update(index=True), "index")
