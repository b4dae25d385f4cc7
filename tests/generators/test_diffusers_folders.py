"""A folder as diffusers writes it is a generator: exactly its decoder, from exactly its bytes."""

import hashlib
import json
import os
import shutil
import sys

import pytest
import torch
from autoencoders import INDEX, LATENT, SIDE, WEIGHTS, autoencoder, edit_json, shard, write_folder
from safetensors.torch import load_file, save_file

from deniability.crypto.digest import FileDigest, model_digest
from deniability.errors import CommitmentError, GeneratorError
from deniability.evidence.register import registration_path
from deniability.generators.load import ModelOptions, load_generator
from deniability.generators.parcel import pack_model
from deniability.inversion.jacobian import Jacobian, _by_vmap
from deniability.inversion.products import Products

pytest.importorskip("diffusers")
CPU = torch.device("cpu")
D = LATENT[0] * LATENT[1] * LATENT[2]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("model") / "vae")


@pytest.fixture
def folder(written, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(written[0], tmp_path / "vae")


def load(path, **options):
    return load_generator(path, device=CPU, options=ModelOptions(**options))


def latents(rows=3, width=D):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(8))


def pictures_of(model, z):
    """What a pipeline of diffusers makes of latents."""
    config = model.config
    z = z / config.scaling_factor + (config.shift_factor or 0.0)
    with torch.no_grad():
        return (model.decode(z).sample / 2 + 0.5).clamp(0, 1)


def refused(path, match, **options):
    with pytest.raises(GeneratorError, match=match) as caught:
        load(path, **options)
    return str(caught.value)


def test_pictures_and_description(written):
    folder, model = written
    generator = load(folder)
    (part,) = generator.spec.latent
    assert (part.shape, part.prior) == (LATENT, "normal")
    assert generator.spec.format == "diffusers"
    assert generator.spec.output_range == ("-1", "1")
    assert (generator.spec.height, generator.spec.width) == (SIDE, SIDE)
    expected = pictures_of(model, latents().reshape(-1, *LATENT))
    assert torch.allclose(generator(latents()), expected, atol=1e-5)
    assert expected.std() > 0.1


def test_the_digest_is_that_of_the_files_that_are_used(folder):
    (folder / "README.md").write_text("not a part of the model")
    files = [
        FileDigest(name, len(data), hashlib.sha256(data).hexdigest())
        for name in ("config.json", WEIGHTS)
        if (data := (folder / name).read_bytes())
    ]
    assert load(folder).digest == model_digest(files)


def test_a_pipeline_is_its_vae(folder, tmp_path):
    pipeline = tmp_path / "pipeline"
    shutil.copytree(folder, pipeline / "vae")
    (pipeline / "model_index.json").write_text("{}")
    (pipeline / "generator.toml").write_text('[output]\nrounding = "truncate"\n')
    generator = load(pipeline)
    assert generator.digest == load(folder).digest
    assert generator.spec.rounding == "truncate"


def test_shards_with_their_index(folder):
    plain = load(folder)
    sharded = load(shard(folder))
    assert torch.equal(plain(latents()), sharded(latents()))
    assert len(sharded.files) == 4
    assert sharded.digest != plain.digest


@pytest.mark.parametrize(
    "changes",
    [
        {"shift_factor": 0.3},
        {"use_post_quant_conv": False, "use_quant_conv": False},
        {"mid_block_add_attention": False},
        {"out_channels": 1, "in_channels": 1},
    ],
    ids=["shift", "no-quant-conv", "no-attention", "gray"],
)
def test_variants_of_the_configuration(tmp_path, changes):
    folder, model = write_folder(tmp_path / "vae", autoencoder(**changes))
    expected = pictures_of(model, latents().reshape(-1, *LATENT))
    assert torch.allclose(load(folder)(latents()), expected, atol=1e-5)


def test_latents_normalised_by_channel(folder, written):
    edit_json(folder / "config.json", latents_mean=[0.1, -0.2], latents_std=[0.5, 2.0])
    z = latents().reshape(-1, *LATENT)
    moved = z * torch.tensor([0.5, 2.0]).reshape(2, 1, 1) / 0.5
    moved = moved + torch.tensor([0.1, -0.2]).reshape(2, 1, 1)
    expected = pictures_of(written[1], moved * 0.5)
    assert torch.allclose(load(folder)(latents()), expected, atol=1e-5)


def test_another_size_than_that_of_the_configuration(folder):
    shape = (LATENT[0], 6, 4)
    assert load(folder, latent_shape=shape).spec.height == 12
    edit_json(folder / "config.json", sample_size=None)
    refused(folder, "latent's shape")
    (folder / "generator.toml").write_text("[latent]\nshape = [2, 4, 6]\n")
    assert load(folder).spec.width == 12
    (folder.parent / "vae.generator.toml").write_text("[latent]\nshape = [2, 4, 4]\n")
    assert load(folder).spec.width == 8


def test_half_precision_is_run_in_float32(folder):
    tensors = {name: t.half() for name, t in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS)
    generator = load(folder)
    assert {p.dtype for p in generator.module.parameters()} == {torch.float32}


def test_attention_under_its_old_names(folder):
    plain = load(folder)(latents())
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = {}
    for name, tensor in load_file(folder / WEIGHTS).items():
        renamed = name
        for new, former in old.items():
            renamed = renamed.replace(f".{new}.", f".{former}.")
        tensors[renamed] = tensor
    assert any("proj_attn" in name for name in tensors)
    save_file(tensors, folder / WEIGHTS)
    assert torch.equal(load(folder)(latents()), plain)


def test_the_search_can_differentiate_it(written):
    generator = load(written[0])
    z = latents(2)
    jacobian = Jacobian(lambda rows: generator(rows).flatten(1), D)
    columns = jacobian(z)
    assert jacobian._push is _by_vmap
    v = latents(2, D)
    products = Products(lambda rows: generator(rows).flatten(1), z)
    assert torch.allclose(products.push(v), (columns @ v[:, :, None])[..., 0], atol=1e-4)
    assert products._twice


def test_a_parcel_carries_every_file(written):
    generator = load(written[0])
    parcel = pack_model(str(written[0]), None, generator)
    assert torch.equal(parcel.load(CPU)(latents()), generator(latents()))
    (_, weights) = parcel.contents.values()
    spoiled = dict(parcel.contents) | {WEIGHTS: weights[:-1] + b"\x00"}
    object.__setattr__(parcel, "contents", spoiled)
    with pytest.raises(CommitmentError, match="not the model"):
        parcel.load(CPU)


def test_the_registration_goes_beside_the_folder(folder, monkeypatch):
    assert registration_path(str(folder)) == folder.with_name("vae.registration.json")
    monkeypatch.chdir(folder)
    assert registration_path(".") == folder.with_name("vae.registration.json")


# --- hostile and broken folders


def test_links_are_refused(folder, tmp_path):
    moved = tmp_path / "blob"
    (folder / WEIGHTS).rename(moved)
    (folder / WEIGHTS).symlink_to(moved)
    assert "cp -rL" in refused(folder, "is a link")


def test_a_linked_vae_of_a_pipeline_is_refused(folder, tmp_path):
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "model_index.json").write_text("{}")
    (tmp_path / "pipeline" / "vae").symlink_to(folder)
    refused(tmp_path / "pipeline", "is a link")


def test_a_pipe_is_not_waited_for(folder):
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    refused(folder, "not a plain file")


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", "x.bin", 3, ".safetensors"]
)
def test_an_index_that_names_files_elsewhere(folder, tmp_path, name):
    shutil.copy(folder / WEIGHTS, tmp_path / "secret.safetensors")
    shard(folder)
    (folder / INDEX).write_text(json.dumps({"weight_map": {"decoder.conv_in.weight": name}}))
    refused(folder, "a file that cannot be a shard")


def test_shards_that_are_not_those_of_the_index(folder):
    shard(folder)
    index = json.loads((folder / INDEX).read_text())["weight_map"]
    one, other = sorted(set(index.values()))
    edit_json(
        folder / INDEX, weight_map={k: one if v == other else other for k, v in index.items()}
    )
    refused(folder, "not those of the index")
    (folder / one).unlink()
    refused(folder, "a file of the model is missing")


def test_swapped_shards_are_another_model(folder):
    shard(folder)
    before = load(folder).digest
    index = json.loads((folder / INDEX).read_text())["weight_map"]
    one, other = (folder / name for name in sorted(set(index.values())))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    refused(folder, "not those of the index")
    one.write_bytes(first)
    other.write_bytes(second)
    assert load(folder).digest == before


def test_weights_twice(folder, tmp_path):
    kept = tmp_path / WEIGHTS
    shutil.copy(folder / WEIGHTS, kept)
    shard(folder)
    shutil.copy(kept, folder / WEIGHTS)
    refused(folder, "weights twice")


def test_pickles_are_not_opened(folder):
    (folder / WEIGHTS).rename(folder / "diffusion_pytorch_model.bin")
    assert "safe_serialization" in refused(folder, "no weights that can be loaded")


@pytest.mark.parametrize("name", ["AutoencoderTiny", "UNet2DConditionModel", None, ["x"]])
def test_another_class(folder, name):
    edit_json(folder / "config.json", _class_name=name)
    refused(folder, "another class")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "does not know"),
        ({"dtype": "float16"}, "does not know"),
        ({"pretrained_model_name_or_path": "someone/model"}, "does not know"),
        ({"_use_default_values": ["scaling_factor"]}, "a wrong value"),
        ({"layers_per_block": 10**6}, "a wrong value"),
        ({"block_out_channels": [8] * 1000}, "a wrong value"),
        ({"block_out_channels": [10**9, 10**9]}, "a wrong value"),
        ({"act_fn": {"module": "os"}}, "a wrong value"),
        ({"scaling_factor": 0}, "a wrong value"),
        ({"scaling_factor": "1"}, "a wrong value"),
        ({"latents_mean": [0.1], "latents_std": [1.0]}, "a wrong value"),
        ({"up_block_types": ["Nothing", "Nothing"]}, "cannot build"),
        ({"norm_num_groups": 5}, "cannot build"),
        ({"block_out_channels": [8, 32]}, "not those of the network"),
        ({"layers_per_block": 2}, "not those of the network"),
        ({"mid_block_add_attention": False}, "not those of the network"),
    ],
)
def test_configurations_that_are_refused(folder, changes, match):
    edit_json(folder / "config.json", **changes)
    refused(folder, match)


@pytest.mark.parametrize("text", ["[]", "{", '{"a": 1, "a": 2}', '{"a": NaN}', "\xff"])
def test_configurations_that_are_no_object(folder, text):
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    refused(folder, "not a JSON")


def change(folder, edit):
    tensors = load_file(folder / WEIGHTS)
    edit(tensors)
    save_file(tensors, folder / WEIGHTS)


@pytest.mark.parametrize(
    "edit",
    [
        lambda tensors: tensors.pop("decoder.conv_in.weight"),
        lambda tensors: tensors.pop("encoder.conv_in.weight"),
        lambda tensors: tensors.update(extra=torch.zeros(1)),
        lambda tensors: tensors.update({"decoder.conv_out.bias": torch.zeros(4)}),
    ],
    ids=["missing", "missing-encoder", "extra", "shape"],
)
def test_tensors_that_are_not_the_networks(folder, edit):
    change(folder, edit)
    refused(folder, "not those of the network")


def test_weights_that_are_whole_numbers(folder):
    whole = torch.zeros(3, dtype=torch.int8)
    change(folder, lambda tensors: tensors.update({"decoder.conv_out.bias": whole}))
    refused(folder, "no floating-point number")


def test_a_cut_file(folder):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:-9])
    refused(folder, "a damaged safetensors file")


def test_an_output_range_that_is_not_the_kinds(folder):
    refused(folder, "output range", output_range=("0", "1"))
    assert load(folder, output_range=("-1.0", "1")).spec.output_range == ("-1.0", "1")


def test_a_folder_of_something_else(tmp_path):
    refused(tmp_path, "a folder that is no model that can be loaded")


def test_without_the_package_the_error_names_the_extra(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    assert "deniability[diffusers]" in refused(folder, "needs the package diffusers")
