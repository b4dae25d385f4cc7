"""Coverage-guided fuzzing of `verify_bundle`: nothing but our own errors may come out.

    python fuzz/fuzz_bundle.py [libFuzzer options] [CORPUS_FOLDER]

The first byte of an input says how it is taken: as the whole file; as a payload, which is signed
with the trusted key; or as JSON, which is made canonical first and then signed, so that what lies
behind each of these doors is reached too.
"""

import json
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "verify"))

with atheris.instrument_imports(include=["deniability", "rfc8785"]):
    from bundle_samples import TRUST, sign_bytes, statement

    from deniability.crypto.canonical import canonical_json
    from deniability.errors import DeniabilityError
    from deniability.verify.bundle import verify_bundle

_SIGNED, _WHOLE, _CANONICAL = b"\x00", b"\x01", b"\x02"


def check(data: bytes) -> None:
    """Verify one input; whatever is not an error of ours, the fuzzer reports."""
    how, raw = data[:1], data[1:]
    try:
        if how == _CANONICAL:
            raw = canonical_json(json.loads(raw))
    except (ValueError, RecursionError, DeniabilityError):
        return
    if how in (_SIGNED, _CANONICAL):
        raw = sign_bytes(raw)
    try:
        verify_bundle(raw, trust=TRUST)
    except DeniabilityError:
        return


def seeds(folder: Path) -> None:
    """Write a starting corpus: each verdict as a payload to sign, and as a whole file."""
    folder.mkdir(parents=True, exist_ok=True)
    for verdict in ("excluded", "reached", "inconclusive"):
        payload = canonical_json(statement(verdict))
        (folder / f"{verdict}.payload").write_bytes(_SIGNED + payload)
        (folder / f"{verdict}.json").write_bytes(_CANONICAL + payload)
        (folder / f"{verdict}.bundle").write_bytes(_WHOLE + sign_bytes(payload))


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        if not argument.startswith("-"):
            seeds(Path(argument))
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
