import os
import subprocess
import sys
from pathlib import Path

import pytest

from deniability.crypto.keys import generate_key, private_pem
from deniability.errors import InputError, KeyFileError, OutputError, UncheckedError
from deniability.verify.trust import (
    MAX_KEYS,
    TrustPolicy,
    add_to_trust_store,
    default_trust_folder,
    list_trust_store,
    load_trust_store,
    remove_from_trust_store,
)

ONE, TWO = generate_key().public, generate_key("ed25519").public


def test_keys_are_found_by_their_hash_and_by_nothing_else():
    policy = TrustPolicy((ONE, TWO, ONE))
    assert policy.keys == (ONE, TWO)
    assert policy.key_for(TWO.keyid) is TWO
    for keyid in ("", TWO.keyid.upper(), TWO.keyid[:-1], "0" * 64):
        with pytest.raises(UncheckedError, match=r"bundle\.json: the signer is not among"):
            policy.key_for(keyid, where="bundle.json")


def test_nobody_is_trusted_by_default():
    with pytest.raises(UncheckedError, match="expected a trusted key"):
        TrustPolicy().key_for(ONE.keyid)


def test_key_files(tmp_path):
    for name, key in (("1.pub.pem", ONE), ("2.pub.pem", TWO)):
        (tmp_path / name).write_bytes(key.pem)
    paths = [tmp_path / "1.pub.pem", str(tmp_path / "2.pub.pem")]
    assert TrustPolicy.from_key_files(paths) == TrustPolicy((ONE, TWO))
    with pytest.raises(KeyFileError, match="no such key file"):
        TrustPolicy.from_key_files([*paths, tmp_path / "3.pub.pem"])


def test_the_store_keeps_what_is_added(tmp_path):
    folder = tmp_path / "config" / "trust"
    assert load_trust_store(folder) == TrustPolicy()
    path = add_to_trust_store(folder, ONE, "alice")
    assert path == folder / "alice.pub.pem"
    assert add_to_trust_store(folder, ONE, "alice") == path
    add_to_trust_store(folder, TWO, "bob.2026-11_x")
    assert load_trust_store(folder) == TrustPolicy((ONE, TWO))
    if os.name == "posix":
        assert folder.stat().st_mode & 0o022 == 0
    (folder / "notes.txt").write_text("not a key")
    assert len(load_trust_store(folder).keys) == 2


def test_a_name_is_never_given_to_another_key(tmp_path):
    path = add_to_trust_store(tmp_path, ONE, "alice")
    with pytest.raises(OutputError, match="another key has this name"):
        add_to_trust_store(tmp_path, TWO, "alice")
    assert path.read_bytes() == ONE.pem


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "a b", "a\n", "-x", "é", "x" * 101]
)
def test_names_stay_in_the_folder(tmp_path, name):
    with pytest.raises(InputError, match="not a name for a key"):
        add_to_trust_store(tmp_path, ONE, name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"x" * 100_000, private_pem(generate_key(), None), ONE.pem + TWO.pem]
)
def test_a_broken_file_is_named(tmp_path, data):
    add_to_trust_store(tmp_path, ONE, "alice")
    (tmp_path / "mallory.pub.pem").write_bytes(data)
    with pytest.raises(KeyFileError, match=r"mallory\.pub\.pem"):
        load_trust_store(tmp_path)


def test_folders_that_are_none(tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    for folder in (plain, "a\0b"):
        with pytest.raises(InputError, match="cannot be read"):
            load_trust_store(folder)
    for folder in (plain, plain / "below", "a\0b"):
        with pytest.raises(OutputError, match="trust folder cannot be made"):
            add_to_trust_store(folder, ONE, "alice")


def test_too_many_keys_are_refused_before_any_is_read(tmp_path):
    for i in range(MAX_KEYS + 1):
        (tmp_path / f"{i}.pub.pem").touch()
    with pytest.raises(InputError, match="too many trusted keys"):
        load_trust_store(tmp_path)


def test_the_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_trust_folder() == tmp_path / "deniability" / "trust"
    for value in ("", "relative/config"):
        monkeypatch.setenv("XDG_CONFIG_HOME", value)
        folder = default_trust_folder()
        assert folder.is_absolute()
        assert folder.name == "trust"
        assert folder.parent.name == "deniability"


def test_the_default_folder_is_found_lazily():
    code = "import sys, deniability.verify.trust; sys.exit('platformdirs' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=root).returncode == 0


def test_listing_gives_names_and_removing_takes_one_name_or_keyid(tmp_path):
    for name, key in (("b", ONE), ("a", TWO), ("c", ONE)):
        add_to_trust_store(tmp_path, key, name)
    assert [(e.name, e.key) for e in list_trust_store(tmp_path)] == [
        ("a", TWO),
        ("b", ONE),
        ("c", ONE),
    ]
    # One key under two names: which of them is meant is not guessed.
    with pytest.raises(InputError, match="several trusted keys are meant") as refused:
        remove_from_trust_store(tmp_path, ONE.keyid)
    assert refused.value.found == "b, c"
    assert remove_from_trust_store(tmp_path, "b").name == "b.pub.pem"
    assert remove_from_trust_store(tmp_path, ONE.keyid[:8]).name == "c.pub.pem"
    assert load_trust_store(tmp_path).keys == (TWO,)
    for nobody in ("b", ONE.keyid, TWO.keyid[:7], "", "../a", "*"):
        with pytest.raises(InputError, match="no such trusted key"):
            remove_from_trust_store(tmp_path, nobody)
    assert load_trust_store(tmp_path).keys == (TWO,)


def test_a_file_that_is_no_key_stops_the_list_and_can_be_removed_by_name(tmp_path):
    add_to_trust_store(tmp_path, ONE, "good")
    (tmp_path / "bad.pub.pem").write_text("nothing")
    with pytest.raises(KeyFileError, match=r"bad\.pub\.pem"):
        list_trust_store(tmp_path)
    remove_from_trust_store(tmp_path, "bad")
    assert [e.name for e in list_trust_store(tmp_path)] == ["good"]
