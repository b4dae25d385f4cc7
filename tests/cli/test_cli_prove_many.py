"""Several accusations in one call: one bundle each, whatever becomes of the others."""

import shutil

import pytest
from PIL import Image
from test_cli_interrupt import interrupted

pytestmark = pytest.mark.slow


@pytest.fixture
def accusations(home, proved):
    """A folder with an own output, a file that is no picture, one of another size, and a note."""
    folder = home / "accused"
    folder.mkdir()
    shutil.copy(proved.own.image, folder / "own.png")
    (folder / "broken.png").write_bytes(b"\x89PNG and then nothing")
    Image.new("L", (5, 5)).save(folder / "small.png")
    (folder / "notes.txt").write_text("from the court")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


@pytest.fixture
def command(signer):
    return ("--model", "builtin", *signer, "--no-figure")


def test_one_bundle_each_and_a_bad_picture_stops_nobody(
    deny, home, accusations, command, proved, registered
):
    shutil.copy(proved.twin.image, home / "twin.png")
    ran = deny("prove", accusations, "twin.png", *command, "--json")
    results = {entry["image"].rsplit("/", 1)[-1]: entry for entry in ran.json["results"]}
    assert set(results) == {"own.png", "broken.png", "small.png", "twin.png"}
    assert results["own.png"]["finding"]["verdict"] == "reached"
    assert results["twin.png"]["finding"]["verdict"] == "excluded"
    assert results["broken.png"]["error"]["stage"] == "image"
    assert results["small.png"]["error"]["stage"] == "image"
    assert ran.json["leftOut"] == [str(accusations / "notes.txt")]
    # The worst of 10, 0, 2 and 2.
    assert ran.code == ran.json["exitCode"] == 2
    made = sorted(path.name for path in (home / "bundles").glob("*.json"))
    assert made == ["own.png.bundle.json", "twin.png.bundle.json"]
    for name in made:
        assert deny("verify", home / "bundles" / name, "--key", registered.public_key).code == 0

    # Once more: what is there is neither replaced nor, with --resume, searched for again.
    before = {name: (home / "bundles" / name).read_bytes() for name in made}
    again = deny("prove", "twin.png", accusations / "own.png", *command)
    assert again.code == 2
    assert again.err.count("exists already") == 2
    resumed = deny("prove", "twin.png", accusations / "own.png", *command, "--resume", "--json")
    assert [entry["finishedBefore"] for entry in resumed.json["results"]] == [True, True]
    assert resumed.code == 10
    assert {name: (home / "bundles" / name).read_bytes() for name in made} == before

    # A bundle about another picture is not taken for this one's.
    shutil.copy(home / "bundles" / "own.png.bundle.json", home / "bundles" / "twin.png.bundle.json")
    wrong = deny("prove", "twin.png", "twin.png", accusations / "own.png", *command, "--resume")
    assert wrong.code == 2
    assert "exists already" in wrong.err


def test_ctrl_c_keeps_what_was_finished_and_resume_does_the_rest(home, proved, command, deny):
    shutil.copy(proved.own.image, home / "a.png")
    shutil.copy(proved.twin.image, home / "b.png")
    (home / "out").mkdir()
    assert deny("prove", "a.png", *command, "-o", "out/a.png.bundle.json").code == 10
    arguments = ("prove", "a.png", "b.png", *command, "-o", "out", "--resume")
    code, _, err = interrupted(arguments, home, phase="searching", done=2)
    assert code == 130, err
    assert err.splitlines()[-1].endswith("run the same command with --resume.")
    first = (home / "out" / "a.png.bundle.json").read_bytes()
    assert not (home / "out" / "b.png.bundle.json").exists()
    done = deny(*arguments, "--json")
    assert done.code == 10
    assert [e.get("finishedBefore", False) for e in done.json["results"]] == [True, False]
    assert (home / "out" / "a.png.bundle.json").read_bytes() == first


def test_what_cannot_be_told_apart_or_is_missing_is_refused(home, deny, accusations, command):
    (home / "other").mkdir()
    shutil.copy(accusations / "own.png", home / "other" / "own.png")
    ran = deny("prove", accusations, "other", *command)
    assert ran.code == 2
    assert "two pictures of the same name" in ran.err
    (home / "empty").mkdir()
    assert deny("prove", "empty", *command).code == 2
    figure = deny("prove", accusations, "--model", "builtin", "--figure", "x.png")
    assert figure.code == 2
    assert "one figure for several pictures" in figure.err
    assert not (home / "bundles").exists()


def test_the_accused_picture_is_neither_in_the_bundle_nor_in_its_latents(proved):
    """Only digests of it travel; the figure, which shows it, is a file of its own."""
    import base64
    import json

    import numpy as np

    with Image.open(proved.photo.image) as image:
        pixels = np.asarray(image.convert("L"))
    raw = proved.photo.bundle.read_bytes()
    payload = base64.b64decode(json.loads(raw)["dsseEnvelope"]["payload"])
    latents = proved.photo.latents.read_bytes()
    file = proved.photo.image.read_bytes()
    row = pixels[pixels.shape[0] // 2].tobytes()
    assert len(set(row)) > 3
    for data in (raw, payload, latents):
        assert row not in data
        assert file[-200:] not in data
        assert base64.b64encode(file)[:60] not in data
    assert json.loads(payload)["predicate"]["accused"]["pixels"]
