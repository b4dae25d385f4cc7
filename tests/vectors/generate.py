"""Write all vectors again: `python tests/vectors/generate.py`. Nothing in them is random.

With a folder as argument, write them there, and every bundle whole. See README.md.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import vector_parts as parts  # noqa: E402
import vectors_attribution  # noqa: E402, F401
import vectors_binding  # noqa: E402, F401
import vectors_commitment  # noqa: E402, F401
import vectors_dating  # noqa: E402, F401
import vectors_envelope  # noqa: E402, F401
import vectors_evaluation  # noqa: E402, F401
import vectors_handled  # noqa: E402, F401
import vectors_image  # noqa: E402, F401
import vectors_log  # noqa: E402, F401
import vectors_model  # noqa: E402, F401
import vectors_passing  # noqa: E402, F401
import vectors_statement  # noqa: E402, F401
import vectors_statistics  # noqa: E402, F401
from file_cases import FILE_CASES, FILE_STAGES, FileCase  # noqa: E402
from vector_cases import CASES, STAGES, Case  # noqa: E402


def contents(case: Case) -> dict[str, bytes]:
    """Return the files of a vector's folder by name."""
    raw = case.build()
    expected: dict[str, object] = {"stage": case.stage, "exit": case.exit_code}
    if case.says:
        expected["says"] = case.says
    if not case.stored:
        expected["sha256"] = hashlib.sha256(raw).hexdigest()
    trust = {"keys": [parts.pem(key) for key in case.keys]}
    if case.roots:
        trust["tsaRoots"] = list(case.roots)
    files = {
        "trust.json": json.dumps(trust, indent=1),
        "expect.json": json.dumps(expected, indent=1),
        "README": case.about,
    }
    made = {name: (text + "\n").encode() for name, text in files.items()}
    return made | ({"bundle.json": raw} if case.stored else {})


def file_contents(case: FileCase) -> dict[str, bytes]:
    """Return the files of the folder of a picture or model by name."""
    texts = {
        "expect.json": json.dumps({"file": case.file, **case.expect}, indent=1),
        "README": case.about,
    }
    made = {name: (text + "\n").encode() for name, text in texts.items()}
    return made | {case.file: case.build()}


def main() -> None:
    """Write every folder, and remove those of cases that are gone."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    for stage in (*STAGES, *FILE_STAGES):
        if target == HERE:
            shutil.rmtree(HERE / stage, ignore_errors=True)
    for case in CASES.values():
        folder = target / case.stage / case.name
        folder.mkdir(parents=True)
        if target != HERE:
            (folder / "bundle.json").write_bytes(case.build())
        for name, data in contents(case).items():
            (folder / name).write_bytes(data)
    for file_case in FILE_CASES.values():
        folder = target / file_case.stage / file_case.name
        folder.mkdir(parents=True)
        for name, data in file_contents(file_case).items():
            (folder / name).write_bytes(data)
    counts = Counter(stage for stage, _ in (*CASES, *FILE_CASES))
    sys.stdout.write(f"{counts.total()} vectors: {dict(counts)}\n")


if __name__ == "__main__":
    main()
