"""Timestamps, chain and beacon from the command line, with a real authority on this machine."""

import datetime as dt
import hashlib
import json
import sys
from pathlib import Path

import pytest

from deniability.cli.app import run

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tsa_server import Authority, serving

SIGNATURE = b"a signature of drand's, of 48 bytes at the least, or more"
LATER = "4000000000"
QUICK = ["--preset", "pristine-quick-v1", "--device", "cpu"]


@pytest.fixture(scope="module")
def tsa(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tsa"))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("DATA", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.chdir(tmp_path)
    assert run(["keygen", "--quiet"]) == 0
    return tmp_path


def asked(capsys, *arguments):
    """Run a command with --json; return its exit code and its answer."""
    capsys.readouterr()
    code = run([*map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def pulse(path, round_=LATER):
    value = {"round": int(round_), "signature": SIGNATURE.hex()}
    value["randomness"] = hashlib.sha256(SIGNATURE).hexdigest()
    path.write_text(json.dumps(value))
    return path


@pytest.mark.slow
def test_the_whole_story(home, tsa, capsys, small_preset):
    from deniability.generators.builtin import photo_path

    small = ["--preset", small_preset, "--device", "cpu"]
    root = ["--tsa-root", tsa.root_file]
    value = pulse(home / "pulse.json")
    beacon = ["--beacon", f"drand:{LATER}"]
    with serving(tsa.respond) as (url, _):
        stamps = ["--tsa", url, *root]
        # The value of a round that nobody named is refused.
        code, answer = asked(capsys, "register", "builtin", *small, *beacon, "--beacon-file", value)
        assert (code, answer["error"]["where"]) == (2, "--beacon")
        code, named = asked(capsys, "register", "builtin", *small, *beacon, *stamps)
        assert code == 0
        assert named["timestamps"][0]["time"]
        assert not (home / "builtin.registration.json").exists()
        code, made = asked(
            capsys, "register", "builtin", *small, *beacon, "--beacon-file", value, *stamps
        )
        assert (code, made["position"]) == (0, 1)
        code, _ = asked(
            capsys, "prove", photo_path(), "--model", "builtin", "--device", "cpu",
            "--no-figure", *stamps,
        )  # fmt: skip
        assert code == 0
    assert (home / "builtin.chain.json").read_bytes() == Path(
        asked(capsys, "chain")[1]["chain"]
    ).read_bytes()

    def verify(*more):
        return asked(capsys, "verify", "bundle.json", *more)

    tomorrow = (dt.datetime.now(dt.UTC) + dt.timedelta(days=1)).isoformat()
    code, answer = verify(*root, "--accused-at", tomorrow, "--beacon-file", value)
    assert code == 0
    notes = answer["notes"]
    assert any(note.startswith("registered before the accusation") for note in notes)
    assert any("which was named at" in note for note in notes)
    assert any("registration 1 of 1" in note for note in notes)
    assert any("existed at" in line for line in answer["checked"])
    code, answer = verify(*root, "--accused-at", "2026-01-01T00:00:00Z")
    assert any("after the accusation, or undated" in note for note in answer["notes"])
    code, answer = verify("--accused-at", tomorrow)  # no root: no time
    assert code == 0
    assert any("after the accusation, or undated" in note for note in answer["notes"])
    assert any("no root of" in line for line in answer["notChecked"])

    # A published chain, and one that has another history.
    assert verify("--chain", asked(capsys, "chain")[1]["chain"])[0] == 0
    chains = Path(asked(capsys, "chain")[1]["chain"]).parent
    for file in chains.iterdir():
        file.rename(home / f"old{file.name}")
    again = ["--beacon", "drand:4000000001", "-o", "again.registration.json"]
    assert asked(capsys, "register", "builtin", *small, *again)[0] == 0
    code, answer = verify("--chain", next(chains.glob("*.chain.json")))
    assert (code, answer["error"]["stage"]) == (3, "commitment")
    assert "split view" in answer["error"]["what"]

    # The value as the verifier got it elsewhere.
    other = json.loads(value.read_text())
    other["signature"] = "00" * 48
    other["randomness"] = hashlib.sha256(bytes(48)).hexdigest()
    (home / "other.json").write_text(json.dumps(other))
    code, answer = verify("--beacon-file", "other.json")
    assert (code, answer["error"]["stage"]) == (3, "commitment")


@pytest.mark.parametrize(
    "options",
    [
        ["--beacon", "drand:1"],  # over
        ["--beacon", "dice:1"],
        ["--beacon", "drand:x"],
        ["--beacon", "nist:yesterday"],
        ["--beacon-file", "pulse.json"],
        ["--tsa", "file:///etc/passwd"],
        ["--tsa-root", "missing.pem"],
    ],
)
def test_wrong_options_of_register_are_named(home, capsys, options):
    code, answer = asked(capsys, "register", "builtin", *QUICK, *options)
    assert code == 2
    assert answer["error"]["where"] in {options[0], options[1], "--beacon"}
    assert not (home / "data" / "deniability" / "chains").exists()


@pytest.mark.parametrize("time", ["yesterday", "2026-11-24", "2026-11-24T09:00:00"])
def test_a_time_needs_its_zone(capsys, time):
    code, answer = asked(capsys, "verify", "bundle.json", "--accused-at", time)
    assert (code, answer["error"]["where"]) == (2, "--accused-at")


def test_a_key_without_registrations_has_no_chain(capsys):
    code, answer = asked(capsys, "chain")
    assert code == 2
    assert "no chain yet" in answer["error"]["what"]


def test_verify_asks_no_network(tmp_path, monkeypatch, tsa, capsys):
    import socket

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "verify"))
    from bundle_samples import KEY, sign, statement

    bundle, key = tmp_path / "b.json", tmp_path / "k.pem"
    bundle.write_bytes(sign(statement()))
    key.write_bytes(KEY.public.pem)
    with serving(tsa.respond) as (url, _):
        assert asked(capsys, "timestamp", bundle, "--tsa", url)[0] == 0

    def refused(*_arguments, **_named):
        raise AssertionError("a network was asked")

    monkeypatch.setattr(socket, "socket", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    code, answer = asked(capsys, "verify", bundle, "--key", key, "--tsa-root", tsa.root_file)
    assert code == 0
    assert any("existed at" in line for line in answer["checked"])
