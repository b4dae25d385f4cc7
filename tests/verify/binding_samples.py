"""Synthetic bindings, valid at V0, and bundles that cite them. No torch."""

import base64
import copy
import functools

from bundle_samples import _ENVIRONMENT, _GENERATOR, KEY, KIND, MODEL, QUICK, sign, statement

from deniability.crypto.digest import sha256_hex
from deniability.stats.binding import binding_scope, decide_binding, kind_threshold
from deniability.stats.sentence import scope_lines
from deniability.wire.binding import BindingKind, BoundPicture, Obtained
from deniability.wire.observation import ObservationKind
from deniability.wire.registration import FileDescriptor
from deniability.wire.statement import BINDING_TYPE, STATEMENT_TYPE

JPEG_KIND = ObservationKind(
    family="jpeg",
    channels=3,
    height=8,
    width=8,
    model_channels=3,
    components="ycc444",
    luma_table=(2,) * 64,
    chroma_table=(2,) * 64,
    orientation=1,
)
_TRUTHS = ("2.00000e-07",) * 98 + ("notFinite",)
LOSSLESS = BindingKind(kind=KIND, truths=(), threshold=kind_threshold(KIND, (), QUICK))
JPEG = BindingKind(
    kind=JPEG_KIND, truths=_TRUTHS, threshold=kind_threshold(JPEG_KIND, _TRUTHS, QUICK)
)


def unread(number, **changes):
    """A picture that could not be examined."""
    name = f"{number:03d}.png"
    file = FileDescriptor(name=name, size=500, sha256=sha256_hex(name.encode()))
    return BoundPicture(file=file, stop="notExamined", reason="of another size", **changes)


def picture(number, *, kind=LOSSLESS, stop="reached", residual="0", **changes):
    name = f"{number:03d}.png"
    values = {
        "file": FileDescriptor(name=name, size=500, sha256=sha256_hex(name.encode())),
        "stop": stop,
        "kind": kind.kind.digest(),
        "pixels": sha256_hex(b"pixels of %d" % number),
        "residual": residual,
        "distance": "5.00000e-06",
        "restart": 0,
        "latent": sha256_hex(b"latent of %d" % number),
        "pixel_for_pixel": True if stop == "reached" else None,
    }
    return BoundPicture(**(values | changes))


def pictures(count, *, jpeg=0):
    """So many pictures that were reached, the last `jpeg` of them JPEG."""
    return tuple(picture(i, kind=JPEG if i >= count - jpeg else LOSSLESS) for i in range(count))


def list_of(shown):
    """The list that `sha256sum` prints of these pictures."""
    return "".join(f"{p.file.sha256}  {p.file.name}\n" for p in shown).encode()


def obtained_from(raw):
    return Obtained(
        contents=base64.b64encode(raw).decode(), sha256=sha256_hex(raw), count=raw.count(b"\n")
    )


def binding(shown=None, *, kinds=None, obtained=None):
    """Return the statement of a binding that holds."""
    shown = pictures(30) if shown is None else shown
    used = {p.kind for p in shown}
    kinds = kinds or tuple(k for k in (LOSSLESS, JPEG) if k.kind.digest() in used)
    listed = None if obtained is None else obtained_from(obtained)
    predicate = {
        "result": decide_binding(shown, kinds, model_digest=MODEL.digest).to_wire(),
        "scope": list(binding_scope(listed)),
        "model": MODEL.to_wire(),
        "generator": _GENERATOR,
        "registration": {
            "payload": sha256_hex(b"registration"),
            "createdAt": "2026-11-01T00:00:00Z",
        },
        "protocol": QUICK.to_wire(),
        "protocolDigest": QUICK.digest,
        "kinds": [kind.to_wire() for kind in kinds],
        "pictures": [p.to_wire() for p in shown],
        "latents": {"name": "b.latents.safetensors", "size": 9, "sha256": sha256_hex(b"bound")},
        "environment": _ENVIRONMENT,
        "createdAt": "2026-11-03T00:00:00Z",
    }
    if listed is not None:
        predicate["obtained"] = listed.to_wire()
    subject = [{"name": f.name, "digest": {"sha256": f.sha256}} for f in MODEL.files]
    return copy.deepcopy(
        {
            "_type": STATEMENT_TYPE,
            "subject": subject,
            "predicateType": BINDING_TYPE,
            "predicate": predicate,
        }
    )


@functools.cache
def _signed(key):
    return sign(binding(), key)


def citing(raw=None, *, key=KEY, kind=KIND):
    """Return an exclusion's statement that cites a binding, `raw` or one of 30 by `key`."""
    content = statement()
    raw = _signed(key) if raw is None else raw
    content["predicate"]["binding"] = base64.b64encode(raw).decode()
    content["predicate"]["scope"] = list(scope_lines(kind, bound=True))
    return content
