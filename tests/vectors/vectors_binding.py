"""Bundles that cite a binding: SPEC.md, step 14 and section 19."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import vector_parts as v
from vector_cases import add

BINDING = "urn:deniability:binding/v1"
Predicate = dict[str, Any]
Change = Callable[[Predicate], Any]


def picture(number: int, kind: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a picture that was reached."""
    return {
        "file": {"name": f"{number:03d}.png", "size": 500, "sha256": v.sha(f"output {number}")},
        "stop": "reached",
        "kind": v.independent.digest(kind),
        "pixels": v.sha(f"pixels {number}"),
        "residual": "0",
        "distance": "5.00000e-06",
        "restart": 0,
        "latent": v.sha(f"bound {number}"),
        "pixelForPixel": True,
    }


def list_of(pictures: list[dict[str, Any]]) -> bytes:
    """Return what `sha256sum` prints of the pictures."""
    return "".join(f"{p['file']['sha256']}  {p['file']['name']}\n" for p in pictures).encode()


def binding(
    *, count: int = 30, jpegs: int = 0, model: str = "m", listed: bool = False
) -> dict[str, Any]:
    """Return the statement of a binding that holds, of the model of `v.make(model=model)`."""
    cited = v.make(model=model)["predicate"]
    protocol, kinds = cited["protocol"], [v.lossless(), v.jpeg()]
    truths = ["2.00000e-07"] * protocol["controls"]
    entries = [
        {"kind": kinds[0], "truths": [], "threshold": protocol["resolution"]},
        {"kind": kinds[1], "truths": truths, "threshold": truths[0]},
    ]
    pictures = [picture(i, kinds[i >= count - jpegs]) for i in range(count)]
    shared = ("model", "generator", "registration", "protocol", "protocolDigest", "environment")
    predicate = {name: cited[name] for name in shared} | {
        "kinds": entries if jpegs else entries[:1],
        "pictures": pictures,
        "latents": {"name": "binding.latents.safetensors", "size": 9, "sha256": v.sha("bound")},
        "createdAt": "2026-11-03T00:00:00Z",
    }
    if listed:
        predicate["obtained"] = {"contents": v.b64(list_of(pictures))}
    statement = {
        "_type": v.STATEMENT_TYPE,
        "subject": [
            {"name": f["name"], "digest": {"sha256": f["sha256"]}} for f in cited["model"]["files"]
        ],
        "predicateType": BINDING,
        "predicate": predicate,
    }
    return mend(statement)


def mend(statement: dict[str, Any], *, keep: tuple[str, ...] = ()) -> dict[str, Any]:
    """Make what follows from the pictures follow again, as a dishonest signer would."""
    predicate = statement["predicate"]
    if "obtained" in predicate and "list" not in keep:
        raw = v.independent.from_base64(predicate["obtained"]["contents"], "list")
        digest = hashlib.sha256(raw).hexdigest()
        predicate["obtained"] |= {"sha256": digest, "count": raw.count(b"\n")}
    if "scope" not in keep:
        predicate["scope"] = v.independent.binding_scope(predicate.get("obtained"))
    if "result" not in keep:
        predicate["result"] = v.independent.binding_result(predicate)
    return statement


def citing(raw: bytes) -> bytes:
    """Return the bundle that cites a binding's file."""
    content = v.statement()
    content["predicate"]["binding"] = v.b64(raw)
    return v.sign(v.mend(content))


def changed(
    change: Change, *, keep: tuple[str, ...] = (), key: Any = v.KEY, **options: Any
) -> Callable[[], bytes]:
    """Return what builds a bundle that cites a changed binding, signed again."""

    def build() -> bytes:
        statement = binding(**options)
        change(statement["predicate"])
        return citing(v.sign(mend(statement, keep=keep), key))

    return build


def nothing(_: Predicate) -> None:
    """Change nothing."""


def missed(predicate: Predicate) -> None:
    """Have the fourth picture not reached."""
    predicate["pictures"][3] |= {"stop": "stalled", "residual": "9.00000e-06"}
    del predicate["pictures"][3]["pixelForPixel"]


def twice(field: str) -> Change:
    """Give the last picture a digest of the first."""

    def change(predicate: Predicate) -> None:
        first, last = predicate["pictures"][0], predicate["pictures"][-1]
        if field == "sha256":
            last["file"]["sha256"] = first["file"]["sha256"]
        else:
            last[field] = first[field]

    return change


def relisted(change: Callable[[bytes], bytes]) -> Change:
    """Change the list, its digest and count with it."""

    def apply(predicate: Predicate) -> None:
        raw = v.independent.from_base64(predicate["obtained"]["contents"], "list")
        predicate["obtained"]["contents"] = v.b64(change(raw))

    return apply


def claimed(**fields: Any) -> Change:
    """Write other words into the result."""
    return lambda predicate: predicate["result"].update(fields)


# --- hold

for name, about, build, keys in (
    (
        "binding-of-the-same-key",
        "Thirty outputs without loss, chosen and signed by the bundle's own signer.",
        changed(nothing),
        (v.KEY,),
    ),
    (
        "binding-of-another-trusted-key",
        "Signed by a third party whom the verifier trusts; with a list of what was obtained.",
        changed(nothing, key=v.SECOND, listed=True),
        (v.KEY, v.SECOND),
    ),
    (
        "binding-of-an-unknown-key",
        "Signed by a key that the verifier does not trust: it shows nothing and refuses nothing.",
        changed(nothing, key=v.ATTACKER),
        (v.KEY,),
    ),
    (
        "binding-not-bound",
        "One of thirty pictures was not reached, and the binding says so.",
        changed(missed),
        (v.KEY,),
    ),
    (
        "binding-of-jpegs",
        "Forty outputs, thirty-five of them JPEG, of which the threshold follows.",
        changed(nothing, count=40, jpegs=35),
        (v.KEY,),
    ),
    (
        "binding-with-a-repeated-picture",
        "Thirty-one pictures, of which two show one output, which is counted once.",
        changed(lambda p: (twice("pixels")(p), p["pictures"][-1].update(repeats=0)), count=31),
        (v.KEY,),
    ),
):
    add("passing", name, about, build, keys=keys)

# --- do not

for name, about, build, says in (
    (
        "binding-of-29",
        "Twenty-nine pictures, and a result of thirty.",
        changed(lambda p: p["pictures"].pop(), keep=("result",)),
        "result.verdict",
    ),
    (
        "binding-one-not-reached",
        "One picture was not reached, and the result is `bound` all the same.",
        changed(missed, keep=("result",)),
        "result.verdict",
    ),
    (
        "binding-called-reached",
        "A picture above the threshold is called reached.",
        changed(lambda p: p["pictures"][3].update(residual="9.00000e-06")),
        "pictures.3.stop",
    ),
    (
        "binding-residual-below-the-resolution",
        "A residual that would be written as 0.",
        changed(lambda p: p["pictures"][3].update(residual="1.00000e-10")),
        "pictures.3.residual",
    ),
    (
        "binding-one-file-twice",
        "One file under two names, counted twice.",
        changed(twice("sha256")),
        "pictures.29.repeats",
    ),
    (
        "binding-one-picture-twice",
        "Two files of the same pixels, counted twice.",
        changed(twice("pixels")),
        "pictures.29.repeats",
    ),
    (
        "binding-one-latent-twice",
        "Two pictures by one latent, counted twice.",
        changed(twice("latent")),
        "pictures.29.repeats",
    ),
    (
        "binding-repeats-a-later-one",
        "A picture repeats one that comes after it.",
        changed(lambda p: p["pictures"][3].update(repeats=5), count=31),
        "pictures.3.repeats",
    ),
    (
        "binding-count-edited",
        "The count says one more than there are.",
        changed(claimed(count=31), keep=("result",)),
        "result.count",
    ),
    (
        "binding-share-edited",
        "The share is a millionth too small.",
        changed(claimed(share="0.095033"), keep=("result",)),
        "result.share",
    ),
    (
        "binding-sentence-edited",
        "The sentence says something else.",
        changed(claimed(sentence="Bound: all of them."), keep=("result",)),
        "result.sentence",
    ),
    (
        "binding-scope-edited",
        "What the binding does not show is left out.",
        changed(lambda p: p["scope"].pop(), keep=("scope",)),
        "scope",
    ),
    (
        "binding-threshold-raised",
        "The threshold of the JPEGs is above that of their truths.",
        changed(lambda p: p["kinds"][1].update(threshold="5.00000e-06"), count=40, jpegs=9),
        "kinds.1.threshold",
    ),
    (
        "binding-truths-for-lossless",
        "Truths for a lossless kind, whose threshold they might raise.",
        changed(
            lambda p: p["kinds"][0].update(truths=["5.00000e-06"] * 99, threshold="5.00000e-06")
        ),
        "kinds.0.truths",
    ),
    (
        "binding-truths-left-out",
        "One truth of the JPEGs is missing.",
        changed(lambda p: p["kinds"][1]["truths"].pop(), count=40, jpegs=9),
        "kinds.1.truths",
    ),
    (
        "binding-kind-of-another-size",
        "The pictures are of another size than the model's.",
        changed(
            lambda p: (
                p["kinds"][0]["kind"].update(width=16),
                [r.update(kind=v.independent.digest(p["kinds"][0]["kind"])) for r in p["pictures"]],
            )
        ),
        "kinds.0.kind",
    ),
    (
        "binding-kind-with-an-edit",
        "The pictures are taken for edited outputs, which a service does not give.",
        changed(
            lambda p: (
                p["kinds"][0]["kind"].update(edit="noisy"),
                [r.update(kind=v.independent.digest(p["kinds"][0]["kind"])) for r in p["pictures"]],
            )
        ),
        "kinds.0.kind.edit",
    ),
    (
        "binding-list-of-more",
        "A file of the list is not among the pictures.",
        changed(relisted(lambda raw: raw + b"0" * 64 + b"  x.png\n"), listed=True),
        "pictures are not those of the list",
    ),
    (
        "binding-list-of-fewer",
        "A picture is not on the list.",
        changed(relisted(lambda raw: raw[raw.index(b"\n") + 1 :]), listed=True),
        "pictures are not those of the list",
    ),
    (
        "binding-list-digest",
        "The list has another digest than is stated.",
        changed(lambda p: p["obtained"].update(sha256="0" * 64), keep=("list",), listed=True),
        "obtained.sha256",
    ),
    (
        "binding-list-count",
        "The list has fewer lines than is stated.",
        changed(lambda p: p["obtained"].update(count=31), keep=("list",), listed=True),
        "obtained.count",
    ),
    (
        "binding-list-of-something-else",
        "The list is none.",
        changed(relisted(lambda _: b"thirty pictures\n"), listed=True),
        "obtained.contents",
    ),
    (
        "binding-of-another-model",
        "A binding that holds, of other weights.",
        changed(nothing, model="other"),
        "of another model",
    ),
    (
        "binding-of-another-description",
        "A binding of these weights with another output range.",
        changed(lambda p: p["generator"].update(outputRange=["0", "1"])),
        "describes the model otherwise",
    ),
    (
        "binding-of-another-preset",
        "A protocol that is none of the presets.",
        changed(
            lambda p: p.update(
                protocol=p["protocol"] | {"resolution": "1.00000e-03"},
                protocolDigest=v.independent.digest(p["protocol"] | {"resolution": "1.00000e-03"}),
            )
        ),
        "protocol",
    ),
    (
        "binding-with-a-chain",
        "The reference to the registration has a chain, which nobody would check.",
        changed(lambda p: p.update(registration=p["registration"] | {"chain": "AAAA"})),
        "registration.chain",
    ),
    (
        "binding-of-other-subjects",
        "Its subjects are its pictures.",
        lambda: citing(
            v.sign(
                binding()
                | {"subject": [{"name": "000.png", "digest": {"sha256": v.sha("output 0")}}]}
            )
        ),
        "subject",
    ),
    (
        "binding-signed-by-an-attacker-under-the-trusted-name",
        "Another key signed it and gives the trusted key's name.",
        lambda: citing(
            v.sign(binding(), v.ATTACKER).replace(
                v.keyid(v.ATTACKER).encode(), v.keyid(v.KEY).encode()
            )
        ),
        "does not verify",
    ),
    (
        "binding-is-a-bundle",
        "A bundle in the place of the binding.",
        lambda: citing(v.sign(v.statement())),
        "does not verify",
    ),
    ("binding-garbage", "No signed file at all.", lambda: citing(b"bound"), "does not verify"),
    (
        "binding-scope-of-the-bundle",
        "A binding; the bundle's scope as without one.",
        lambda: v.sign(
            v.mend(
                v.statement()
                | {"predicate": v.statement()["predicate"] | {"binding": v.b64(v.sign(binding()))}},
                keep=("scope",),
            )
        ),
        "scope",
    ),
):
    add("commitment", name, about, build, says=says)
