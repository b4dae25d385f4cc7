"""`deny demo`: the story of the product, told without a network and checked by itself."""

import re
import time

import pytest

from deniability.crypto.keys import read_public_key
from deniability.errors import VerificationError
from deniability.verify.bundle import verify_bundle
from deniability.verify.trust import TrustPolicy


@pytest.mark.slow
def test_the_demo_ends_as_it_has_to_and_leaves_everything(home, process, deny):
    started = time.monotonic()
    ran = process("demo", "--json", cwd=home)
    seconds = time.monotonic() - started
    assert ran.code == 0, ran.err
    assert [case["verdict"] for case in ran.json["cases"]] == ["excluded", "excluded", "reached"]
    assert len(ran.json["cases"][2]["latent"]) == 16
    assert ran.json["forgery"]["stage"] == "signature"
    assert "dsseEnvelope.payload" in ran.json["forgery"]["message"]
    for name in ran.json["files"]:
        assert (home / name).stat().st_size > 0

    trust = TrustPolicy((read_public_key(home / "demo" / "demo.pub.pem"),))
    photo = (home / "demo" / "photo.bundle.json").read_bytes()
    forged = (home / "demo" / "forged.bundle.json").read_bytes()
    assert verify_bundle(photo, trust=trust).exclusion.finding.verdict == "excluded"
    assert sum(a != b for a, b in zip(photo, forged, strict=True)) == 1
    with pytest.raises(VerificationError):
        verify_bundle(forged, trust=trust)

    page = (home / "demo" / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "<script" not in page
    for case in ran.json["cases"]:
        assert case["finding"]["sentence"] in page
    assert "deployment not verified" in page

    key = ("--key", "demo/demo.pub.pem")
    light = deny("verify", "demo/photo.bundle.json", *key)
    assert light.code == 0
    full = deny(
        "verify", "demo/own.bundle.json", *key, "--image", "demo/own.png", "--model", "builtin"
    )
    assert full.code == 0
    assert deny("verify", "demo/forged.bundle.json", *key).code == 3
    assert seconds < 240  # two minutes on two cores of its own; here it shares them


@pytest.mark.slow
def test_the_demo_can_be_told_again_in_its_folder(home, registered, deny):
    """What was registered is taken with --resume; everything else is made anew."""
    import shutil

    folder = home / "again"
    folder.mkdir()
    shutil.copy(registered.private_key, folder / "demo.key.pem")
    for path in registered.folder.glob("builtin.registration*"):
        shutil.copy(path, folder)
    for _ in range(2):
        ran = deny("demo", "--out", folder, "--resume", "--quiet")
        assert ran.code == 0, ran.err
        assert ran.err == ""
        assert "4. One character of a bundle is changed" in ran.out
        assert ran.out.count("Excluded:") == 2
        assert ran.out.count("Reached:") == 1


def test_a_folder_with_other_things_in_it_is_left_alone(home, deny):
    (home / "mine").mkdir()
    (home / "mine" / "photo.png").write_text("irreplaceable")
    ran = deny("demo", "--out", "mine")
    assert ran.code == 2
    assert "not empty" in ran.err
    assert (home / "mine" / "photo.png").read_text() == "irreplaceable"
    assert len(list((home / "mine").iterdir())) == 1


def test_a_demo_that_goes_wrong_says_so(home, registered, deny, monkeypatch):
    """A case that ends otherwise than it has to is an error, whatever was printed before."""
    import dataclasses
    import shutil

    from deniability.report import demo

    other = dataclasses.replace(demo.PLAN[2], expected="excluded")
    monkeypatch.setattr(demo.Demo, "plan", (other,))
    folder = home / "wrong"
    folder.mkdir()
    shutil.copy(registered.private_key, folder / "demo.key.pem")
    for path in registered.folder.glob("builtin.registration*"):
        shutil.copy(path, folder)
    ran = deny("demo", "--out", folder, "--resume")
    assert ran.code == 3
    assert "a case of the demo did not end as it has to" in ran.err
    assert "All as it should be" not in ran.out
