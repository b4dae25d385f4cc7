"""What `deny verify` says of an attribution whose models have bindings, of kept files alone."""

import base64
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli_checks import one_sentence

from deniability.cli.candidates import _candidate_of
from deniability.errors import CommitmentError
from deniability.report.deployment import NOT_SHOWN

KEPT = Path(__file__).resolve().parent.parent / "vectors" / "passing"


@pytest.fixture
def cited(home):
    """Options for the attribution with two bindings; the list of the one that can be verified."""
    folder = KEPT / "attributed-with-bindings"
    options = []
    for index, key in enumerate(json.loads((folder / "trust.json").read_text())["keys"]):
        (home / f"{index}.pem").write_text(key)
        options += ["--key", f"{index}.pem"]
    for candidate in candidates(folder / "bundle.json"):
        if "binding" in candidate:
            obtained = predicate(base64.b64decode(candidate["binding"])).get("obtained")
            if obtained is not None:
                (home / "LIST").write_bytes(base64.b64decode(obtained["contents"]))
    return (folder / "bundle.json", *options)


def predicate(raw):
    payload = json.loads(raw)["dsseEnvelope"]["payload"]
    return json.loads(base64.b64decode(payload))["predicate"]


def candidates(path):
    return predicate(path.read_bytes())["candidates"]


def notes(ran):
    return [line for line in ran.json["notes"] if "deployment" in line]


def test_the_deployment_of_each_model_is_told(deny, cited):
    ran = deny("verify", *cited, "--json")
    assert ran.code == 0, ran.err
    found = notes(ran)
    assert len(found) == 3
    assert all(line.startswith("model ") for line in found)
    for words in ("verified by 30 outputs obtained", "which you do not trust", NOT_SHOWN):
        assert sum(words in line for line in found) == 1, words
    (checked,) = (line for line in ran.json["checked"] if "The binding in the bundle" in line)
    assert checked.startswith("model sha256:")


def test_without_the_third_partys_key_it_shows_nothing(deny, cited):
    ran = deny("verify", *cited[:3], "--json")
    assert ran.code == 0, ran.err
    assert sum("which you do not trust" in line for line in notes(ran)) == 2


def test_a_list_is_compared_with_the_binding_that_has_it(deny, cited, home):
    ran = deny("verify", *cited, "--obtained", "LIST", "--json")
    assert ran.code == 0, ran.err
    assert sum("The list of 30 files that you brought" in line for line in ran.json["checked"]) == 1
    (home / "OTHER").write_text("0" * 64 + "  a.png\n")
    other = deny("verify", *cited, "--obtained", "OTHER")
    assert other.code == 3
    one_sentence(other)
    assert "another one than the binding's" in other.err
    nothing = deny("verify", *cited[:3], "--obtained", "LIST")
    assert nothing.code == 4
    assert "no list to compare" in nothing.err


def test_it_is_inspected_as_citing_a_binding(deny, cited):
    assert "cites a binding, which was not verified here" in deny("inspect", cited[0]).out
    plain = deny("inspect", KEPT / "attributed" / "bundle.json")
    assert "deployment not verified: the file cites no binding" in plain.out


def test_folders_that_share_their_configuration_are_told_apart(tmp_path):
    def folder(name, weights):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "diffusion_pytorch_model.safetensors").write_bytes(weights)
        return tmp_path / name

    def described(path):
        files = [
            SimpleNamespace(sha256=hashlib.sha256(file.read_bytes()).hexdigest())
            for file in path.iterdir()
        ]
        model = SimpleNamespace(digest=path.name, files=files)
        return SimpleNamespace(exclusion=SimpleNamespace(model=model))

    one, two, third = folder("one", b"1"), folder("two", b"2"), folder("third", b"3")
    verified = SimpleNamespace(bundles=(described(one), described(two)))
    assert _candidate_of(str(one), verified) == "one"
    assert _candidate_of(str(two), verified) == "two"
    for other in (third, one / "config.json"):
        with pytest.raises(CommitmentError, match="not a model of this attribution"):
            _candidate_of(str(other), verified)
