"""`deny evaluate`, `prove --evaluation` and `verify` on the built-in generator, one family."""

import json

import pytest
from PIL import Image

from deniability.generators.builtin import photo_path
from deniability.sandbox.choose import Choice, choose_isolation

FEW = ("--family", "lossless", "--own", "30", "--strangers", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, registered):
    """A folder with pictures and an evaluation that was made by the command."""
    from deniability.cli.app import run

    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "photos").mkdir()
    with Image.open(photo_path()) as photo:
        photo.resize((40, 56)).save(folder / "photos" / "boot.jpg")
    output, plots = folder / "evaluation.json", folder / "plots"
    code = run(
        [
            *("evaluate", "builtin", *FEW, "-o", str(output), "--plots", str(plots), "--quiet"),
            *("--nonmembers", str(folder / "photos"), "--key", str(registered.private_key)),
            *("--registration", str(registered.registration)),
        ]
    )
    assert code == 0
    return folder


def test_tables_json_and_the_line_to_hand_over(deny, folder, registered, signer, home):
    ran = deny(
        *("evaluate", "builtin", *FEW, *signer, "-o", "again.json", "--json"),
    )
    assert ran.code == 0
    assert ran.json["result"]["denied"] == 0
    (family,) = ran.json["families"]
    assert len(family["ownPValues"]) == 30
    assert all(0 < p <= n for p, n in family["ownPValues"])
    assert ran.json["verifyCommand"].startswith("deny verify again.json --key ")
    assert ran.json["plots"] == []
    assert {path.name for path in (folder / "plots").iterdir()} == {
        *("calibration.png", "roc.png", "residuals.png", "cost.png")
    }
    refused = deny("evaluate", "builtin", *FEW, *signer, "-o", "again.json")
    assert refused.code != 0
    assert "--force" in refused.err
    del registered, home


def test_verify_says_what_was_not_checked(deny, folder, registered, home):
    del home
    key = ("--key", registered.public_key)
    ran = deny("verify", folder / "evaluation.json", *key)
    assert ran.code == 0
    first = ran.out.splitlines()[0]
    assert "the search was not re-run: the residuals are the signer's word" in first
    assert "of near ones nothing is promised" in ran.out
    assert "nonmembers-1" in ran.out
    shown = deny("verify", folder / "evaluation.json", *key, "--json").json
    assert shown["level"] == "v0"
    assert any("signer's word" in line for line in shown["notChecked"])
    inspected = deny("inspect", folder / "evaluation.json")
    assert "evaluation: how often the procedure is wrong on a model" in inspected.out


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--replay", "5"), 2, "V2 needs --model"),
        (("--image", "photos"), 2, "without the model"),
        (("--registration", "registration.json"), 2, "without the model"),
        (("--model", "builtin", "--latents", "x.safetensors"), 2, "--latents"),
        (("--model", "builtin", "--model", "builtin-twin"), 2, "--model"),
        (("--model", "builtin-twin"), 3, "not the model that the bundle is about"),
        (("--model", "builtin", "--image", "plots"), 2, "plots"),
        (("--model", "builtin", "--image", "."), 3, "do not hold the pictures"),
        (("--model", "builtin", "--registration", "none.json"), 2, "none.json"),
        (("--require", "v1"), 4, "--model"),
        (("--model", "builtin", "--require", "v2"), 4, "--replay"),
    ],
)
def test_what_leads_to_no_level_is_refused(deny, folder, registered, home, options, code, words):
    del home
    key = ("--key", registered.public_key)
    ran = deny("verify", folder / "evaluation.json", *key, *options)
    assert ran.code == code
    assert words in ran.err
    assert "consistent" not in ran.out


@pytest.fixture
def checked(deny, folder, registered, home):
    """Run `verify` with the model."""
    del home

    def run(*options):
        return deny(
            *("verify", folder / "evaluation.json", "--key", registered.public_key),
            *("--model", "builtin", *options, "--json"),
        )

    return run


@pytest.fixture
def isolated():
    if choose_isolation().isolation is None:
        pytest.skip("no isolation here")


@pytest.mark.usefixtures("isolated")
def test_v1_measures_the_rule_on_an_isolated_model(checked, registered, monkeypatch):
    options = ("--registration", registered.registration, "--require", "v1")
    ran = checked(*options)
    assert ran.code == 0, ran.err
    told = ran.json
    assert told["isolation"]["mechanism"] != "none"
    assert told["level"] == "v1"
    assert "the residuals are the signer's word" in told["summary"]
    (found,) = told["replays"]
    assert (found["rendered"], found["own"], found["copies"]) == (99, 30, 7)
    assert any("use --replay N" in line for line in told["notChecked"])
    assert any("registration that it names" in line for line in told["checked"])
    none = Choice(None, ("none",))
    monkeypatch.setattr("deniability.cli.isolation.choose_isolation", lambda: none)
    assert checked(*options).code == 4
    outside = checked(*options, "--trust-model")
    assert outside.json["isolation"] == {"mechanism": "none", "reason": "none"}
    assert outside.json["replays"] == told["replays"]


@pytest.mark.slow
@pytest.mark.usefixtures("isolated")
def test_v2_searches_again_on_an_isolated_model(checked, folder, registered):
    ran = checked(
        *("--registration", registered.registration, "--image", folder / "photos"),
        *("--replay", "1", "--require", "v2"),
    )
    assert ran.code == 0, ran.err
    told = ran.json
    assert told["isolation"]["mechanism"] != "none"
    assert told["level"] == "v2"
    first, second = told["replays"]
    assert first["level"] == "v1"
    assert second["encoder"] == "registered"
    assert second["leftOut"] == []
    assert second["own"]["pictures"] == second["fresh"][0]["outputs"] == 1
    assert "the search was re-run in part" in told["summary"]
    assert any("A full check takes 60" in line for line in told["checked"])
    assert all("residuals" not in line for line in told["notChecked"])


def test_a_bundle_cites_it_and_old_ones_say_that_they_do_not(
    deny, folder, registered, signer, proved, home
):
    del home
    key = ("--key", registered.public_key)
    cites = ("--evaluation", folder / "evaluation.json")
    photo = proved.photo.image
    ran = deny("prove", photo, "--model", "builtin", *signer, *cites, "--no-figure", "-o", "b.json")
    assert ran.code == 0
    assert "lossless: of 30 own outputs 0 were denied" in ran.out
    alone = deny("verify", "b.json", *key)
    (line,) = (text for text in alone.out.splitlines() if text.startswith("error rate"))
    assert "not compared with it (--evaluation)" in line
    both = deny("verify", "b.json", *key, *cites, "--json")
    assert both.code == 0
    assert both.json["knownErrorRate"].endswith("compared with it)")
    assert any("The evaluation that you brought" in text for text in both.json["checked"])
    old = deny("verify", proved.photo.bundle, *key)
    assert "none is cited" in old.out
    assert deny("verify", proved.photo.bundle, *key, *cites).code == 3


def test_an_evaluation_that_was_withdrawn_is_refused(deny, folder, registered, signer, home):
    taken = home / "evaluation.json"
    taken.write_bytes((folder / "evaluation.json").read_bytes())
    assert deny("withdraw", taken, "--reason", "wrong photos", *signer[:2]).code == 0
    back = ("--withdrawal", home / "evaluation.withdrawal.json")
    assert deny("verify", taken, "--key", registered.public_key, *back).code == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--family", "mirrored"), "no such family"),
        (("--nonmembers", "nowhere"), "nowhere"),
        (("--own", "0"), "not a number of pictures"),
        (("--other", "nothing.pt"), "nothing.pt"),
        (("--preset", "pristine-standard-v1"), "another preset"),
    ],
)
def test_bad_input_is_named(deny, signer, home, options, words):
    del home
    ran = deny("evaluate", "builtin", *signer, *options, "--json")
    assert ran.code == 2
    assert words in json.dumps(ran.json["error"])
