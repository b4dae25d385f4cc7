"""`deny register`, `prove`, `generate` and `inspect` on the built-in generator."""

import shlex
import shutil

import pytest
from PIL import Image

from deniability.crypto.digest import sha256_file


@pytest.mark.slow
def test_an_own_output_is_reached_and_its_bundle_verifies(home, deny, signer, registered):
    made = deny("generate", "builtin", "--seed", "5", "-o", "own.png", "--json")
    assert made.code == 0
    assert made.json["pictures"] == [{"seed": "5", "file": "own.png"}]
    with Image.open("own.png") as image:
        assert (image.size, image.mode) == ((28, 28), "L")
    ran = deny("prove", "own.png", "--model", "builtin", *signer)
    assert ran.code == 10
    lines = ran.out.splitlines()
    assert lines[0].startswith("Reached: a latent of the model sha256:")
    assert lines[0].endswith("pixel for pixel.")
    assert any(line.startswith("latent ") for line in lines)
    for name in ("bundle.json", "bundle.latents.safetensors", "bundle.figure.png"):
        assert (home / name).exists()
        assert name in ran.out
    commands = [line.strip() for line in lines if line.strip().startswith("deny verify")]
    assert len(commands) == 2
    light, full = (shlex.split(command)[1:] for command in commands)
    assert light == ["verify", "bundle.json", "--key", str(registered.public_key)]
    assert deny(*light).code == 0
    assert deny(*full).code == 0


@pytest.mark.slow
def test_a_strangers_picture_is_excluded_as_json_without_a_figure(home, deny, signer, proved):
    shutil.copy(proved.twin.image, "twin.png")
    ran = deny("prove", "twin.png", "--model", "builtin", *signer, "--no-figure", "--json")
    assert ran.code == 0
    assert ran.json["exitCode"] == 0
    assert ran.json["finding"]["verdict"] == "excluded"
    assert ran.json["figure"] is None
    assert not (home / "bundle.figure.png").exists()
    again = deny("prove", "twin.png", "--model", "builtin", *signer, "--no-figure")
    assert again.code == 2
    assert "exists already" in again.err
    replaced = deny("prove", "twin.png", "--model", "builtin", *signer, "--no-figure", "--force")
    assert replaced.code == 0


@pytest.mark.slow
def test_the_default_key_and_registration_are_found(home, deny, proved, small_preset):
    """The path of a first-time user: keygen, a model in this folder, prove."""
    assert deny("keygen").code == 0
    ran = deny(
        "prove", proved.own.image, "--model", "builtin", "--preset", small_preset, "--no-figure"
    )
    assert ran.code == 10, ran.err
    assert "it is registered first: builtin.registration.json" in ran.err
    assert (home / "builtin.registration.json").exists()
    assert deny("verify", "bundle.json").code == 0
    again = deny("register", "builtin", "--preset", small_preset)
    assert again.code == 2
    assert "exists already" in again.err


@pytest.mark.usefixtures("home")
def test_several_outputs_go_into_a_folder(deny):
    ran = deny("generate", "builtin", "--seed", "3", "--count", "2", "-o", "many")
    assert ran.code == 0
    assert ran.out.split() == ["many/seed-3.png", "many/seed-4.png"]
    assert sha256_file("many/seed-3.png") != sha256_file("many/seed-4.png")
    deny("generate", "builtin", "--seed", "3", "-o", "again.png")
    assert sha256_file("again.png") == sha256_file("many/seed-3.png")
    assert deny("generate", "builtin", "--seed", "3", "-o", "again.png").code == 2


@pytest.mark.usefixtures("home")
def test_a_seed_beyond_the_seed_space_is_refused(deny):
    ran = deny("generate", "builtin", "--seed", str(2**64))
    assert ran.code == 2
    assert "outside the generator's seed space" in ran.err


@pytest.mark.parametrize(
    ("of", "words"),
    [
        ("bundle", ["urn:deniability:exclusion/v1", "verdict: excluded", "99 entries"]),
        ("registration", ["urn:deniability:registration/v1", "pristine-quick-v1"]),
        ("latents", ["latents (safetensors)", "controls: F32 99 x 16"]),
        ("public", ["public key", "ecdsa-p256"]),
        ("private", ["private key", "ecdsa-p256"]),
    ],
)
def test_inspect_shows_any_file_and_says_that_nothing_was_verified(
    deny, proved, registered, of, words
):
    path = {
        "bundle": proved.photo.bundle,
        "registration": registered.registration,
        "latents": proved.photo.latents,
        "public": registered.public_key,
        "private": registered.private_key,
    }[of]
    ran = deny("inspect", path)
    assert ran.code == 0
    assert ran.out.startswith("Nothing here was verified")
    for word in words:
        assert word in ran.out
    as_json = deny("inspect", path, "--json")
    assert as_json.json["verified"] is False
    if of == "private":
        secret = path.read_text().splitlines()[1]
        assert secret not in ran.out + as_json.out


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"{}", b"\xff" * 20, b"\x08" + b"\0" * 7 + b"{"]
)
def test_inspect_refuses_what_is_not_ours(deny, tmp_path, content):
    path = tmp_path / "x"
    path.write_bytes(content)
    ran = deny("inspect", path)
    assert ran.code == 4
    assert ran.out == ""
    assert ran.err.count("\n") == 1


def test_inspect_escapes_what_it_shows(deny, tmp_path, proved):
    import base64
    import json

    bundle = json.loads(proved.photo.bundle.read_bytes())
    payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    payload["predicate"]["evil"] = "\x1b[2J\u202e"
    from deniability.crypto.canonical import canonical_json

    encoded = base64.b64encode(canonical_json(payload)).decode()
    bundle["dsseEnvelope"]["payload"] = encoded
    (tmp_path / "evil.json").write_bytes(canonical_json(bundle))
    ran = deny("inspect", tmp_path / "evil.json")
    assert ran.code == 0
    assert "\\x1b[2J\\u202e" in ran.out
    assert "\x1b" not in ran.out
