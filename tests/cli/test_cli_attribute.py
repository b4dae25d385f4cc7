"""`deny attribute`, and what `deny verify` and the other commands make of an attribution."""

import json
import shutil
from types import SimpleNamespace

import pytest
from cli_checks import one_sentence

from deniability.cli.app import run
from deniability.cli.attribute import ATTRIBUTION_CODES

pytestmark = pytest.mark.slow
PRESET = ("--preset", "pristine-quick-v1")


@pytest.fixture(scope="module")
def attributed(registered, proved, tmp_path_factory):
    """The built-in generator's own output, examined for it and for its twin.

    The twin is registered on the way.
    """
    folder = tmp_path_factory.mktemp("attributed")
    image, output = folder / "own.png", folder / "attribution.json"
    shutil.copy(proved.own.image, image)
    shutil.copy(registered.public_key, folder / "test.pub.pem")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATA", "CONFIG", "CACHE"):
            patch.setenv(f"XDG_{name}_HOME", str(folder / name.lower()))
        patch.chdir(folder)
        code = run(
            [
                *("attribute", str(image), "--model", "builtin-twin", "--model", "builtin"),
                *("--registration", str(registered.registration), *PRESET),
                *("--key", str(registered.private_key), "-o", str(output)),
            ]
        )
    return SimpleNamespace(code=code, folder=folder, image=image, output=output)


@pytest.fixture
def key(registered):
    return ("--key", registered.public_key)


@pytest.fixture
def models():
    return ("--model", "builtin", "--model", "builtin-twin")


def test_it_is_attributed_and_the_other_model_registered_first(deny, attributed, registered, key):
    assert attributed.code == 0
    names = {path.name for path in attributed.folder.iterdir() if not path.name.startswith(".")}
    assert "builtin-twin.registration.json" in names
    assert sum(name.startswith("attribution.") for name in names) == 3
    ran = deny("verify", attributed.output, *key, "--image", attributed.image)
    assert ran.code == 0
    first, sentence, *_ = ran.out.splitlines()
    assert first == "authentic and consistent; the search was not re-run"
    own = registered.opened.procedure.model.digest
    assert sentence.startswith(
        f"Attributed (2 models examined): a latent of the model sha256:{own} is shown whose output "
        "is the accused picture pixel for pixel; the accused picture is not an unmodified output "
        "of the model sha256:"
    )
    assert "models that are not listed were not examined" in sentence
    assert ran.out.count("\nmodel ") == 2
    assert "deployment not verified" in ran.out


def test_json_of_verify(deny, attributed, key):
    ran = deny("verify", attributed.output, *key, "--json")
    assert ran.json["finding"]["verdict"] == "attributed"
    assert ran.json["level"] == "v0"
    verdicts = [entry["finding"]["verdict"] for entry in ran.json["candidates"]]
    assert sorted(verdicts) == ["excluded", "reached"]
    assert sum("V1 was not checked" in line for line in ran.json["notChecked"]) == 2
    assert sum("latents file beside" in line for line in ran.json["checked"]) == 2


def test_every_candidate_is_rendered_again_at_v1(deny, attributed, key, models):
    given = ("--image", attributed.image, *models, "--device", "cpu")
    ran = deny("verify", attributed.output, *key, *given, "--require", "v1", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["level"] == "v1"
    assert {replay["verdict"] for replay in ran.json["replays"]} == {"excluded", "reached"}


def test_a_part_of_the_models_is_not_the_level(deny, attributed, key):
    given = ("--image", attributed.image, "--model", "builtin-twin", "--device", "cpu")
    ran = deny("verify", attributed.output, *key, *given, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["level"] == "v0"
    assert len(ran.json["replays"]) == 1
    refused = deny("verify", attributed.output, *key, *given, "--require", "v1")
    assert refused.code == 4
    one_sentence(refused)
    assert "takes the model of every candidate" in refused.err


def test_a_search_of_ones_own_at_v2(deny, attributed, key, models):
    given = ("--image", attributed.image, *models, "--device", "cpu", "--replay", "2")
    ran = deny("verify", attributed.output, *key, *given, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["level"] == "v2"
    assert [replay["level"] for replay in ran.json["replays"]] == ["v1", "v2", "v1", "v2"]


def test_presets_without_families_are_not_narrowed(deny, attributed, proved, registered, models):
    twin = attributed.folder / "builtin-twin.registration.json"
    ran = deny(
        *("attribute", proved.photo.image, *models, "--handling", "mirrored"),
        *("--registration", registered.registration, "--registration", twin),
        *("--key", registered.private_key, "-o", "narrowed.json"),
    )
    one_sentence(ran)
    assert ran.code == 2
    assert "no such families of handling to narrow a search to" in ran.err
    unknown = deny(
        *("attribute", proved.photo.image, *models, "--handling", "upside-down"),
        *("--key", registered.private_key, "-o", "narrowed.json"),
    )
    assert unknown.code == 2
    assert "no such family of handling" in unknown.err


def test_what_does_not_go_with_an_attribution(deny, attributed, key, models, proved, home):
    verify = ("verify", attributed.output, *key)
    image = ("--image", attributed.image)
    shutil.copy(proved.own.image, home / "no-model.pt")
    cases = (
        ((*verify, *image, "--model", "no-model.pt"), 3, "not a model of this attribution"),
        ((*verify, "--image", proved.photo.image), 3, "not the picture"),
        ((*verify, *models), 2, "V1 needs the picture too"),
        ((*verify, *image, *models[:2], *models[:2]), 2, "the same model twice"),
        ((*verify, "--latents", attributed.image), 2, "the latents of an attribution"),
        ((*verify, "--latents", home, *image, *models), 2, "file cannot be read"),
        ((*verify, "--beacon-file", attributed.image), 4, "no beacon's value"),
        (("verify", proved.own.bundle, *key, *image, *models), 2, "several models"),
    )
    for arguments, code, words in cases:
        ran = deny(*arguments)
        one_sentence(ran)
        assert words in ran.err, ran.err
        assert ran.code == code
        assert "authentic" not in ran.out


def test_it_cannot_be_attested(deny, attributed, key, home):
    assert deny("keygen", "--folder", home).code == 0
    attest = ("--attest", home / "vsa.json", "--attest-key", home / "default.key.pem")
    ran = deny("verify", attributed.output, *key, *attest)
    assert ran.code == 4
    assert "an attribution cannot be attested" in ran.err
    assert not (home / "vsa.json").exists()


def test_a_changed_character_is_refused(deny, attributed, key, home):
    raw = bytearray(attributed.output.read_bytes())
    raw[len(raw) // 2] ^= 1
    (home / "changed.json").write_bytes(raw)
    ran = deny("verify", "changed.json", *key)
    assert ran.code == 3
    assert "stage 'signature'" in ran.err


@pytest.mark.usefixtures("home")
def test_it_can_be_withdrawn_and_inspected(deny, attributed, registered, key):
    taken = ("--reason", "wrong sampler", "--key", registered.private_key, "-o", "w.json")
    assert deny("withdraw", attributed.output, *taken).code == 0
    ran = deny("verify", attributed.output, *key, "--withdrawal", "w.json")
    assert ran.code == 3
    assert "withdrawn by its own signer" in ran.err
    shown = deny("inspect", attributed.output)
    assert "attribution: a finding about one picture and several models" in shown.out
    assert "verdict: attributed" in shown.out
    assert "candidates: 2 entries" in shown.out


def test_results_are_not_written_over_and_wrong_input_is_told_first(
    deny, attributed, registered, home, models
):
    command = ("attribute", attributed.image, *models, "--key", registered.private_key)
    twin = attributed.folder / "builtin-twin.registration.json"
    registrations = ("--registration", registered.registration, "--registration", twin)
    (home / "small.png").write_bytes(b"\x89PNG and then nothing")
    both = (*command, *registrations)
    taken = deny(*both, "-o", attributed.output)
    assert taken.code == 2
    assert "exists already" in taken.err
    over = deny(*both, "-o", registered.registration)
    assert "is what this command reads" in over.err
    one = deny("attribute", attributed.image, "--model", "builtin", "--key", registered.private_key)
    assert one.code == 2
    assert "2 to 64 different models" in one.err
    cases = (
        ((*command, "--model", "builtin"), "the same model twice"),
        ((*both, "--registration", twin), "two registrations of one model"),
        ((*both, "--preset", "pristine-standard-v1"), "registered under another preset"),
        ((both[0], "small.png", *both[2:]), "small.png"),
        ((*both, "--preset", "none"), "no such preset"),
    )
    for arguments, words in cases:
        ran = deny(*arguments)
        assert ran.code == 2, ran.err
        assert words in ran.err, ran.err
    assert not list(home.glob("attribution*"))
    wrong = ("--registration", registered.registration, "--registration", registered.registration)
    assert "two registrations" in deny(*command, *wrong).err


def test_a_foreign_picture_as_json_and_the_codes(deny, attributed, registered, proved, home):
    twin = attributed.folder / "builtin-twin.registration.json"
    command = (
        *("attribute", proved.photo.image, "--model", "builtin", "--model", "builtin-twin"),
        *("--registration", registered.registration, "--registration", twin),
        *("--key", registered.private_key, "--json"),
    )
    # What an interrupted run has written of the first model is not lost to another one.
    left = next(attributed.folder.glob("attribution.*.latents.safetensors"))
    shutil.copy(left, home / left.name)
    refused = deny(*command)
    assert refused.json["error"]["what"] == "exists already"
    assert refused.json["error"]["where"] == left.name
    ran = deny(*command, "--resume")
    assert ran.code == ran.json["exitCode"] == 0
    assert ran.json["finding"]["verdict"] == "none-of-these"
    assert {entry["model"] for entry in ran.json["candidates"]} == {"builtin", "builtin-twin"}
    assert json.loads((home / "attribution.json").read_bytes())["mediaType"]
    assert ran.json["fullVerifyCommand"].endswith("--model builtin --model builtin-twin")
    assert {v: c for v, c in ATTRIBUTION_CODES.items() if c} == {"several": 11, "inconclusive": 11}
