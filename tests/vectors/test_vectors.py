"""All vectors: made again without a difference, and refused exactly where they have to be."""

import contextlib
import hashlib
import io
import json
import re
from pathlib import Path

import generate
import pytest
import vector_parts
from vector_cases import CASES, STAGES

from deniability.cli.app import run
from deniability.crypto.keys import load_public_key
from deniability.crypto.timestamps import parse_roots
from deniability.errors import DeniabilityError
from deniability.verify.attribution import verify_finding
from deniability.verify.trust import TrustPolicy

HERE = Path(__file__).resolve().parent
FOLDERS = sorted(path.relative_to(HERE) for stage in STAGES for path in (HERE / stage).iterdir())
#: It has no use for tokens, and says so.
NOT_READ_BY_THE_EXAMPLE = {
    ("timestamp", case.name)
    for case in CASES.values()
    if case.stage == "timestamp" and "twice" not in case.name
}
all_vectors = pytest.mark.parametrize("folder", FOLDERS, ids=str)


def opened(folder):
    """Return bundle, keys and expectation of a vector, as anybody would read them."""
    expected = json.loads((HERE / folder / "expect.json").read_text())
    trust = json.loads((HERE / folder / "trust.json").read_text())
    file = HERE / folder / "bundle.json"
    raw = file.read_bytes() if file.exists() else CASES[folder.parts].build()
    return raw, trust, expected


def with_files(folder, raw, trust):
    """Write bundle, keys and roots; return the options that name the latter two."""
    (folder / "bundle.json").write_bytes(raw)
    keys, roots = [], []
    for i, key in enumerate(trust["keys"]):
        (folder / f"{i}.pem").write_text(key)
        keys += ["--key", str(folder / f"{i}.pem")]
    for i, root in enumerate(trust.get("tsaRoots", [])):
        (folder / f"root-{i}.pem").write_text(root)
        roots += ["--tsa-root", str(folder / f"root-{i}.pem")]
    return keys, roots


@all_vectors
def test_made_again_without_a_difference(folder):
    made = generate.contents(CASES[folder.parts])
    kept = {path.name: path.read_bytes() for path in (HERE / folder).iterdir()}
    assert kept == made


def test_every_case_has_its_folder():
    assert {folder.parts for folder in FOLDERS} == set(CASES)


def test_there_are_as_many_as_promised():
    passing = sum(case.stage == "passing" for case in CASES.values())
    assert passing >= 12
    assert len(CASES) - passing >= 60
    assert {case.stage for case in CASES.values()} == set(STAGES)
    kept = [HERE / folder / "bundle.json" for folder in FOLDERS]
    assert sum(path.stat().st_size for path in kept if path.exists()) < 15_000_000


@all_vectors
def test_refused_at_the_stage_and_by_the_words(folder):
    raw, trust, expected = opened(folder)
    keys = tuple(load_public_key(key.encode(), "trust.json") for key in trust["keys"])
    roots = [
        cert
        for root in trust.get("tsaRoots", [])
        for cert in parse_roots(root.encode(), where="trust.json")
    ]
    trust = TrustPolicy(keys, tuple(roots))
    if expected["stage"] == "passing":
        verify_finding(raw, trust=trust, where="bundle.json")
        return
    with pytest.raises(DeniabilityError) as refused:
        verify_finding(raw, trust=trust, where="bundle.json")
    assert refused.value.stage == expected["stage"], refused.value
    assert refused.value.exit_code == expected["exit"]
    assert expected.get("says", "") in str(refused.value)


@all_vectors
def test_the_independent_verifier_agrees(folder, tmp_path, capsys):
    raw, trust, expected = opened(folder)
    keys = trust["keys"] or [vector_parts.pem(vector_parts.SECOND)]
    options, _ = with_files(tmp_path, raw, {"keys": keys})
    code = vector_parts.independent.main([str(tmp_path / "bundle.json"), *options])
    if folder.parts in NOT_READ_BY_THE_EXAMPLE:
        assert "timestamps, if there are any, were not checked" in capsys.readouterr().out
        return
    printed = capsys.readouterr()
    assert code == expected["exit"], printed.err
    if code:
        assert f"at stage {expected['stage']}:" in printed.err
        assert not printed.out


@all_vectors
def test_the_command_never_praises_what_it_refuses(folder, tmp_path):
    raw, trust, expected = opened(folder)
    keys, roots = with_files(tmp_path, raw, trust)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(["verify", str(tmp_path / "bundle.json"), *keys, *roots])
    assert code == expected["exit"], err.getvalue()
    if code:
        said = out.getvalue() + err.getvalue()
        assert not re.search(r"\bOK\b|\bauthentic\b|\bconsistent\b", said), said
        assert "\x1b" not in said
        assert "Traceback" not in said


def test_kept_by_digest_is_what_is_made():
    for case in CASES.values():
        if not case.stored:
            kept = json.loads((HERE / case.stage / case.name / "expect.json").read_text())
            assert hashlib.sha256(case.build()).hexdigest() == kept["sha256"]
