"""Every wrong input of a first-time user ends in one clear sentence and the right exit code."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_checks import ROOT, one_sentence
from PIL import Image

from deniability.wire import files


@pytest.fixture
def accuse(deny, signer, tmp_path):
    """Accuse the built-in generator of a file; nothing may be left behind."""

    def run(image, *more):
        return deny("prove", image, "--model", "builtin", *signer, "-o", tmp_path / "b.json", *more)

    return run


def refused(ran, *words, code=2):
    assert ran.code == code, ran.err
    one_sentence(ran)
    for word in words:
        assert word in ran.err, ran.err
    assert ran.out == ""


def test_no_such_picture(accuse, tmp_path):
    refused(accuse(tmp_path / "none.png"), "none.png: no such picture")


def test_a_folder_without_a_picture(accuse, tmp_path):
    refused(accuse(tmp_path), "no picture in there")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0 cut"])
def test_not_an_image(accuse, tmp_path, content):
    path = tmp_path / "text.png"
    path.write_bytes(content)
    refused(accuse(path), "text.png")


def test_a_picture_cut_off(accuse, tmp_path, proved):
    path = tmp_path / "cut.png"
    path.write_bytes(proved.photo.image.read_bytes()[:-40])
    refused(accuse(path), "cut.png")


def test_wrong_size_names_both(accuse, tmp_path):
    path = tmp_path / "large.png"
    Image.fromarray(np.zeros((32, 30), np.uint8)).save(path)
    ran = accuse(path)
    refused(ran, "28", "32", "30")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["large.png"]


def test_no_such_model(deny, signer, proved, tmp_path):
    ran = deny("prove", proved.own.image, "--model", tmp_path / "none.pt", *signer[:2])
    refused(ran, "none.pt: no such model")


@pytest.mark.parametrize("name", ["model.pt", "model.pt2", "model.safetensors", "model"])
def test_text_as_model(deny, signer, tmp_path, name):
    path = tmp_path / name
    path.write_text("these are not weights\n")
    refused(deny("register", path, *signer[:2]), name)


def exported(path, size=8):
    """Write a TorchScript model of a latent of 4."""
    import torch

    class Small(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.size = size
            self.inner = torch.nn.Linear(4, size * size)

        def forward(self, z):
            return torch.tanh(self.inner(z.flatten(1))).view(-1, 1, self.size, self.size)

    torch.manual_seed(0)
    torch.jit.script(Small()).save(str(path))
    return path


def test_missing_description_shows_what_to_write(deny, signer, tmp_path):
    ran = deny("register", exported(tmp_path / "m.pt"), *signer[:2])
    assert ran.code == 2
    assert ran.err.startswith("error: ")
    sentence, *example = ran.err.splitlines()
    assert sentence.endswith("m.generator.toml, for example:")
    assert example[:2] == ["[latent]", "shape = [4]"]
    (tmp_path / "m.generator.toml").write_text("\n".join(example))
    registering = deny("register", tmp_path / "m.pt", *signer[:2], "-o", tmp_path / "no" / "r.json")
    refused(registering, "its folder does not exist")  # the description was enough


def test_wrong_latent_shape(deny, signer, tmp_path):
    model = exported(tmp_path / "m.pt")
    (tmp_path / "generator.toml").write_text('[latent]\nshape = [5]\nprior = "normal"\n')
    refused(deny("register", model, *signer[:2]), "m.pt")
    flags = ("--latent-shape", "3", "--prior", "normal")
    refused(deny("register", model, *signer[:2], *flags), "m.pt")


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--latent-shape", "a,b"),
        ("--latent-shape", "1" * 5000),
        ("--prior", "gauss"),
        ("--low", "1e5"),
        ("--range", "1,-1"),
        ("--range", "nan,1"),
        ("--size", "2,8,8"),
        ("--size", "3"),
        ("--rounding", "up"),
        ("--entropy-source", "dice"),
        ("--seed-bits", "x"),
        ("--preset", "pristine-lenient-v1"),
        ("--device", "abacus"),
    ],
)
def test_wrong_values_of_flags(deny, signer, tmp_path, flag, value):
    ran = deny("register", tmp_path / "m.pt", *signer[:2], flag, value)
    refused(ran, flag)


def test_broken_description(deny, signer, tmp_path):
    model = exported(tmp_path / "m.pt")
    (tmp_path / "generator.toml").write_text("[latent\n")
    refused(deny("register", model, *signer[:2]), "generator.toml", "not a TOML file")


@pytest.mark.usefixtures("home")
def test_no_key_yet(deny):
    refused(deny("register", "builtin"), "no such key file", "deny keygen")


@pytest.mark.parametrize("content", ["", "hello\n", "-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_unreadable_key(deny, tmp_path, content):
    path = tmp_path / "k.pem"
    path.write_text(content)
    path.chmod(0o600)
    refused(deny("register", "builtin", "--key", path), "k.pem")


def test_a_key_that_others_can_read(deny, registered, tmp_path):
    path = tmp_path / "k.pem"
    path.write_bytes(registered.private_key.read_bytes())
    path.chmod(0o644)
    refused(deny("register", "builtin", "--key", path), "chmod 600")


def test_a_public_key_to_sign_with(deny, registered, tmp_path):
    path = tmp_path / "k.pem"
    path.write_bytes(registered.public_key.read_bytes())
    path.chmod(0o600)
    refused(deny("register", "builtin", "--key", path), "a public key where a private one")


def test_output_in_a_folder_that_does_not_exist(deny, signer, proved, tmp_path):
    target = tmp_path / "none" / "b.json"
    ran = deny("prove", proved.own.image, "--model", "builtin", *signer, "-o", target)
    refused(ran, "its folder does not exist")


def test_unwritable_folder(deny, signer, proved, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    if os.access(folder, os.W_OK):  # the superuser writes everywhere but in places like this
        folder = "/proc/self"
    target = f"{folder}/b.json"
    ran = deny("prove", proved.own.image, "--model", "builtin", *signer, "-o", target)
    refused(ran, str(folder))


def test_output_is_a_folder(deny, signer, proved, tmp_path):
    ran = deny("prove", proved.own.image, "--model", "builtin", *signer, "-o", tmp_path)
    refused(ran, "is a folder")


def test_nothing_is_overwritten_unasked_and_nothing_foreign_ever(deny, signer, proved, tmp_path):
    (tmp_path / "b.json").write_text("my thesis")
    prove = ("prove", proved.own.image, "--model", "builtin", *signer, "-o", tmp_path / "b.json")
    refused(deny(*prove), "exists already", "--force")
    refused(deny(*prove, "--force"), "is not a bundle")
    assert (tmp_path / "b.json").read_text() == "my thesis"
    figure = ("prove", proved.own.image, "--model", "builtin", *signer, "-o", tmp_path / "c.json")
    before = proved.own.image.read_bytes()
    refused(deny(*figure, "--figure", proved.own.image, "--force"), "is what this command reads")
    assert proved.own.image.read_bytes() == before


def test_a_latents_file_is_no_more_replaced_unasked_than_its_bundle(
    deny, signer, proved, registered, tmp_path
):
    side = tmp_path / "b.latents.safetensors"
    prove = ("prove", proved.own.image, "--model", "builtin", *signer, "-o")
    register = ("register", "builtin", "--key", registered.private_key, "-o")
    registered_latents = registered.registration.with_name(
        registered.registration.name.removesuffix(".json") + ".latents.safetensors"
    )
    for command, other in ((prove, registered_latents), (register, proved.photo.latents)):
        for content in (b"my own tensors", other.read_bytes()):
            side.write_bytes(content)
            for output in (tmp_path / "b.json", tmp_path / "b"):
                ran = deny(*command, output)
                refused(ran, "exists already", "b.latents.safetensors", "--force")
                refused(deny(*command, output, "--force"), "latents file, so --force does not")
            assert side.read_bytes() == content


def test_what_a_command_reads_is_never_replaced(deny, proved, registered, tmp_path):
    registration = tmp_path / "r.json"
    latents = tmp_path / "r.latents.safetensors"
    registration.write_bytes(registered.registration.read_bytes())
    latents.write_bytes(b"the registration's")
    image = tmp_path / "x.latents.safetensors"
    image.write_bytes(proved.own.image.read_bytes())
    prove = ("prove", image, "--model", "builtin", "--key", registered.private_key, "--force")
    prove += ("--registration", registration)
    for output in ("r.json", "r", "x.json", "x"):
        refused(deny(*prove, "-o", tmp_path / output), "is what this command reads")
    for figure in ("b.json", "b.latents.safetensors", "r.json"):
        ran = deny(*prove, "-o", tmp_path / "b.json", "--figure", tmp_path / figure)
        refused(ran, "is what this command reads, or another of its results")
    register = ("register", image, "--key", registered.private_key, "--force")
    refused(deny(*register, "-o", tmp_path / "x.json"), "is what this command reads")
    assert registration.read_bytes() == registered.registration.read_bytes()
    assert latents.read_bytes() == b"the registration's"


def test_a_registration_is_no_bundle_to_replace_nor_a_bundle_a_registration(
    deny, signer, proved, registered, tmp_path
):
    target = tmp_path / "b.json"
    target.write_bytes(registered.registration.read_bytes())
    prove = ("prove", proved.own.image, "--model", "builtin", *signer, "-o", target, "--force")
    refused(deny(*prove), "is not a bundle")
    target.write_bytes(proved.photo.bundle.read_bytes())
    register = ("register", "builtin", "--key", registered.private_key, "-o", target, "--force")
    refused(deny(*register), "is not a registration")


def test_the_registration_that_would_be_made_first_is_guarded_too(
    deny, proved, registered, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    prove = ("prove", proved.own.image, "--model", "builtin", "--key", registered.private_key)
    refused(deny(*prove, "-o", "builtin.registration.json"), "is what this command reads")
    side = tmp_path / "builtin.registration.latents.safetensors"
    side.write_bytes(b"mine")
    refused(deny(*prove), "exists already", side.name)
    assert side.read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["w\x1b[31m\n.json", os.fsdecode(b"o\xff.json"), "n" * 245, "."])
def test_an_output_of_an_impossible_name(deny, signer, proved, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    ran = deny("prove", proved.own.image, "--model", "builtin", *signer, "-o", name)
    refused(ran)
    assert "\x1b" not in ran.err
    assert not list(tmp_path.iterdir())


@pytest.fixture(params=["forbidden", "read-only", "full"])
def no_room(request, monkeypatch):
    """Let nothing be written; by a patch, since the superuser is forbidden nothing."""
    number = {"forbidden": errno.EACCES, "read-only": errno.EROFS, "full": errno.ENOSPC}

    def denied(*_):
        raise OSError(number[request.param], os.strerror(number[request.param]))

    monkeypatch.setattr(files, "_write_synced", denied)
    return request.param


def test_an_output_that_cannot_be_written_is_named_and_not_our_trial_of_it(
    deny, signer, proved, registered, tmp_path, monkeypatch, no_room
):
    words = {
        "forbidden": "not allowed to write here",
        "read-only": "the folder is read-only",
        "full": "the disk is full",
    }
    monkeypatch.chdir(tmp_path)
    for name, command in {
        "b.json": ("prove", proved.own.image, "--model", "builtin", *signer),
        "r.json": ("register", "builtin", "--key", registered.private_key),
    }.items():
        ran = deny(*command, "-o", name)
        refused(ran, f"{name}: {words[no_room]}")
        assert ".probe" not in ran.err
        assert f".{name}" not in ran.err
        if no_room != "full":
            assert f"Choose another folder than {tmp_path} with -o." in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not os.access("/sys", os.X_OK), reason="no /sys, where nobody writes files")
def test_a_folder_that_nobody_can_write_into(deny, signer, proved):
    ran = deny("prove", proved.own.image, "--model", "builtin", *signer, "-o", "/sys/b.json")
    refused(ran, "/sys/b.json: ", "Choose another folder than /sys with -o.")


def test_no_such_registration(deny, registered, proved, tmp_path):
    options = ("--key", registered.private_key, "--registration", tmp_path / "none.json")
    ran = deny("prove", proved.own.image, "--model", "builtin", *options, "-o", tmp_path / "b.json")
    refused(ran, "no such registration")


def test_a_registration_cut_in_half_or_of_another_model(deny, registered, proved, tmp_path):
    half = tmp_path / "half.json"
    raw = registered.registration.read_bytes()
    half.write_bytes(raw[: len(raw) // 2])
    key = ("--key", registered.private_key, "-o", tmp_path / "b.json")
    prove = ("prove", proved.own.image, *key, "--registration")
    refused(deny(*prove, half, "--model", "builtin"), "half.json", code=4)
    refused(deny(*prove, registered.registration, "--model", "builtin-twin"), "of another model")


def test_a_registration_under_another_preset(deny, signer, proved, tmp_path):
    ran = deny(
        "prove", proved.own.image, "--model", "builtin", *signer, "-o", tmp_path / "b.json",
        "--preset", "pristine-strict-v1",
    )  # fmt: skip
    refused(ran, "registered under another preset", "pristine-strict-v1", "pristine-quick-v1")


def test_no_such_bundle(deny, tmp_path):
    refused(deny("verify", tmp_path / "none.json"), "no such bundle")


@pytest.mark.parametrize(
    "arguments",
    [
        ["prove"],
        ["prove", "a.png"],
        ["verify"],
        ["register", "--nope"],
        ["frobnicate"],
        ["generate", "builtin"],
        ["generate", "builtin", "--seed", "-1"],
        ["keygen", "--algorithm", "rsa"],
    ],
)
def test_wrong_usage(deny, arguments):
    ran = deny(*arguments)
    refused(ran, "--help")
    as_json = deny(*arguments, "--json")
    assert as_json.code == as_json.json["exitCode"] == 2
    assert as_json.json["error"]["stage"] == "usage"


def test_hostile_names_are_escaped(deny, tmp_path):
    name = "a\x1b[31m\u202egnp.exe\n\x07.png"
    ran = deny("verify", tmp_path / name)
    refused(ran, "\\x1b[31m\\u202egnp.exe\\n\\x07.png")
    assert "\x1b" not in ran.err
    assert "\u202e" not in ran.err


def test_a_name_that_is_no_text_is_escaped(process, tmp_path):
    ran = process("verify", os.fsdecode(b"\xff\xfe.json"), cwd=tmp_path)
    refused(ran, "\\udcff\\udcfe.json")


def test_a_terminal_without_unicode_still_gets_its_answer(process, proved, registered, tmp_path):
    ran = process(
        "verify", proved.photo.bundle, "--key", registered.public_key,
        cwd=tmp_path, PYTHONIOENCODING="ascii", LC_ALL="C",
    )  # fmt: skip
    assert ran.code == 0
    assert ran.out.isascii()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_stdout_is_no_success(proved, registered):
    command = [sys.executable, "-m", "deniability", "verify", proved.photo.bundle]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*command, "--key", registered.public_key],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="pipes end otherwise there")
def test_whoever_stops_reading_ends_it_quietly(proved, registered):
    command = [sys.executable, "-m", "deniability", "verify", proved.photo.bundle]
    process = subprocess.Popen(
        [*command, "--key", registered.public_key],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    process.stdout.close()
    with process.stderr as stream:
        assert stream.read() == ""
    assert process.wait() == 141
