"""`deny verify`: says what it checked, light at V0, and says nothing reassuring when it fails."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_checks import ROOT, one_sentence

from deniability.errors import CommitmentError
from deniability.sandbox.choose import Choice, choose_isolation

FIRST_LINE = "authentic and consistent; the search was not re-run"
HEAVY = {"torch", "numpy", "PIL", "safetensors", "jpeglib", "matplotlib", "scipy", "rich"}


@pytest.fixture
def key(registered):
    return ("--key", registered.public_key)


@pytest.fixture
def copy(proved, tmp_path):
    """Copy of the photo's bundle and its latents, to be spoilt."""
    bundle = tmp_path / "bundle.json"
    shutil.copy(proved.photo.bundle, bundle)
    shutil.copy(proved.photo.latents, tmp_path / "bundle.latents.safetensors")
    return bundle


def nothing_reassuring(ran):
    lowered = ran.out.lower()
    assert not any(word in lowered for word in ("ok", "authentic", 'verified": true', "excluded"))


def test_v0_says_first_what_it_is_and_then_what_it_is_not(deny, proved, key):
    ran = deny("verify", proved.photo.bundle, *key)
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0] == FIRST_LINE
    assert lines[1].startswith("Excluded: the accused picture is not an unmodified output")
    assert "edited outputs" in lines[1]
    assert any("deployment not verified" in line for line in lines[:8])
    assert any("registered after the accusation, or undated" in line for line in lines[:8])
    assert any("seeds could have been ground" in line for line in lines[:8])
    assert "V1 was not checked" in ran.out
    assert "V2 was not checked" in ran.out
    assert "0 of 99" in ran.out
    assert "p = 1/100" in ran.out
    assert ran.err == ""


def test_quiet_keeps_the_caveats(deny, proved, key):
    ran = deny("verify", proved.own.bundle, *key, "--quiet")
    assert ran.code == 0
    assert ran.out.splitlines()[0] == FIRST_LINE
    assert "deployment not verified" in ran.out
    assert len(ran.out.splitlines()) < 8


def test_json_is_one_object_with_what_was_and_was_not_checked(deny, proved, key):
    ran = deny("verify", proved.photo.bundle, *key, "--image", proved.photo.image, "--json")
    assert ran.code == 0
    assert ran.json["level"] == "v0"
    assert ran.json["verified"] is True
    assert ran.json["exitCode"] == 0
    assert ran.json["finding"]["verdict"] == "excluded"
    assert "The picture is the bundle's subject, byte for byte." in ran.json["checked"]
    for level in ("V1", "V2"):
        assert any(f"{level} was not checked" in line for line in ran.json["notChecked"])
    assert ran.out.count("\n") == 1


@pytest.mark.usefixtures("home")
def test_an_unknown_signer_cannot_be_checked(deny, proved):
    ran = deny("verify", proved.photo.bundle)
    assert ran.code == 4
    one_sentence(ran)
    assert "stage 'trust'" in ran.err
    nothing_reassuring(ran)


@pytest.mark.usefixtures("home")
def test_the_trust_store_suffices(deny, proved, registered):
    assert deny("trust", "add", registered.public_key).code == 0
    assert deny("verify", proved.photo.bundle).code == 0


@pytest.mark.usefixtures("home")
def test_the_key_given_counts_alone(deny, proved, registered):
    deny("trust", "add", registered.public_key)
    deny("keygen", "--folder", "keys")
    assert deny("verify", proved.photo.bundle, "--key", "keys/default.pub.pem").code == 4


def test_one_flipped_character_is_refused_and_the_place_named(deny, copy, key):
    raw = bytearray(copy.read_bytes())
    raw[len(raw) // 2] ^= 1
    copy.write_bytes(raw)
    ran = deny("verify", copy, *key)
    assert ran.code == 3
    one_sentence(ran)
    assert "stage 'signature'" in ran.err
    assert f"{copy}: dsseEnvelope.payload" in ran.err
    nothing_reassuring(ran)
    as_json = deny("verify", copy, *key, "--json")
    assert as_json.json["error"]["stage"] == "signature"
    assert as_json.json["error"]["where"].endswith("dsseEnvelope.payload")
    assert as_json.json["exitCode"] == as_json.code == 3
    nothing_reassuring(as_json)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.99])
def test_a_bundle_cut_off_cannot_be_checked(deny, copy, key, share):
    raw = copy.read_bytes()
    copy.write_bytes(raw[: int(len(raw) * share)])
    ran = deny("verify", copy, *key)
    assert ran.code == 4
    one_sentence(ran)
    assert "stage 'parse'" in ran.err
    nothing_reassuring(ran)


def test_a_registration_is_no_bundle(deny, registered, key):
    ran = deny("verify", registered.registration, *key)
    assert ran.code == 3
    assert "another type of statement" in ran.err
    nothing_reassuring(ran)


def test_another_picture_is_refused_without_being_decoded(deny, proved, key, tmp_path):
    other = tmp_path / "other.png"
    other.write_bytes(b"not even a picture")
    ran = deny("verify", proved.photo.bundle, *key, "--image", other)
    assert ran.code == 3
    assert "not the picture that the bundle is about" in ran.err
    assert deny("verify", proved.photo.bundle, *key, "--image", tmp_path / "none").code == 2
    assert deny("verify", proved.photo.bundle, *key, "--image", tmp_path).code == 2


def test_latents_that_were_changed_are_refused_and_missing_ones_told(deny, copy, key):
    latents = copy.with_name("bundle.latents.safetensors")
    raw = bytearray(latents.read_bytes())
    raw[-1] ^= 1
    latents.write_bytes(raw)
    ran = deny("verify", copy, *key)
    assert ran.code == 3
    assert "not the latents file that was signed" in ran.err
    nothing_reassuring(ran)
    latents.unlink()
    without = deny("verify", copy, *key)
    assert without.code == 0
    assert "The latents file is not here" in without.out


def test_a_renamed_bundle_finds_its_latents_by_their_recorded_name(deny, proved, key, tmp_path):
    shutil.copy(proved.photo.bundle, tmp_path / "renamed.json")
    shutil.copy(proved.photo.latents, tmp_path)
    ran = deny("verify", tmp_path / "renamed.json", *key)
    assert ran.code == 0
    assert "The latents file beside the bundle is the one that was signed." in ran.out


def test_a_model_that_cannot_be_isolated_is_not_run_before_it_is_trusted(
    deny, proved, key, monkeypatch
):
    nothing = Choice(None, ("bubblewrap: bwrap is not installed",))
    monkeypatch.setattr("deniability.cli.isolation.choose_isolation", lambda: nothing)
    case = proved.photo
    full = ("verify", case.bundle, *key, "--image", case.image, "--model", "builtin")
    ran = deny(*full)
    assert ran.code == 4
    one_sentence(ran)
    assert "running somebody else's model is running their code" in ran.err
    assert "bwrap is not installed" in ran.err
    assert "--trust-model" in ran.err
    nothing_reassuring(ran)
    trusted = deny(*full, "--trust-model")
    assert trusted.code == 0, trusted.err
    assert "the model was run without isolation, as you" in trusted.out


@pytest.fixture
def isolated():
    choice = choose_isolation()
    if choice.isolation is None:
        pytest.skip("no isolation here: " + "; ".join(choice.reasons))
    return choice.isolation


@pytest.mark.parametrize("trust", [(), ("--trust-model",)])
def test_an_isolated_model_needs_no_trust_and_answers_the_same(
    deny, proved, key, isolated, monkeypatch, trust
):
    case = proved.photo
    full = ("verify", case.bundle, *key, "--image", case.image, "--model", "builtin", "--json")
    inside = deny(*full, *trust)
    assert inside.code == 0, inside.err
    assert inside.json["isolation"] == isolated.to_json()
    if trust:
        monkeypatch.setattr(
            "deniability.cli.isolation.choose_isolation", lambda: Choice(None, ("none",))
        )
        outside = deny(*full, *trust)
        assert outside.json["isolation"] == {"mechanism": "none", "reason": "none"}
        assert outside.json["replays"] == inside.json["replays"]


def test_a_model_exchanged_between_hash_and_load_is_not_run(tmp_path):
    from deniability.cli.isolation import _Exhibits

    model = tmp_path / "model.pt"
    model.write_bytes(b"honest")
    exhibits = _Exhibits(tmp_path / "given")
    digest = hashlib.sha256(b"honest").hexdigest()
    copy = Path(exhibits.add(model, "model", (digest,)))
    model.write_bytes(b"hostile")
    assert copy.read_bytes() == b"honest"
    with pytest.raises(CommitmentError, match="not the model"):
        _Exhibits(tmp_path / "again").add(model, "model", (digest,))


@pytest.mark.usefixtures("isolated")
def test_a_time_limit_is_kept(deny, proved, key):
    case = proved.photo
    ran = deny(
        "verify", case.bundle, *key, "--image", case.image, "--model", "builtin",
        "--replay", "99", "--time-limit", "1",
    )  # fmt: skip
    assert ran.code == 4
    assert "took too long" in ran.err
    nothing_reassuring(ran)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--require", "v1"], 4),
        (["--require", "v2"], 4),
        (["--require", "v3"], 2),
        (["--replay", "5"], 2),
        (["--replay", "0"], 2),
        (["--model", "builtin", "--trust-model"], 2),
    ],
)
def test_what_cannot_lead_to_the_level_asked_for_is_refused(deny, proved, key, options, code):
    ran = deny("verify", proved.photo.bundle, *key, *options)
    assert ran.code == code
    one_sentence(ran)
    nothing_reassuring(ran)


@pytest.mark.slow
def test_v1_and_v2_run_the_model(deny, proved, key):
    case = proved.photo
    full = ("verify", case.bundle, *key, "--image", case.image, "--model", "builtin")
    first = deny(*full, "--trust-model", "--require", "v1")
    assert first.code == 0, first.err
    assert first.out.splitlines()[0] != FIRST_LINE
    assert "V1 checked:" in first.out
    assert "V2 was not checked" in first.out
    second = deny(*full, "--trust-model", "--require", "v2", "--replay", "3", "--json")
    assert second.code == 0, second.err
    assert second.json["level"] == "v2"
    assert [replay["level"] for replay in second.json["replays"]] == ["v1", "v2"]


def test_another_model_is_refused_before_it_is_run(deny, proved, key, tmp_path):
    case = proved.photo
    (tmp_path / "other.pt").write_bytes(b"would run code")
    for model in ("builtin-twin", tmp_path / "other.pt"):
        ran = deny(
            "verify", case.bundle, *key, "--image", case.image, "--model", model, "--trust-model"
        )
        assert ran.code == 3
        assert "not the model that the bundle is about" in ran.err
        nothing_reassuring(ran)


def test_v1_needs_the_latents(deny, copy, proved, key):
    copy.with_name("bundle.latents.safetensors").unlink()
    ran = deny(
        "verify", copy, *key, "--image", proved.photo.image, "--model", "builtin", "--trust-model"
    )
    assert ran.code == 4
    assert "the latents file is not beside the bundle" in ran.err


WITHOUT_NETWORK = """
import json, os, socket, sys, time
def refused(*_, **__):
    raise SystemExit("the network was used")
socket.socket.connect = socket.socket.connect_ex = socket.socket.bind = refused
socket.create_connection = socket.getaddrinfo = refused
sys.addaudithook(lambda event, _: refused() if event.startswith("socket.") else None)
from deniability.cli.app import run
code = run(sys.argv[1:])
print(json.dumps({"code": code, "cpu": time.process_time(),
    "modules": sorted({name.partition(".")[0] for name in sys.modules})}), file=sys.stderr)
"""


def test_v0_is_light_and_needs_no_network(proved, registered):
    command = [sys.executable, "-W", "error", "-c", WITHOUT_NETWORK, "verify"]
    options = [proved.photo.bundle, "--image", proved.photo.image, "--key", registered.public_key]
    runs = []
    for _ in range(3):
        done = subprocess.run(
            [*command, *options],
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert done.stdout.splitlines()[0] == FIRST_LINE, done.stderr
        runs.append(json.loads(done.stderr.splitlines()[-1]))
    assert all(run["code"] == 0 for run in runs)
    assert set(runs[0]["modules"]).isdisjoint(HEAVY)
    # Processor time of the whole process, since other tests keep the cores busy.
    assert min(run["cpu"] for run in runs) < 0.5
