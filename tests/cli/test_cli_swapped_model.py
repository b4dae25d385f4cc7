"""A model's file that is exchanged while `deny verify` runs: what was hashed is what is run."""

import hashlib
import os
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from deniability.cli import exhibits, isolation
from deniability.crypto.keys import generate_key, private_pem
from deniability.errors import CommitmentError
from deniability.generators import load
from deniability.generators.load import ModelOptions, load_generator
from deniability.sandbox.choose import Choice, choose_isolation

FACTS = ("--latent-shape", "3", "--prior", "normal", "--range", "0,1", "--rounding", "round")
OPTIONS = ModelOptions(latent_shape=(3,), prior="normal", output_range=("0", "1"))

#: Of a file that no reader holds whole in its buffer.
SIZE = 1 << 20


class Network(nn.Module):
    """R x 3 to gray pictures R x 1 x 8 x 8; another sign, another model."""

    def __init__(self, sign: float):
        super().__init__()
        self.layer = nn.Linear(3, 64)
        steps = torch.linspace(-1.0, 1.0, 192).reshape(64, 3)
        self.layer.weight.data.copy_(sign * torch.sin(7.0 * steps) * 2.0)
        self.layer.bias.data.copy_(torch.cos(3.0 * steps[:, 0]))

    def forward(self, z):
        return torch.sigmoid(self.layer(z)).reshape(-1, 1, 8, 8)


def script(path, sign):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        torch.jit.save(torch.jit.script(Network(sign).eval()), path)
    return path


def renamed_over(target, hostile):
    shutil.copy(hostile, target.with_suffix(".new"))
    target.with_suffix(".new").replace(target)


def overwritten(target, hostile):
    """In place: the same file, of which somebody may hold an open descriptor or a mapping."""
    with target.open("r+b") as file:
        file.truncate(0)
        file.write(hostile.read_bytes())


ways = pytest.mark.parametrize("swap", [renamed_over, overwritten])


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A model file, registered, and a bundle that excludes a picture; do not write into it."""
    from deniability.cli.app import run

    folder = tmp_path_factory.mktemp("story")
    model = script(folder / "model.pt", 1.0)
    hostile = script(folder / "hostile.pt", -1.0)
    picture = folder / "accused.png"
    Image.effect_noise((8, 8), 90).save(picture)
    paths = SimpleNamespace(
        folder=folder, model=model, hostile=hostile, picture=picture, bundle=folder / "b.json"
    )
    signer = generate_key()
    (folder / "key.pem").write_bytes(private_pem(signer, None))
    (folder / "key.pem").chmod(0o600)
    (folder / "pub.pem").write_bytes(signer.public.pem)
    before = Path.cwd()
    os.chdir(folder)
    try:
        key = ("--key", "key.pem")
        preset = ("--preset", "pristine-quick-v1")
        assert run(["register", "model.pt", *key, *FACTS, *preset, "-o", "r.json"]) == 0
        prove = ("prove", "accused.png", "--model", "model.pt", "--registration", "r.json")
        assert run([*prove, *key, *FACTS, "-o", "b.json"]) in {0, 10, 11, 12}
    finally:
        os.chdir(before)
    return paths


@pytest.fixture
def verify(story, deny, tmp_path):
    """Run `deny verify` at level V1 with a copy of the model that may be exchanged."""
    model = Path(shutil.copy(story.model, tmp_path / "model.pt"))
    key = ("--key", story.folder / "pub.pem")
    given = (*key, "--image", story.picture, "--model", model, *FACTS, "--require", "v1", "--json")

    def run(*more):
        return deny("verify", story.bundle, *given, *more)

    run.model = model
    return run


def after(monkeypatch, module, name, event):
    """Let something happen each time that a function has returned."""
    original = getattr(module, name)

    def followed(*arguments, **options):
        result = original(*arguments, **options)
        event()
        return result

    monkeypatch.setattr(module, name, followed)


@ways
def test_what_was_hashed_is_what_is_loaded(story, tmp_path, monkeypatch, swap):
    """Exchanged as soon as it was read: digest and network are those of the bytes that were."""
    model = Path(shutil.copy(story.model, tmp_path / "model.pt"))
    latents = torch.tensor([[0.5, -1.0, 2.0]])
    honest = load_generator(model, device=torch.device("cpu"), options=OPTIONS)(latents)
    after(monkeypatch, load, "read_capped", lambda: swap(model, story.hostile))
    generator = load_generator(model, device=torch.device("cpu"), options=OPTIONS)
    assert model.read_bytes() == story.hostile.read_bytes()
    assert generator.files[0].sha256 == hashlib.sha256(story.model.read_bytes()).hexdigest()
    assert torch.equal(generator(latents), honest)


@ways
def test_a_model_exchanged_after_it_was_compared_is_not_opened(story, verify, monkeypatch, swap):
    """Without isolation: it would be run as the verifier, who trusted another file."""
    monkeypatch.setattr(isolation, "choose_isolation", lambda: Choice(None, ("none",)))
    assert verify("--trust-model").code == 0
    after(monkeypatch, exhibits, "check_model_file", lambda: swap(verify.model, story.hostile))
    opened = []
    monkeypatch.setattr(load, "load_torchscript", lambda *_, **__: opened.append(1))
    ran = verify("--trust-model")
    assert ran.code == 3, ran.out
    assert ran.json["error"]["stage"] == "commitment"
    assert "not the model that was to be loaded" in ran.json["error"]["what"]
    assert opened == []


@pytest.fixture
def _isolated():
    choice = choose_isolation()
    if choice.isolation is None:
        pytest.skip("no isolation here: " + "; ".join(choice.reasons))


@ways
@pytest.mark.usefixtures("_isolated")
def test_the_isolated_child_gets_what_was_hashed(story, verify, monkeypatch, swap):
    """Exchanged when the child is about to start: it runs the copy that was hashed."""
    honest = verify()
    assert honest.code == 0, honest.err
    after(monkeypatch, isolation, "_copy_model", lambda: swap(verify.model, story.hostile))
    ran = verify()
    assert verify.model.read_bytes() == story.hostile.read_bytes()
    assert ran.code == 0, ran.err
    assert ran.json["replays"] == honest.json["replays"]


@ways
@pytest.mark.usefixtures("_isolated")
def test_a_model_exchanged_before_it_is_copied_is_refused(story, verify, monkeypatch, swap):
    """Exchanged between the first look and the copy: no child is started."""
    after(monkeypatch, exhibits, "check_model_file", lambda: swap(verify.model, story.hostile))
    started = []
    monkeypatch.setattr(isolation, "converse", lambda *_, **__: started.append(1))
    ran = verify()
    assert ran.code == 3, ran.out
    assert ran.json["error"]["stage"] == "commitment"
    assert started == []


@pytest.mark.usefixtures("_isolated")
def test_the_child_compares_its_copy_again(story, verify, monkeypatch):
    """Even the private copy exchanged is refused, before it is opened."""
    copied = []
    original = isolation._copy_model

    def spoilt(*arguments):
        copied.append(Path(original(*arguments)))
        overwritten(copied[0], story.hostile)
        return str(copied[0])

    monkeypatch.setattr(isolation, "_copy_model", spoilt)
    ran = verify()
    assert ran.code == 3, ran.out
    assert "not the model that was to be loaded" in ran.json["error"]["what"]
    assert str(copied[0]) not in ran.out  # but the verifier's own name of it
    assert str(verify.model) in ran.out


def test_a_file_overwritten_while_it_is_copied_is_refused(tmp_path, monkeypatch):
    """The copy is neither the one nor the other; what was copied is what is hashed."""
    model = tmp_path / "model.pt"
    model.write_bytes(b"a" * SIZE)
    monkeypatch.setattr(isolation, "_CHUNK", SIZE // 16)
    original, seen = hashlib.sha256, []

    class Watching:
        def __init__(self):
            self._digest = original()

        def update(self, data):
            self._digest.update(data)
            seen.append(data)
            with model.open("r+b") as file:
                file.write(b"b" * SIZE)

        def hexdigest(self):
            return self._digest.hexdigest()

    monkeypatch.setattr(isolation.hashlib, "sha256", Watching)
    wholes = tuple(original(byte * SIZE).hexdigest() for byte in (b"a", b"b"))
    with pytest.raises(CommitmentError, match="not the model"):
        isolation._Exhibits(tmp_path / "given").add(model, "model", wholes)
    assert {b"".join(seen)[0], b"".join(seen)[-1]} == {*b"ab"}


def test_a_link_turned_to_another_model_is_refused(story, verify, monkeypatch):
    """A link is followed, and the file that it leads to when it is read has to be the one."""
    monkeypatch.setattr(isolation, "choose_isolation", lambda: Choice(None, ("none",)))
    verify.model.unlink()
    verify.model.symlink_to(story.model)
    assert verify("--trust-model").code == 0

    def turn():
        verify.model.unlink()
        verify.model.symlink_to(story.hostile)

    after(monkeypatch, exhibits, "check_model_file", turn)
    ran = verify("--trust-model")
    assert ran.code == 3
    assert "not the model that was to be loaded" in ran.json["error"]["what"]
