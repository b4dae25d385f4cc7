"""One network in every format: the same pictures, the same Jacobian, one description."""

import contextlib
import hashlib
import threading

import pytest
import torch
from model_files import export, script, trace, write_all
from toy_networks import WIDTH, Flat, Toy, TwoParts, toy

from deniability.crypto.digest import sha256_hex
from deniability.errors import DeniabilityError, GeneratorError, InputError
from deniability.generators.load import ModelOptions, load_generator

CPU = torch.device("cpu")
NAMES = [
    "script.pt",
    "trace.pt",
    "dynamic.pt2",
    "static.pt2",
    "state.pt",
    "legacy.pth",
    "checkpoint.tar",
    "weights.safetensors",
]
FORMATS = {".pt2": "torch-export", ".safetensors": "safetensors"}


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("models"))


def options_for(name, **more):
    if name == "checkpoint.tar":
        more |= {"state_dict_key": "netG", "prefix": "outer."}
    if name in NAMES[4:]:
        more |= {"factory": "toy_networks:toy"}
    return ModelOptions(prior="normal", **more)


@pytest.fixture(params=NAMES)
def loaded(request, paths):
    name = request.param
    return name, load_generator(paths[name], device=CPU, options=options_for(name))


def latents(rows=4, width=WIDTH):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(8))


def expected_pictures(z):
    with torch.no_grad():
        return (toy()(z.reshape(-1, WIDTH, 1, 1)) + 1) / 2


def test_pictures_and_description(loaded, paths):
    name, generator = loaded
    spec = generator.spec
    assert (spec.channels, spec.height, spec.width) == (3, 8, 8)
    assert spec.latent[0].shape == (WIDTH, 1, 1)
    assert spec.output_range == ("-1", "1")
    assert generator.dimension == WIDTH
    for rows in (1, 4):
        z = latents(rows)
        assert torch.allclose(generator(z), expected_pictures(z), atol=1e-6)
    data = paths[name].read_bytes()
    (file,) = generator.files
    assert (file.path, file.size, file.sha256) == (name, len(data), sha256_hex(data))
    inner = f'["{hashlib.sha256(data).hexdigest()}"]'
    assert generator.weights_digest == sha256_hex(inner.encode())
    assert not any(parameter.requires_grad for parameter in generator.module.parameters())


def test_batching(loaded):
    name, generator = loaded
    assert generator.batching == ("vmap" if name == "static.pt2" else "together")


def test_forward_mode_agrees_with_reverse_mode_every_time(loaded):
    _, generator = loaded
    z = latents(3)
    basis = torch.eye(WIDTH)[:, None, :].expand(WIDTH, 3, WIDTH)
    reverse = torch.stack(
        [
            torch.autograd.functional.jacobian(lambda q: generator(q[None])[0], z[row])
            for row in range(3)
        ]
    ).permute(4, 0, 1, 2, 3)
    assert reverse.abs().max() > 0.05
    # TorchScript's executor specialises after the first calls; the tangents must survive that.
    for _ in range(4):
        forward = torch.func.vmap(lambda t: torch.func.jvp(generator, (z,), (t,))[1])(basis)
        assert torch.allclose(forward, reverse, atol=1e-5)


def test_forward_mode_survives_gradients_on_the_latents(loaded):
    _, generator = loaded
    z = latents(2)
    tangent = torch.ones_like(z)
    first = torch.func.jvp(generator, (z,), (tangent,))[1]
    for _ in range(3):
        leaf = z.clone().requires_grad_(True)
        again = torch.func.jvp(generator, (leaf,), (tangent,))[1]
        assert torch.allclose(first, again, atol=1e-6)


def test_perturbed_is_undone(loaded):
    _, generator = loaded
    z = latents()
    before = generator(z)
    with generator.perturbed(7):
        coarse = generator(z)
        with generator.perturbed(10):
            pass
        assert torch.equal(generator(z), coarse)
    assert 1e-5 < (before - coarse).abs().max() < 0.1
    assert torch.equal(generator(z), before)
    with contextlib.suppress(KeyError), generator.perturbed(10):
        assert 0 < (before - generator(z)).abs().max() < (before - coarse).abs().max()
        raise KeyError
    assert torch.equal(generator(z), before)


def test_threads_share_a_generator(loaded):
    _, generator = loaded
    z = latents()
    expected, found = generator(z), []
    threads = [threading.Thread(target=lambda: found.append(generator(z))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(torch.equal(pictures, expected) for pictures in found)


def test_same_bytes_under_another_name_have_the_same_weights_digest(paths, tmp_path):
    copy = tmp_path / "renamed.bin"
    copy.write_bytes(paths["script.pt"].read_bytes())
    one = load_generator(paths["script.pt"], device=CPU, options=options_for("script.pt"))
    other = load_generator(copy, device=CPU, options=options_for("script.pt"))
    assert one.weights_digest == other.weights_digest
    assert one.digest != other.digest
    assert other.spec.format == "torchscript"


@pytest.mark.parametrize("way", [export, trace])
def test_several_latents(tmp_path, way):
    path = tmp_path / "two.bin"
    way(path, TwoParts().eval(), (4, 1, 1), (2,))
    (tmp_path / "generator.toml").write_text(
        '[[latent]]\nname = "z"\nshape = [4, 1, 1]\nprior = "normal"\n'
        '[[latent]]\nname = "style"\nshape = [2]\nprior = "uniform"\nlow = -1\nhigh = 1\n'
    )
    generator = load_generator(path, device=CPU)
    z = latents(3, 6)
    with torch.no_grad():
        pictures = TwoParts()(z[:, :4].reshape(-1, 4, 1, 1), z[:, 4:])
    assert torch.allclose(generator(z), (pictures + 1) / 2, atol=1e-6)
    assert [part.name for part in generator.spec.latent] == ["z", "style"]
    assert generator.dimension == 6


def test_exported_program_tells_the_shape_of_every_latent(tmp_path):
    export(tmp_path / "two.pt2", TwoParts().eval(), (4, 1, 1), (2,))
    generator = load_generator(
        tmp_path / "two.pt2",
        device=CPU,
        options=ModelOptions(latent=None, prior="normal"),
    )
    assert [part.shape for part in generator.spec.latent] == [(4, 1, 1), (2,)]


@pytest.mark.parametrize("way", ["export", "script", "trace"])
def test_gray_pictures_without_a_channel_axis(tmp_path, way):
    path = tmp_path / "flat.bin"
    if way == "script":
        script(path, Flat().eval())
    else:
        {"export": export, "trace": trace}[way](path, Flat().eval(), (5,))
    generator = load_generator(path, device=CPU, options=ModelOptions(prior="normal"))
    assert generator.spec.output_range == ("0", "1")
    assert generator.spec.latent[0].shape == (5,)
    z = latents(2, 5)
    with torch.no_grad():
        assert torch.allclose(generator(z)[:, 0], Flat()(z), atol=1e-6)


def test_static_batch_of_several_is_refused(tmp_path):
    export(tmp_path / "four.pt2", Toy().eval(), (WIDTH, 1, 1), batch=4, dynamic=False)
    with pytest.raises(GeneratorError, match=r"fixed number of samples.*a batch of 4.*DYNAMIC"):
        load_generator(tmp_path / "four.pt2", device=CPU, options=ModelOptions(prior="normal"))


def test_built_in_generators():
    main, twin = (load_generator(n, device=CPU) for n in ("builtin", "builtin-twin"))
    assert main.spec.format == "builtin"
    assert main.dimension == 16
    assert main.weights_digest != twin.weights_digest
    pictures = main(latents(5, 16))
    assert pictures.shape == (5, 1, 28, 28)
    assert pictures.min() >= 0
    assert pictures.max() <= 1


def test_prefix_of_a_wrapper_is_found(tmp_path):
    state = {f"module.{k}": v for k, v in toy().state_dict().items()}
    torch.save(state, tmp_path / "parallel.pt")
    generator = load_generator(
        tmp_path / "parallel.pt", device=CPU, options=options_for("state.pt")
    )
    assert generator.spec.prefix == "module."
    assert generator.spec.factory == "toy_networks:toy"
    z = latents()
    assert torch.allclose(generator(z), expected_pictures(z), atol=1e-6)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "legacy.pth"])
def test_truncated_or_damaged_files_are_errors_of_ours(paths, tmp_path, name):
    data = paths[name].read_bytes()
    for kind, broken in {
        "half": data[: len(data) // 2],
        "head": data[:30],
        "torn": data[:100] + b"\xff" * 40 + data[140:],
        "tail": data[:-10],
        "zeros": data[: len(data) // 3] + bytes(60) + data[len(data) // 3 + 60 :],
    }.items():
        path = tmp_path / f"{kind}-{name}"
        path.write_bytes(broken)
        with contextlib.suppress(DeniabilityError):
            load_generator(path, device=CPU, options=options_for(name))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"import torch\n\nclass G:\n    pass\n", "found text"),
        ("é".encode() * 3000, "found text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (bytes(range(256)) * 4, "unknown kind"),
        (b"PK\x03\x04" + bytes(50), "damaged archive"),
    ],
)
def test_what_is_not_a_model(tmp_path, content, message):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(GeneratorError, match=message):
        load_generator(path, device=CPU)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError):
        load_generator(tmp_path / "none.pt", device=CPU)
    with pytest.raises(GeneratorError, match="folder"):
        load_generator(tmp_path, device=CPU)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", NAMES)
def test_on_a_gpu(paths, name):
    device = torch.device("cuda")
    generator = load_generator(paths[name], device=device, options=options_for(name))
    z = latents()
    pictures = generator(z.to(device))
    assert pictures.device.type == "cuda"
    assert torch.allclose(pictures.cpu(), expected_pictures(z), atol=1e-2)
    basis = torch.eye(WIDTH, device=device)[:, None, :].expand(WIDTH, 4, WIDTH)
    on_gpu = torch.func.vmap(lambda t: torch.func.jvp(generator, (z.to(device),), (t,))[1])(basis)
    assert on_gpu.abs().max() > 0.05
