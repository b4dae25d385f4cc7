"""All vectors: made again without a difference, and refused exactly where they have to be."""

import contextlib
import hashlib
import io
import json
import re
import sys
from fnmatch import fnmatch
from pathlib import Path

import generate
import pytest
import torch
import vector_parts
from file_cases import FILE_CASES, FILE_STAGES
from vector_cases import CASES, STAGES

from deniability.cli.app import run
from deniability.crypto.keys import load_public_key
from deniability.crypto.notes import NoteKey
from deniability.crypto.timestamps import parse_roots
from deniability.errors import DeniabilityError
from deniability.generators.load import ModelOptions, load_generator
from deniability.imaging.decode import decode_picture
from deniability.verify.evaluation import verify_evaluation
from deniability.verify.finding import verify_finding
from deniability.verify.log import (
    Checkpoint,
    LogPolicy,
    check_extends,
    verify_checkpoint,
    verify_log_proof,
)
from deniability.verify.trust import TrustPolicy

HERE = Path(__file__).resolve().parent
FOLDERS, FILE_FOLDERS = (
    sorted(path.relative_to(HERE) for stage in stages for path in (HERE / stage).iterdir())
    for stages in (STAGES, FILE_STAGES)
)
#: It has no use for tokens, and says so.
NOT_READ_BY_THE_EXAMPLE = {
    ("timestamp", case.name)
    for case in CASES.values()
    if case.stage == "timestamp" and "twice" not in case.name
}
#: It knows no evaluations. The numbers in ours are computed by `evaluation_rule.py` instead.
EVALUATIONS = {key for key in CASES if key[1].startswith("evaluation")}
all_vectors = pytest.mark.parametrize("folder", FOLDERS, ids=str)
all_files = pytest.mark.parametrize("folder", FILE_FOLDERS, ids=str)


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


@pytest.mark.parametrize("folder", [*FOLDERS, *FILE_FOLDERS], ids=str)
def test_made_again_without_a_difference(folder):
    if folder.parts in CASES:
        made = generate.contents(CASES[folder.parts])
    else:
        made = generate.file_contents(FILE_CASES[folder.parts])
    kept = {path.name: path.read_bytes() for path in (HERE / folder).iterdir()}
    assert kept == made


def test_every_case_has_its_folder():
    assert {folder.parts for folder in FOLDERS} == set(CASES)
    assert {folder.parts for folder in FILE_FOLDERS} == set(FILE_CASES)


def test_there_are_as_many_as_promised():
    passing = sum(case.stage == "passing" for case in CASES.values())
    assert passing >= 12
    assert len(CASES) - passing >= 60
    assert {case.stage for case in CASES.values()} == set(STAGES)
    kept = [HERE / folder / "bundle.json" for folder in FOLDERS]
    assert sum(path.stat().st_size for path in kept if path.exists()) < 15_000_000
    assert len(FILE_CASES) >= 60
    files = [HERE / stage / name / case.file for (stage, name), case in FILE_CASES.items()]
    assert max(path.stat().st_size for path in files) < 20_000


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
    verify = verify_evaluation if folder.parts in EVALUATIONS else verify_finding
    if expected["stage"] == "passing":
        verify(raw, trust=trust, where="bundle.json")
        return
    with pytest.raises(DeniabilityError) as refused:
        verify(raw, trust=trust, where="bundle.json")
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
    if folder.parts in EVALUATIONS:
        assert code in {3, 4}
        assert not printed.out  # it says nothing that could be taken for a check
        return
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


def opened_log(path, expected):
    """Return what a verifier makes of a checkpoint or of a proof."""
    policy = expected["policy"]
    witnesses = [NoteKey.parse(text, where="policy") for text in policy["witnesses"]]
    log = NoteKey.parse(policy["log"], where="policy")
    chosen = LogPolicy(log, tuple(witnesses), policy["quorum"])
    raw = path.read_bytes()
    if "entry" in expected:
        entry = bytes.fromhex(expected["entry"])
        verified = verify_log_proof(raw, entry, chosen, where=path.name)
    else:
        verified = verify_checkpoint(raw, chosen, where=path.name)
    head = verified.checkpoint
    if "known" in expected:
        size, root = expected["known"]
        proof = [bytes.fromhex(step) for step in expected["consistency"]]
        known = Checkpoint(head.origin, size, bytes.fromhex(root))
        check_extends(known, head, proof, where=path.name)
    return {
        "origin": head.origin,
        "size": head.size,
        "root": head.root.hex(),
        "witnessed": list(verified.witnessed),
    }


def opened_file(path, expected):
    """Return what our entry point makes of a file."""
    if path.parent.parent.name == "log":
        return opened_log(path, expected)
    if path.parent.parent.name == "image":
        picture = decode_picture(path.read_bytes(), where=path.name)
        return {
            "pixels": picture.canonical_digest,
            "transforms": list(picture.transforms),
            "cautions": list(picture.cautions),
            "orientation": picture.orientation,
            "format": picture.format,
        }
    options = ModelOptions(**expected.get("options", {}))
    generator = load_generator(path, device=torch.device("cpu"), options=options)
    shape = generator(torch.zeros(2, generator.dimension)).shape
    assert shape == (2, 1, 2, 2)
    return {"format": generator.spec.format, "latent": generator.dimension}


@all_files
def test_a_file_is_refused_or_taken_with_all_that_is_recorded(folder, tmp_path, monkeypatch):
    expected = json.loads((HERE / folder / "expect.json").read_text())
    monkeypatch.chdir(tmp_path)  # where a canary would be
    path = HERE / folder / expected["file"]
    if expected["outcome"] == "refused":
        with pytest.raises(DeniabilityError) as refused:
            opened_file(path, expected)
        assert refused.value.stage == expected["stage"], refused.value
        assert folder.parts[0] in {expected["stage"], "log"}
        assert refused.value.exit_code == expected["exit"]
        assert expected["says"] in str(refused.value)
    else:
        found = opened_file(path, expected)
        known = {name: expected[name] for name in found if name in expected}
        assert {name: found[name] for name in known} == known
        assert len(known) >= 2
        assert found.get("orientation", 1) == expected.get("orientation", 1)
    assert list(tmp_path.iterdir()) == []
    assert expected.get("unimported") not in sys.modules


def careless(path, how):
    """Open a model as its readers do who trust it."""
    if how == "load":
        torch.load(path, weights_only=False)
    elif how == "jit":
        torch.jit.load(path)(torch.zeros(1, 4))
    else:
        torch.export.load(path).module()(torch.zeros(2, 2))


DOING_HARM = [path for path in FILE_FOLDERS if "canary" in FILE_CASES[path.parts].expect]


@pytest.mark.parametrize("folder", DOING_HARM, ids=str)
def test_the_canaries_live(folder, tmp_path, monkeypatch):
    """Otherwise that none was made would say nothing of us."""
    expected = json.loads((HERE / folder / "expect.json").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("logging.Logger.handle", lambda *_: None)
    with contextlib.suppress(Exception):
        careless(HERE / folder / expected["file"], expected["canary"])
    assert (tmp_path / "canary").exists()


ATTACKS = re.findall(r"^\| (.+) \| (.+) \|$", (HERE / "README.md").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("attack", "covered"), ATTACKS[1:])
def test_what_is_said_to_cover_an_attack_is_there(attack, covered):
    names = re.findall(r"`([^`]+)`", covered)
    assert names or covered.startswith("Not tested: "), attack
    for name in names:
        if not name.startswith("tests/"):
            matching = [key for key in (*CASES, *FILE_CASES) if fnmatch("/".join(key), name)]
            assert matching, name
            continue
        path, _, test = name.partition("::")
        source = (vector_parts.ROOT / path).read_text("utf-8")
        assert f"\ndef {test}(" in source if test else "\ndef test_" in source, name


def test_every_vector_stage_has_a_place_among_the_attacks():
    listed = {
        name.split("/")[0] for _, covered in ATTACKS for name in re.findall(r"`([^`]+)`", covered)
    }
    assert listed >= {*STAGES, *FILE_STAGES}
    assert len(ATTACKS) > 55
