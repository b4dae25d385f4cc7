"""One key with a passphrase, an authority, NIST's beacon and a revocation: each step by command."""

import datetime as dt
import json
import sys
import time

import pytest
import torch
from cli_checks import ROOT, one_sentence
from PIL import Image
from torch import nn

sys.path.insert(0, str(ROOT / "tests"))

from tsa_server import Authority, serving

FACTS = ("--latent-shape", "3", "--prior", "normal", "--range", "0,1", "--device", "cpu")
ROUND = "2099-01-01T00:00:00Z"  # a round to come when it is named
BEACON = ("--beacon", f"nist:{ROUND}")
PULSE = {
    "pulse": {
        "uri": "https://beacon.nist.gov/beacon/2.0/chain/2/pulse/1",
        "version": "2.0",
        "period": 60000,
        "chainIndex": 2,
        "pulseIndex": 1,
        "timeStamp": "2099-01-01T00:00:00.000Z",
        "precommitmentValue": "3D" * 64,
        "outputValue": "5B" * 64,
    }
}


def save_model(path):
    """A network without a random number in it, R x 3 to R x 1 x 8 x 8."""
    layer = nn.Linear(3, 64)
    steps = torch.linspace(-1.0, 1.0, 192).reshape(64, 3)
    layer.weight.data.copy_(2.0 * torch.sin(7.0 * steps))
    layer.bias.data.copy_(torch.cos(3.0 * steps[:, 0]))
    module = nn.Sequential(layer, nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8)))
    torch.jit.save(torch.jit.script(module.eval()), path)


@pytest.mark.slow
def test_a_protected_key_from_keygen_to_its_revocation(home, deny, monkeypatch):
    save_model(home / "model.pt")
    Image.effect_noise((8, 8), 90).save(home / "accused.png")
    (home / "pulse.json").write_text(json.dumps(PULSE))
    tsa = Authority(home / "tsa")
    root = ("--tsa-root", tsa.root_file)
    monkeypatch.setenv("DENY_PASSPHRASE", "correct horse")
    assert deny("keygen", "--passphrase-prompt").code == 0
    register = ("register", "model.pt", *FACTS, "--preset", "pristine-quick-v1", *BEACON)
    prove = ("prove", "accused.png", "--model", "model.pt", *FACTS, "--no-figure", "-o", "b.json")
    with serving(tsa.respond) as (url, _):
        stamps = ("--tsa", url, *root)
        monkeypatch.setenv("DENY_PASSPHRASE", "wrong")
        ran = deny(*register, *stamps)
        assert ran.code == 2
        one_sentence(ran)
        assert "the passphrase is wrong" in ran.err
        monkeypatch.setenv("DENY_PASSPHRASE", "correct horse")
        named = deny(*register, *stamps, "--json")
        assert named.code == 0, named.err
        assert named.json["intent"]["beacon"]["source"] == "nist"
        assert named.json["timestamps"][0]["time"]
        made = deny(*register, "--beacon-file", "pulse.json", *stamps, "--json")
        assert made.code == 0, made.err
        assert deny(*prove, *stamps).code in {0, 10, 11, 12}
    beacon = ("--beacon-file", "pulse.json")
    ran = deny("verify", "b.json", *root, *beacon, "--json")
    assert ran.code == 0, ran.err
    assert any("which was named at" in note for note in ran.json["notes"])
    assert any("existed at" in line for line in ran.json["checked"])
    # The same round's value as somebody else got it.
    other = {"pulse": PULSE["pulse"] | {"outputValue": "6A" * 64}}
    (home / "pulse.json").write_text(json.dumps(other))
    assert deny("verify", "b.json", *root, *beacon).code == 3

    # A theft after the timestamp leaves the bundle good; one before it does not.
    time.sleep(3)  # more than the authority's accuracy
    present = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for name, since in (("later", present), ("earlier", "2020-01-01T00:00:00Z")):
        ran = deny("revoke", "--reason", "stolen", "--since", since, "-o", f"{name}.json")
        assert ran.code == 0, ran.err
    for name, with_root, code in (("later", 1, 0), ("earlier", 1, 3), ("later", 0, 3)):
        ran = deny("verify", "b.json", "--withdrawal", f"{name}.json", *(root if with_root else ()))
        assert ran.code == code, (name, with_root, ran.err)
    assert "no timestamp by an authority that you trust" in ran.err
