"""The built-in generator's files, its network and the script that trains it."""

import gzip
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from deniability.generators.builtin import photo_path, weights_path
from deniability.generators.builtin.network import (
    LATENT_DIMENSION,
    PICTURE_SHAPE,
    FashionGenerator,
)

SCRIPT = Path(__file__).parents[2] / "examples" / "train_generator.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("train_generator", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_generator"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["train_generator"]


def load(path: Path) -> FashionGenerator:
    generator = FashionGenerator()
    generator.load_state_dict(load_file(path))
    return generator.eval().requires_grad_(False)


def draw(count: int) -> torch.Tensor:
    return torch.randn(count, LATENT_DIMENSION, generator=torch.Generator().manual_seed(3))


@pytest.fixture(params=[False, True], ids=["main", "twin"])
def generator(request):
    return load(weights_path(twin=request.param))


def test_package_import_is_light():
    code = (
        "import sys, deniability.generators.builtin as b; b.weights_path(); b.photo_path();"
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'PIL')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_both_weight_files_are_small():
    sizes = [weights_path(twin=twin).stat().st_size for twin in (False, True)]
    assert sum(sizes) < 1_900_000


@pytest.mark.parametrize("twin", [False, True])
def test_weights_are_finite_float32_and_say_how_they_were_made(twin):
    with safe_open(weights_path(twin=twin), framework="pt") as file:
        made = json.loads(file.metadata()["training"])
        for name in file.keys():  # noqa: SIM118 (no mapping)
            tensor = file.get_tensor(name)
            assert tensor.dtype == torch.float32
            assert tensor.isfinite().all()
    assert {"dataset", "dataset_sha256", "seed", "epochs", "torch", "threads"} <= set(made)


def test_twin_differs_only_by_its_seed():
    facts = []
    for twin in (False, True):
        with safe_open(weights_path(twin=twin), framework="pt") as file:
            facts.append(json.loads(file.metadata()["training"]))
    assert facts[0].pop("seed") != facts[1].pop("seed")
    assert facts[0] == facts[1]
    z = draw(8)
    apart = load(weights_path())(z) - load(weights_path(twin=True))(z)
    assert apart.square().mean() > 0.01


def test_pictures_have_the_stated_shape_and_range(generator):
    pictures = generator(draw(32))
    assert pictures.shape == (32, *PICTURE_SHAPE)
    assert pictures.dtype == torch.float32
    assert pictures.min() >= -1
    assert pictures.max() <= 1
    # garments on black, none of them empty, and different from one another
    assert (pictures < -0.98).float().mean() > 0.2
    assert (pictures.amax(dim=(1, 2, 3)) > -0.5).all()
    assert pictures.var(dim=0).mean() > 0.05


def test_one_picture_does_not_depend_on_its_batch(generator):
    z = draw(5)
    torch.testing.assert_close(generator(z)[3:4], generator(z[3:4]), rtol=0, atol=1e-5)


def test_every_latent_direction_moves_the_picture(generator):
    """Forward mode under vmap works, and J keeps its rank: no collapsed direction."""
    z = draw(16)
    eye = torch.eye(LATENT_DIMENSION)

    def jacobian(point):
        def column(tangent):
            return torch.func.jvp(lambda v: generator(v).flatten(), (point,), (tangent,))[1]

        return torch.func.vmap(column)(eye).T

    values = torch.linalg.svdvals(torch.func.vmap(jacobian)(z))
    assert values.shape == (16, LATENT_DIMENSION)
    assert (values[:, -1] / values[:, 0]).median() > 1e-3


def test_reverse_and_forward_mode_agree(generator):
    z, tangent = draw(1), torch.ones(1, LATENT_DIMENSION)
    _, forward = torch.func.jvp(generator, (z,), (tangent,))
    z.requires_grad_()
    weights = torch.linspace(-1, 1, forward.numel()).reshape(forward.shape)
    (gradient,) = torch.autograd.grad((generator(z) * weights).sum(), z)
    torch.testing.assert_close((forward * weights).sum(), gradient.sum(), rtol=1e-3, atol=1e-4)


def test_photo_decodes():
    with Image.open(photo_path()) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (28, 28))
        pixels = np.asarray(picture)
    assert pixels.max() > 128
    assert (pixels == 0).mean() > 0.1


def write_idx(folder: Path, count: int) -> None:
    """An idx file of `count` pictures: a bright block that moves."""
    pixels = np.zeros((count, 28, 28), dtype=np.uint8)
    for index in range(count):
        top, left = index % 12, index // 12 % 12
        pixels[index, top : top + 14, left : left + 14] = 120 + index % 100
    header = np.array([2051, count, 28, 28], dtype=">u4").tobytes()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels.tobytes()))


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_training_writes_weights_that_load_and_repeat(script, tmp_path):
    write_idx(tmp_path, 192)
    outputs = []
    for seed, name in ((1, "a"), (1, "b"), (2, "c")):
        out, sheet = tmp_path / f"{name}.safetensors", tmp_path / f"{name}.png"
        command = ["--data", tmp_path, "--seed", seed, "--epochs", 1, "--out", out]
        assert script.main([str(word) for word in (*command, "--sheet", sheet)]) == 0
        outputs.append(out.read_bytes())
        with Image.open(sheet) as picture:
            assert picture.size == (280, 280)
    assert outputs[0] == outputs[1]
    assert outputs[0] != outputs[2]
    pictures = load(tmp_path / "a.safetensors")(draw(4))
    assert pictures.isfinite().all()


def test_folding_keeps_the_function(script):
    torch.manual_seed(0)
    trained = script.with_batch_norm(FashionGenerator())
    for layer in trained:
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.normal_(layer.bias)
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    trained.eval()
    z = draw(6)
    with torch.no_grad():
        expected = trained(z.reshape(-1, LATENT_DIMENSION, 1, 1))
        torch.testing.assert_close(script.folded(trained)(z), expected, rtol=1e-4, atol=1e-5)


def test_missing_data_names_the_package(script, tmp_path, capsys):
    status = script.main(["--data", str(tmp_path / "none"), "--out", str(tmp_path / "w")])
    assert status == 2
    assert "apt install dataset-fashion-mnist" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [b"plain text", gzip.compress(b"short"), gzip.compress(b"\0" * 5000)],
    ids=["text", "short", "zeros"],
)
def test_wrong_data_is_refused(script, tmp_path, capsys, content):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    assert script.main(["--data", str(tmp_path), "--out", str(tmp_path / "w")]) == 2
    assert "train-images-idx3-ubyte.gz" in capsys.readouterr().err


@pytest.mark.usefixtures("one_thread")
def test_unwritable_output_is_told(script, tmp_path, capsys):
    write_idx(tmp_path, 64)
    out = tmp_path / "missing" / "w.safetensors"
    status = script.main(["--data", str(tmp_path), "--epochs", "1", "--out", str(out)])
    assert status == 2
    assert "cannot write" in capsys.readouterr().err
