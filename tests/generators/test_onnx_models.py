"""ONNX models as torch writes them: the same pictures, the same search, clear refusals."""

import warnings

import numpy as np
import pytest
import torch
from onnx_graphs import CPU, floats, forward_jacobian, model_of, opened, reverse_jacobian, sample
from torch import nn

from deniability.errors import GeneratorError
from deniability.generators.load import ModelOptions, load_generator
from deniability.generators.options import PartOptions

onnx = pytest.importorskip("onnx")


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(6, 8, 4, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 4, 4, 2, 1, bias=False),
            nn.BatchNorm2d(4),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(4, 3, 4, 2, 1),
            nn.Tanh(),
        )

    def forward(self, z):
        return self.layers(z)


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(6, 32), nn.SiLU(), nn.LayerNorm(32), nn.Linear(32, 192), nn.Tanh()
        )

    def forward(self, z):
        return self.layers(z).reshape(-1, 3, 8, 8)


class Upsampling(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 8 * 16)
        self.layers = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.GroupNorm(2, 8),
            nn.GELU(),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(8, 3, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, z):
        return self.layers(self.first(z).reshape(-1, 8, 4, 4))


NETWORKS = {Convolutional: (6, 1, 1), Linear: (6,), Upsampling: (6,)}


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda network: network.__name__)
def exported(request, tmp_path_factory):
    """A network, and the file that torch's exporter makes of it."""
    pytest.importorskip("onnxscript")
    torch.manual_seed(3)
    network, shape = request.param().eval(), NETWORKS[request.param]
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(
            network,
            (torch.randn(2, *shape),),
            str(path),
            input_names=["z"],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            external_data=False,
            verbose=False,
        )
    return network, shape, path


def load(path, **options):
    parts = (PartOptions(prior="normal"),)
    return load_generator(path, device=CPU, options=ModelOptions(latent=parts, **options))


def test_the_pictures_are_those_of_the_network(exported):
    network, shape, path = exported
    generator = load(path)
    assert generator.spec.format == "onnx"
    assert generator.spec.latent[0].shape == shape
    z = sample(shape, rows=5)
    with torch.no_grad():
        expected = network(z) * 0.5 + 0.5
        assert torch.allclose(generator(z.reshape(5, -1)), expected, atol=1e-5)


def test_the_search_can_differentiate_it(exported):
    generator = load(exported[2])
    z = sample((generator.dimension,), rows=1, seed=4)
    forward, reverse = forward_jacobian(generator, z), reverse_jacobian(generator, z)
    assert torch.allclose(forward, reverse, atol=1e-5)
    assert forward.abs().max() > 1e-4


def test_the_digest_is_that_of_the_bytes_that_run(exported):
    import hashlib

    _, _, path = exported
    generator = load(path)
    assert generator.files[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def linear(**more):
    return model_of(
        [("Gemm", ["x", "w"], ["flat"], {}), ("Reshape", ["flat", "s"], ["y"], {})],
        {"w": floats(6, 64), "s": np.array([-1, 1, 8, 8], dtype=np.int64)},
        (6,),
        **more,
    )


def refused(model, match):
    with pytest.raises(GeneratorError, match=match) as caught:
        opened(model)
    return str(caught.value)


def test_weights_in_other_files_are_refused():
    model = linear()
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../../secret")
    assert "external_data=False" in refused(model, "keeps weights in other files")


def test_an_operator_that_is_not_known_is_named():
    refused(model_of([("Det", ["x"], ["y"], {})], {}, (4, 4)), "not supported.*operator Det")


def test_operators_of_other_domains_are_refused():
    model = linear()
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    refused(model, "domain 'com.example'")


def test_a_cut_file_is_no_model(tmp_path):
    path = tmp_path / "cut.onnx"
    path.write_bytes(linear().SerializeToString()[:-40])
    with pytest.raises(GeneratorError, match="not a model that can be loaded"):
        load(path)


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    import sys

    model = linear()
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(GeneratorError, match=r"deniability\[onnx\]"):
        opened(model)
