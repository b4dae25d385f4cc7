"""`deny inspect MODEL` counts and measures a model of any format, and nothing else."""

import sys

import pytest
from cli_checks import ROOT

sys.path.insert(0, str(ROOT / "tests" / "generators"))
sys.path.insert(0, str(ROOT / "examples"))

import torch
from model_files import export, script, write_all
from torch import nn
from toy_networks import TwoParts

from deniability.evidence import estimate
from deniability.inversion import cost
from deniability.wire.protocol import PRESETS

#: Of Toy: 6 x 8 x 4 x 4 weights once, then 8 x 3 x 4 x 4 for each of 4 x 4 places; 2 FLOPs each.
FLOPS = 2 * (6 * 8 * 16 + 8 * 3 * 16 * 16)
SHAPE = ("--latent-shape", "6,1,1", "--prior", "normal")
FACTORY = ("--factory", "toy_networks:toy")


@pytest.fixture(autouse=True)
def _shipped_presets_only(monkeypatch):
    """Leave out what other tests of this process have put beside the shipped presets."""
    for name in [name for name in PRESETS if name.startswith("test-")]:
        monkeypatch.delitem(PRESETS, name)


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Measure for a moment only: what is tested is what is measured, not how long it takes."""
    monkeypatch.setattr(estimate, "_BUDGET", 0.05)
    monkeypatch.setattr(estimate, "_ENCODER_SECONDS", 1e-3)
    monkeypatch.setattr(cost, "_ENOUGH", 0.01)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


def importable(tmp_path, monkeypatch, body):
    """Write a module of factories and return safetensors that go with `network` of it."""
    name = f"inspected_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text("import torch\nfrom torch import nn\n" + body)
    monkeypatch.syspath_prepend(tmp_path)
    from safetensors.torch import save_file

    state = __import__(name).network().state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors", ("--factory", f"{name}:network")


# What is shown


def test_the_builtin_generator_is_shown_whole(deny):
    ran = deny("inspect", "builtin")
    assert ran.code == 0
    assert ran.out.startswith("Nothing here was verified. The model was run")
    shown = " ".join(ran.out.split())
    for words in (
        "format builtin",
        "digest sha256:a45486196db25d7dd7349772c8e09d131b381d16864e4323bd625f1c73518cad",
        "fashion.safetensors, 740004 bytes, sha256:",
        "z: 16 numbers (16), normal",
        "1 x 28 x 28, range -1 to 1, 8-bit pixels by rounding",
        "shake256, 64 seed bits",
        "parameters 184,721",
        "layers.4 ConvTranspose2d 32,800 32 x 14 x 14 3,211,264",
        "3.71 M per picture (forward), at least 59.4 M per Jacobian (16 tangents), counted",
        "matrix rate",
        "at once: ",
        "dense Levenberg-Marquardt",
        "batches of up to",
        "an estimate",
        "Registering:",
    ):
        assert words in shown
    for name in PRESETS:
        if not name.startswith("test-"):  # of other tests in this process
            # Later versions of the pristine presets do the same here; of the handled ones not.
            assert (name in shown) == (name.endswith("v1") or name.startswith("handled"))
    quiet = deny("inspect", "builtin", "--quiet")
    assert quiet.err == ""
    assert "Registering:" not in quiet.out
    assert "pristine-quick-v1" in quiet.out


def check(value, schema, where="content"):
    """Compare JSON with types: a dict has exactly these keys, a list entries of its one type."""
    if isinstance(schema, dict):
        assert set(value) == set(schema), where
        for key, inner in schema.items():
            check(value[key], inner, f"{where}.{key}")
    elif isinstance(schema, list):
        assert isinstance(value, list), where
        for number, entry in enumerate(value):
            check(entry, schema[0], f"{where}[{number}]")
    else:
        assert isinstance(value, schema), where
        assert isinstance(value, bool) == (schema is bool), where


NUMBER, MAYBE = int | float, int | None
SECONDS = {"batch": int, "seconds": float}
SCHEMA = {
    "kind": str,
    "digest": str,
    "weights": str,
    "files": [{"name": str, "size": int, "sha256": str}],
    "generator": dict,
    "dimension": int,
    "tangents": int,
    "batching": str,
    "parameters": int,
    "constants": int,
    "layersObserved": bool,
    "layers": [
        {"name": str, "type": str, "parameters": int, "output": list | None, "flops": MAYBE}
    ],
    "operations": [{"name": str, "calls": int, "flops": int}],
    "flops": {"forward": MAYBE, "jacobian": MAYBE, "jacobianCounted": MAYBE, "uncounted": [str]},
    "device": {"name": str, "type": str, "threads": int, "torch": str},
    "measured": {
        "matrix": {"side": int, "flopsPerSecond": float},
        "forward": SECONDS,
        "encoderTraining": SECONDS,
        "steps": [
            {
                "solver": str,
                "batch": int,
                "seconds": float,
                "measured": bool,
                "restartBytes": int,
                "peakBytes": MAYBE,
                "fits": int,
                "secondsForOnePicture": float,
            }
        ],
        "problems": dict,
        "cpuShare": float | None,
    },
    "estimates": [
        {
            "preset": str,
            "solver": str,
            "controls": int,
            "restarts": int,
            "encoderOutputs": int,
            "register": list | None,
            "reached": list | None,
            "missed": list | None,
            "whyNot": str | None,
        }
    ],
    "basis": str,
}


def test_the_json_has_everything_with_its_type(deny):
    said = deny("inspect", "builtin", "--json", "--device", "cpu").json
    assert (said["verified"], said["file"], said["exitCode"]) == (False, "builtin", 0)
    content = said["content"]
    check(content, SCHEMA)
    assert content["kind"] == "model"
    assert content["generator"]["format"] == "builtin"
    assert content["flops"]["forward"] == sum(layer["flops"] for layer in content["layers"])
    assert content["flops"]["jacobian"] == 16 * content["flops"]["forward"]
    assert content["flops"]["jacobianCounted"] >= content["flops"]["jacobian"]
    assert content["device"]["type"] == "cpu"
    assert content["measured"]["matrix"]["flopsPerSecond"] > 0
    (step,) = content["measured"]["steps"]
    assert step["measured"]
    assert step["seconds"] > 0
    assert step["fits"] >= step["batch"] >= 1
    quick, standard, strict = content["estimates"][:3]
    for name in ("register", "reached", "missed"):
        assert all(0 < entry[name][0] <= entry[name][1] for entry in content["estimates"])
    for end in (0, 1):
        assert quick["register"][end] < standard["register"][end] < strict["register"][end]
        assert quick["missed"][end] < strict["missed"][end]


# Formats


@pytest.mark.parametrize(
    ("name", "format_", "flags"),
    [
        ("script.pt", "torchscript", SHAPE),
        ("trace.pt", "torchscript", ("--prior", "normal")),
        ("dynamic.pt2", "torch-export", ("--prior", "normal")),
        ("static.pt2", "torch-export", ("--prior", "normal")),
        ("state.pt", "state-dict", (*SHAPE, *FACTORY)),
        ("legacy.pth", "state-dict", (*SHAPE, *FACTORY)),
        ("weights.safetensors", "safetensors", (*SHAPE, *FACTORY)),
    ],
)
def test_the_arithmetic_of_every_format_is_counted_exactly(deny, files, name, format_, flags):
    ran = deny("inspect", files[name], "--json", "--device", "cpu", *flags)
    assert ran.code == 0, ran.err
    content = ran.json["content"]
    check(content, SCHEMA)
    assert content["generator"]["format"] == format_
    assert content["flops"]["forward"] == FLOPS
    assert content["flops"]["jacobian"] == 6 * FLOPS
    assert content["flops"]["uncounted"] == []
    assert content["layersObserved"] == (format_ in {"state-dict", "safetensors"})
    weights = [layer["parameters"] for layer in content["layers"]]
    assert sum(weights) == content["parameters"]
    if content["layersObserved"]:  # the batch norm went into the layer before it, as its bias
        assert weights == [6 * 8 * 16 + 8, 0, 8 * 3 * 16 + 3, 0]
        assert [layer["flops"] for layer in content["layers"]] == [1536, 0, FLOPS - 1536, 0]
        assert content["layers"][2]["output"] == [3, 8, 8]
    else:
        assert {layer["flops"] for layer in content["layers"]} == {None}
        assert content["operations"][0]["calls"] == 2
        assert content["operations"][0]["flops"] == FLOPS


def test_what_cannot_be_seen_layer_by_layer_is_said(deny, files):
    ran = deny("inspect", files["trace.pt"], "--prior", "normal")
    assert "This format is one graph" in ran.out
    assert "aten._convolution" in ran.out


def test_onnx(deny, tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx_graphs import floats, model_of

    graph = model_of(
        [
            ("MatMul", ["x", "w"], ["h"], {}),
            ("Tanh", ["h"], ["t"], {}),
            ("Reshape", ["t", "shape"], ["y"], {}),
        ],
        {"w": floats(6, 48), "shape": [-1, 3, 4, 4]},
        (6,),
        out=["batch", 3, 4, 4],
    )
    path = tmp_path / "model.onnx"
    onnx.save(graph, path)
    ran = deny("inspect", path, "--prior", "normal", "--range=-1,1", "--json")
    assert ran.code == 0, ran.err
    content = ran.json["content"]
    assert content["generator"]["format"] == "onnx"
    assert content["flops"]["forward"] == 2 * 6 * 48
    assert (content["parameters"], content["constants"]) == (0, 6 * 48)
    # Nothing that was stated tells it apart from other files: its content does.
    (tmp_path / "generator.toml").write_text(
        '[latent]\nprior = "normal"\n[output]\nrange = [-1, 1]\n'
    )
    assert "format       onnx" in deny("inspect", path).out


def test_a_description_beside_weights_is_enough(deny, files, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(files["weights.safetensors"].read_bytes())
    alone = deny("inspect", path)
    assert "latents (safetensors)" in alone.out
    assert "--factory" in alone.err
    (tmp_path / "generator.toml").write_text(
        '[latent]\nshape = [6, 1, 1]\nprior = "normal"\n[model]\nfactory = "toy_networks:toy"\n'
    )
    ran = deny("inspect", path)
    assert "format       safetensors, built by toy_networks:toy" in ran.out
    assert "Batch norms" in ran.out


def test_our_latents_stay_latents_beside_a_description_of_weights(deny, tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "generator.toml").write_text('[model]\nfactory = "toy_networks:toy"\n')
    for name, tensors in {"case": ("pictures", "restarts"), "kept": ("latents",)}.items():
        path = tmp_path / f"{name}.latents.safetensors"
        save_file({tensor: torch.zeros(2, 3) for tensor in tensors}, path)
        ran = deny("inspect", path)
        assert (ran.code, ran.err) == (0, "")
        assert "latents (safetensors)" in ran.out


def test_several_latents(deny, tmp_path):
    export(tmp_path / "two.pt2", TwoParts().eval(), (4, 1, 1), (2,))
    (tmp_path / "two.generator.toml").write_text(
        '[[latent]]\nname = "z"\nshape = [4, 1, 1]\nprior = "normal"\n'
        '[[latent]]\nname = "style"\nshape = [2]\nprior = "uniform"\nlow = -1\nhigh = 1\n'
        '[output]\nrange = [-1, 1]\nrounding = "truncate"\n'
        '[entropy]\nsource = "numpy-randomstate"\n'
    )
    ran = deny("inspect", tmp_path / "two.pt2")
    assert ran.code == 0, ran.err
    assert "z: 4 numbers (4 x 1 x 1), normal" in ran.out
    assert "style: 2 numbers (2), uniform from -1 to 1" in ran.out
    assert "8-bit pixels by truncating" in ran.out
    assert "numpy-randomstate, 32 seed bits" in ran.out
    assert "576 per picture" in " ".join(ran.out.split())


class Labelled(nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.style = nn.Embedding(classes, 32)
        self.last = nn.Linear(32, 64)

    def forward(self, z, label):
        return torch.sigmoid(self.last(z.repeat(1, 8) + self.style(label))).reshape(-1, 1, 8, 8)


@pytest.mark.parametrize(
    ("classes", "possible"), [(5, [True, True, True]), (10, [False, True, True])]
)
def test_labels(deny, tmp_path, classes, possible):
    with torch.random.fork_rng():
        torch.manual_seed(4)
        script(tmp_path / "labelled.pt", Labelled(classes).eval())
    (tmp_path / "generator.toml").write_text(
        '[[latent]]\nname = "z"\nshape = [4]\nprior = "normal"\n[[latent]]\nname = "label"\n'
        f'prior = "label"\nclasses = {classes}\nencoding = "index"\n[output]\nrange = [0, 1]\n'
    )
    ran = deny("inspect", tmp_path / "labelled.pt", "--json")
    assert ran.code == 0, ran.err
    content = ran.json["content"]
    assert (content["dimension"], content["tangents"]) == (5, 4)  # labels are not differentiated
    assert content["flops"]["jacobian"] == 4 * 2 * 32 * 64
    assert [entry["register"] is not None for entry in content["estimates"]][:3] == possible
    text = deny("inspect", tmp_path / "labelled.pt").out
    assert f"label: label, {classes} classes, taken as index" in text
    assert ("no: more than the 6 labels" in text) == (not all(possible))


LARGE = """
class Large(nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.layer = nn.Linear(520, 48)

    def forward(self, z):
        return torch.tanh(self.layer(z)).reshape(-1, 3, 4, 4)

network = lambda: Large().eval()
"""


def test_a_large_latent_is_searched_without_a_jacobian(deny, tmp_path, monkeypatch):
    path, factory = importable(tmp_path, monkeypatch, LARGE)
    flags = (*factory, "--prior", "normal", "--latent-shape", "520", "--range=-1,1")
    content = deny("inspect", path, *flags, "--json").json["content"]
    solvers = {step["solver"] for step in content["measured"]["steps"]}
    assert solvers == {"adam", "gauss-newton-cg"}
    assert [entry["preset"] for entry in content["estimates"]][:6] == list(PRESETS)[:6]
    assert content["flops"]["jacobianCounted"] is None
    text = deny("inspect", path, *flags).out
    assert "matrix-free Gauss-Newton-CG" in text
    assert "pristine-quick-v2 (gauss-newton-cg)" in text


# What does not go well


ONCE = """
class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.layer = nn.Linear(4, 48)

    def forward(self, z):
        return torch.tanh(Once.apply(self.layer(z))).reshape(-1, 3, 4, 4)

network = lambda: Network().eval()
"""


def test_a_model_that_cannot_be_searched_is_described_all_the_same(deny, tmp_path, monkeypatch):
    path, factory = importable(tmp_path, monkeypatch, ONCE)
    flags = (*factory, "--prior", "normal", "--latent-shape", "4", "--range=-1,1")
    ran = deny("inspect", path, *flags, "--json")
    assert ran.code == 0, ran.err
    content = ran.json["content"]
    assert "cannot be differentiated" in content["measured"]["problems"]["levenberg-marquardt"]
    assert {entry["register"] for entry in content["estimates"]} == {None}
    text = deny("inspect", path, *flags).out
    assert "not possible: the model cannot be differentiated in forward mode" in text
    assert "no: the model cannot" in text


def test_a_search_too_long_to_be_tried_is_derived_from_the_forward_pass(deny, monkeypatch):
    monkeypatch.setattr(estimate, "_BUDGET", 1e-9)
    (step,) = deny("inspect", "builtin", "--json").json["content"]["measured"]["steps"]
    assert (step["measured"], step["batch"]) == (False, 0)
    assert step["seconds"] > 0
    assert "not measured" in deny("inspect", "builtin").out


def test_a_model_without_numbers_is_described(deny, tmp_path):
    from safetensors.torch import save_file
    from toy_networks import not_a_number

    path = tmp_path / "weights.safetensors"
    save_file(dict(not_a_number().state_dict()), path)
    flags = (*SHAPE, "--factory", "toy_networks:not_a_number", "--range=-1,1")
    ran = deny("inspect", path, *flags, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["content"]["measured"]["steps"][0]["measured"] is False


def test_nothing_in_a_model_acts_on_the_terminal(deny, tmp_path, monkeypatch):
    body = """
class Evil(nn.Module):
    def __init__(self):
        super().__init__()
        self.add_module("x\\x1b[2J\\u202e\\n", nn.Linear(4, 48))

    def forward(self, z):
        print("\\x1b]0;title")
        return torch.tanh(next(self.children())(z)).reshape(-1, 3, 4, 4)

network = lambda: Evil().eval()
"""
    path, factory = importable(tmp_path, monkeypatch, body)
    flags = (*factory, "--prior", "normal", "--latent-shape", "4", "--range=-1,1")
    ran = deny("inspect", path, *flags)
    assert ran.code == 0, ran.err
    assert "x\\x1b[2J\\u202e\\n" in ran.out
    assert "\x1b" not in ran.out
    assert deny("inspect", path, *flags, "--json").json["content"]["layers"]


@pytest.mark.parametrize(
    ("content", "flags", "code", "words"),
    [
        (b"hello", (), 4, "not a file of this program"),
        (b"hello", ("--prior", "normal"), 2, "not a model that can be loaded"),
        (b"{}", ("--prior", "normal"), 2, "not a model that can be loaded"),
        (b"\x08\x07" * 9, (), 4, "not a file of this program"),
        (b"PK\x03\x04 no zip", (), 2, "error:"),
        (b"\x80\x04 no pickle", (), 2, "error:"),
    ],
)
def test_other_files_are_refused(deny, tmp_path, content, flags, code, words):
    path = tmp_path / "x"
    path.write_bytes(content)
    ran = deny("inspect", path, *flags, "--quiet")
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err


def test_a_missing_file_a_folder_and_a_missing_fact(deny, files, tmp_path):
    assert deny("inspect", tmp_path / "none").code == 2
    assert "folder" in deny("inspect", tmp_path).err
    ran = deny("inspect", files["trace.pt"])
    assert ran.code == 2
    assert "prior" in ran.err


def test_files_of_ours_are_shown_without_torch(process, tmp_path):
    from deniability.crypto.keys import generate_key

    (tmp_path / "key.pem").write_bytes(generate_key().public.pem)
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nclass Refuse:\n    def find_spec(self, name, *_):\n"
        "        if name == 'torch':\n            raise AssertionError('torch')\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )
    ran = process("inspect", "key.pem", cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert ran.code == 0, ran.err
    assert "public key" in ran.out


# Words


def test_quantities():
    from deniability.cli.quantities import big, duration, memory, span, table

    assert [big(n) for n in (0, 999, 1000, 3_714_560, 9.996e10)] == [
        "0.00 ", "999 ", "1.00 k", "3.71 M", "100 G",
    ]  # fmt: skip
    assert [duration(s) for s in (3.9e-6, 0.147, 12, 250, 7200, 400_000)] == [
        "3.9 µs", "147 ms", "12 s", "4.2 min", "2.0 h", "4.6 days",
    ]  # fmt: skip
    assert span((1.0, 90.0)) == "1.0 to 90 s"
    assert span((0.5, 90.0)) == "500 ms to 90 s"
    assert [memory(n) for n in (12, 1536, 5 << 20)] == ["12 bytes", "1.50 KiB", "5.00 MiB"]
    assert table(("a", "b"), [("x" * 60, "1")])[1] == "x" * 45 + "...  1"
