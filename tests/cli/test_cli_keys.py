"""Keys: made once, kept private, trusted on this machine, never overwritten."""

import stat

import pytest

from deniability.crypto.keys import read_private_key, read_public_key
from deniability.verify.trust import default_trust_folder, load_trust_store


def test_keygen_makes_a_private_key_that_only_its_owner_reads_and_trusts_it(home, deny):
    ran = deny("keygen")
    assert ran.code == 0
    folder = home / "home" / "data" / "deniability" / "keys"
    private, public = folder / "default.key.pem", folder / "default.pub.pem"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    key = read_private_key(private, None)
    assert key.algorithm == "ecdsa-p256"
    assert read_public_key(public) == key.public
    assert load_trust_store(default_trust_folder()).keys == (key.public,)
    for shown in (str(private), str(public), key.public.keyid):
        assert shown in ran.out
    assert "PRIVATE KEY" not in ran.out + ran.err


def test_a_second_key_of_the_same_name_is_refused_and_nothing_changes(home, deny):
    assert deny("keygen").code == 0
    private = home / "home" / "data" / "deniability" / "keys" / "default.key.pem"
    before = private.read_bytes()
    ran = deny("keygen")
    assert ran.code == 2
    assert "a key of this name exists already" in ran.err
    assert private.read_bytes() == before


def test_keygen_knows_ed25519_names_folders_and_json(home, deny):
    ran = deny("keygen", "--algorithm", "ed25519", "--name", "lab", "--folder", "keys", "--json")
    assert ran.code == 0
    assert ran.json["algorithm"] == "ed25519"
    assert ran.json["privateKey"] == "keys/lab.key.pem"
    assert read_public_key(home / "keys" / "lab.pub.pem").keyid == ran.json["keyid"]
    assert deny("trust", "list").out.startswith(ran.json["keyid"])


def test_a_name_that_would_leave_the_folder_is_refused(home, deny):
    ran = deny("keygen", "--name", "../outside")
    assert ran.code == 2
    assert "not a name for a key" in ran.err
    assert list(home.iterdir()) == []


def test_a_folder_that_cannot_be_written_leaves_no_trusted_key(home, deny):
    (home / "file").write_text("in the way")
    ran = deny("keygen", "--folder", "file/keys")
    assert ran.code == 2
    assert "the folder for the keys cannot be made" in ran.err
    assert load_trust_store(default_trust_folder()).keys == ()


def test_an_encrypted_key_takes_its_passphrase_from_the_environment(home, deny, monkeypatch):
    monkeypatch.setenv("DENY_PASSPHRASE", "correct horse")
    assert deny("keygen", "--passphrase-prompt", "--folder", "keys").code == 0
    private = home / "keys" / "default.key.pem"
    assert b"ENCRYPTED" in private.read_bytes()
    read_private_key(private, b"correct horse")
    assert deny("inspect", private).out.splitlines()[1] == "kind: private key, encrypted"


def test_a_passphrase_that_cannot_be_asked_for_is_one_sentence(home, process, monkeypatch):
    monkeypatch.setenv("DENY_PASSPHRASE", "correct horse")
    process("keygen", "--passphrase-prompt", "--folder", "keys", cwd=home)
    ran = process(
        "register", "builtin", "--key", "keys/default.key.pem", cwd=home, DENY_PASSPHRASE=""
    )
    assert ran.code == 2
    assert "there is no terminal to ask for it on" in ran.err
    wrong = process(
        "register", "builtin", "--key", "keys/default.key.pem", cwd=home, DENY_PASSPHRASE="no"
    )
    assert wrong.code == 2
    assert "the passphrase is wrong" in wrong.err


def test_trust_add_takes_public_keys_and_refuses_private_ones(home, deny, registered):
    ran = deny("trust", "add", registered.public_key, "--name", "them")
    assert ran.code == 0
    assert deny("trust", "list", "--json").json["keys"] == [registered.key.public.keyid]
    assert deny("trust", "add", registered.private_key).code == 2
    assert deny("trust", "add", home / "none.pem").code == 2


@pytest.mark.usefixtures("home")
def test_trust_list_and_remove_name_key_algorithm_and_file(deny):
    made = deny("keygen", "--algorithm", "ed25519", "--name", "lab", "--folder", "keys", "--json")
    line = deny("trust", "list").out.splitlines()[0]
    trusted = made.json["trusted"]
    assert line.split() == [made.json["keyid"], "ed25519", "lab", trusted]
    (entry,) = deny("trust", "list", "--json").json["entries"]
    assert entry["file"] == trusted
    assert deny("trust", "remove", "nobody").code == 2
    assert deny("trust", "remove", made.json["keyid"][:16]).code == 0
    assert deny("trust", "list", "--json").json["keys"] == []
