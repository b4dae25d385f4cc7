"""Files that would run code, or touch files, merely by being opened. None of them may."""

import io
import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from model_files import edit_archive, export, script
from torch import nn
from toy_networks import WIDTH, toy

from deniability.errors import GeneratorError
from deniability.generators.exported_graph import EXPRESSION_NAMES, _is_expression, _is_operator
from deniability.generators.load import ModelOptions, load_generator
from deniability.generators.torchscript import scan_code

CPU = torch.device("cpu")
NORMAL = ModelOptions(prior="normal")
MODEL = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


@pytest.fixture
def canary(tmp_path):
    """Path that hostile code would make; checked to be absent afterwards."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


def test_the_canary_works(tmp_path):
    pickle.loads(pickle.dumps(Canary(tmp_path / "made")))
    assert (tmp_path / "made").is_dir()


# State dicts.


@pytest.mark.parametrize("new", [True, False])
def test_pickle_that_runs_code(tmp_path, canary, new):
    path = tmp_path / "model.pt"
    torch.save({"weight": Canary(canary)}, path, _use_new_zipfile_serialization=new)
    with pytest.raises(GeneratorError, match=r"not unpickled.*state_dict\(\).*safetensors"):
        load_generator(path, device=CPU, options=ModelOptions(factory="toy_networks:toy"))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_bare_pickle(tmp_path, canary, protocol):
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps(Canary(canary), protocol=protocol))
    with pytest.raises(GeneratorError):
        load_generator(path, device=CPU, options=ModelOptions(factory="toy_networks:toy"))


def test_whole_module_is_not_unpickled(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(toy(), path)
    with pytest.raises(GeneratorError, match=r"not unpickled.*toy_networks\.Toy"):
        load_generator(path, device=CPU, options=ModelOptions(factory="toy_networks:toy"))


# torch.export.


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "clean.pt2"
    export(path, toy(), (WIDTH, 1, 1))
    return path.read_bytes()


@pytest.fixture
def exported(clean, tmp_path):
    path = tmp_path / "model.pt2"
    path.write_bytes(clean)
    return path


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def edit_json(change):
    def edit(data):
        value = json.loads(data)
        change(value)
        return json.dumps(value).encode()

    return edit


def test_sample_inputs_are_never_opened(exported, canary):
    edit_archive(exported, {"data/sample_inputs/model.pt": lambda _: saved((Canary(canary),))})
    assert load_generator(exported, device=CPU, options=NORMAL).dimension == WIDTH


@pytest.mark.parametrize(
    ("record", "file"),
    [(WEIGHTS, "data/weights/weight_0"), (CONSTANTS, "data/constants/tensor_0")],
)
def test_pickled_tensors(exported, canary, record, file):
    def change(config):
        entry = next(e for e in config["config"].values() if file.endswith(e["path_name"]))
        entry["use_pickle"] = True

    edit_archive(
        exported, {record: edit_json(change), file: lambda _: saved({"a": Canary(canary)})}
    )
    with pytest.raises(GeneratorError, match="stored as a pickle"):
        load_generator(exported, device=CPU, options=NORMAL)


@pytest.mark.parametrize("name", ["opaque_obj_0", "custom_obj_0", "../../weight_0", "tensor_0x"])
def test_constants_that_are_not_tensors(exported, canary, name):
    def change(config):
        next(iter(config["config"].values()))["path_name"] = name

    edit_archive(
        exported,
        {CONSTANTS: edit_json(change)},
        add={f"data/constants/{name}": pickle.dumps(Canary(canary))},
    )
    with pytest.raises(GeneratorError, match="stored as a pickle or as a custom object"):
        load_generator(exported, device=CPU, options=NORMAL)


@pytest.mark.parametrize("name", ["data/weights/model.pt", "data/constants/model.pt"])
def test_old_layout_with_pickled_weights(exported, canary, name):
    edit_archive(exported, {}, add={name: saved({"a": Canary(canary)})})
    with pytest.raises(GeneratorError, match="old layout"):
        load_generator(exported, device=CPU, options=NORMAL)


def test_oldest_layout(tmp_path, canary):
    path = tmp_path / "old.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("version", "8.0")
        archive.writestr("serialized_exported_program.json", "{}")
        for name in ("state_dict", "constants", "example_inputs"):
            archive.writestr(f"serialized_{name}.pt", saved({"a": Canary(canary)}))
    with pytest.raises(GeneratorError, match="old layout"):
        load_generator(path, device=CPU, options=NORMAL)


def test_compiled_code(exported):
    edit_archive(exported, {}, add={"data/aotinductor/model/x.wrapper.so": b"\x7fELF"})
    with pytest.raises(GeneratorError, match="machine code"):
        load_generator(exported, device=CPU, options=NORMAL)


def test_second_model(exported):
    edit_archive(exported, {}, add={"models/other.json": b"{}"})
    with pytest.raises(GeneratorError, match="one model"):
        load_generator(exported, device=CPU, options=NORMAL)


def payload(canary):
    return f"__import__('os').mkdir({str(canary)!r})"


def graph_of(program):
    return program["graph_module"]["graph"]


def in_expression(program, canary):
    meta = graph_of(program)["tensor_values"]["z"]
    meta["sizes"][0] = {"as_expr": {"expr_str": payload(canary), "hint": None}}


def in_target(program, canary):
    node = graph_of(program)["nodes"][0]
    node["target"] = "torch.os.mkdir"
    node["inputs"] = [{"name": "path", "arg": {"as_string": str(canary)}, "kind": 1}]


def in_operator(program, _):
    graph_of(program)["nodes"][0]["target"] = "_operator.methodcaller"


def in_file_operator(program, canary):
    node = graph_of(program)["nodes"][0]
    node["target"] = "torch.ops.aten.from_file.default"
    node["inputs"] = [
        {"name": "filename", "arg": {"as_string": str(canary)}, "kind": 1},
        {"name": "shared", "arg": {"as_bool": True}, "kind": 2},
        {"name": "size", "arg": {"as_int": 8}, "kind": 2},
    ]


def in_name(program, canary):
    node = graph_of(program)["nodes"][0]
    node["outputs"][0]["as_tensor"]["name"] = f"x = {payload(canary)}; y"


def in_buffer_name(program, canary):
    for spec in program["graph_module"]["signature"]["input_specs"]:
        if "buffer" in spec:
            spec["buffer"]["buffer_name"] = f'a") or {payload(canary)} or ("'


def in_tree(program, _):
    signature = program["graph_module"]["module_call_graph"][0]["signature"]
    spec = json.loads(signature["in_spec"])
    spec[1]["children_spec"][0]["type"] = "collections.defaultdict"
    spec[1]["children_spec"][0]["context"] = json.dumps(
        {"default_factory_module": "antigravity", "default_factory_name": "fly"}
    )
    signature["in_spec"] = json.dumps(spec)


def in_subgraph(program, _):
    graph_of(program)["nodes"][0]["inputs"][0]["arg"] = {"as_graph": {"name": "g", "graph": {}}}


def in_custom_object(program, _):
    graph_of(program)["custom_obj_values"] = {"o": {"name": "o", "class_fqn": "__torch__.x"}}


def in_range_name(program, canary):
    program["range_constraints"] = {payload(canary): {"min_val": 1, "max_val": None}}


def in_unknown_field(program, canary):
    program["pre_hook"] = payload(canary)


@pytest.mark.parametrize(
    "attack",
    [
        in_expression,
        in_target,
        in_operator,
        in_file_operator,
        in_name,
        in_buffer_name,
        in_tree,
        in_subgraph,
        in_custom_object,
        in_range_name,
        in_unknown_field,
    ],
)
def test_descriptions_that_run_code(exported, canary, attack):
    edit_archive(exported, {MODEL: edit_json(lambda program: attack(program, canary))})
    with pytest.raises(GeneratorError, match=r"something else than tensors"):
        load_generator(exported, device=CPU, options=NORMAL)
    assert "antigravity" not in sys.modules


def test_fields_that_a_network_does_not_need_are_emptied(exported, canary):
    def change(program):
        program["guards_code"] = [payload(canary)]
        program["graph_module"]["metadata"] = {"custom": payload(canary)}
        for node in graph_of(program)["nodes"]:
            node["metadata"] = {"stack_trace": f"\n{payload(canary)}\n#", "custom": "{"}

    edit_archive(exported, {MODEL: edit_json(change)})
    generator = load_generator(exported, device=CPU, options=NORMAL)
    assert generator(torch.zeros(2, WIDTH)).shape == (2, 3, 8, 8)


def test_nothing_is_written_to_stderr_when_torch_cannot_open_it(exported, capfd):
    edit_archive(exported, {MODEL: edit_json(lambda p: p["graph_module"].pop("signature"))})
    with pytest.raises(GeneratorError):
        load_generator(exported, device=CPU, options=NORMAL)
    edit_archive(exported, {"archive_version": lambda _: b"99", MODEL: lambda data: data})
    with pytest.raises(GeneratorError):
        load_generator(exported, device=CPU, options=NORMAL)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "text",
    [
        "s0",
        "2*s0 + 1",
        "Symbol('s68', positive=True, integer=True)",
        "Mul(Integer(2), Symbol('s0', integer=True))",
        "FloorDiv(s0 + 3, 4)",
        "Max(1, s0)",
        "-u3",
        "s0 >= 2",
        "Float('0.5', precision=53)",
    ],
)
def test_size_expressions_that_torch_writes(text):
    assert _is_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').mkdir('x')",
        "s0.__class__",
        "Symbol('__import__')",
        "eval('1')",
        "Symbol('s0', cls=exec)",
        "[s0 for s0 in 's0']",
        "(lambda: s0)()",
        "s0[0]",
        "'s0' * 9",
        "Symbol",
        "open",
        "f'{s0}'",
        "s0 if s0 else s0",
        "Symbol('s0')('s1')",
        "FloorDiv(*s0)",
        "(" * 3000,
        "s0 +",
        "s0\n__import__('os')",
        "print(s0)",
        "s0 := 3",
    ],
)
def test_size_expressions_that_torch_does_not_write(text):
    assert not _is_expression(text)


def test_allowed_function_names_only_compute():
    """Whatever sympy would look up under these names is a class of sympy's or torch's."""
    import sympy
    from torch.utils._sympy import functions

    for name in EXPRESSION_NAMES - {"PythonMod", "Where"}:
        found = getattr(functions, name, None) or getattr(sympy, name)
        assert isinstance(found, type) or callable(found)
        assert found.__module__.startswith(("sympy.", "torch.utils._sympy."))


@pytest.mark.parametrize(
    "target",
    ["torch.ops.aten.relu.default", "torch.ops.aten.__and__.Tensor", "_operator.add"],
)
def test_operators_of_networks(target):
    assert _is_operator(target)


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.from_file.out",
        "torch.ops.aten.save.default",
        "torch.ops.aten.__class__.mro",
        "torch.ops.aten.relu.decompose",
        "torch.ops.aten.nothing.default",
        "torch.ops.prims.add.default",
        "torch.ops.aten.relu.__call__",
        "torch.hub.load",
        "_operator.attrgetter",
        "math.factorial",
        "#triton:x",
        "",
    ],
)
def test_operators_that_networks_do_not_have(target):
    assert not _is_operator(target)


# TorchScript.


class Overwrites(nn.Module):
    def __init__(self, path: str):
        super().__init__()
        self.path = path
        self.layer = nn.Linear(2, 4)

    def forward(self, z):
        x = torch.from_file(self.path, True, 4)
        return (self.layer(z) + x).reshape(-1, 1, 2, 2)


class Saves(nn.Module):
    def __init__(self, path: str):
        super().__init__()
        self.path = path
        self.layer = nn.Linear(2, 4)

    def forward(self, z):
        torch.save(z, self.path)
        return self.layer(z).reshape(-1, 1, 2, 2)


@pytest.mark.parametrize("network", [Overwrites, Saves])
def test_torchscript_that_touches_files(tmp_path, canary, network):
    path = tmp_path / "model.pt"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        script(path, network(str(canary)))
    with pytest.raises(GeneratorError, match="reaches beyond a network"):
        load_generator(path, device=CPU, options=NORMAL)


@pytest.mark.parametrize(
    "code",
    [
        "x = torch.from_file(path)",
        "x = torch . from_file (path)",
        "x = torch.\\\n  from_file(path)",
        "torch.save(x, path)",
        "x = ops.image.write_file(path)",
        "x = ops . profiler . record(path)",
        'f = getattr(torch, "from_" "file")',
        'f = getattr(torch, "\\x66rom_file")',
        "f = getattr(torch, name)",
        "f = getattr (self, '0')",
        "x = __torch__.torch.classes.quantized.Thing",
    ],
)
def test_torchscript_source_that_reaches_out(code):
    with pytest.raises(GeneratorError, match="reaches beyond"):
        scan_code(code, where="code.py")


@pytest.mark.parametrize(
    "code",
    ['_0 = getattr(self, "0")', '_1 = (getattr(self.main, "3")).forward(x, )', "ops.prim.data(x)"],
)
def test_torchscript_source_of_networks(code):
    scan_code(code, where="code.py")


def test_record_given_twice(tmp_path):
    path = tmp_path / "model.pt"
    script(path, toy())
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.filterwarnings("ignore", message="Duplicate name")
        name = next(n for n in archive.namelist() if n.endswith(".py"))
        archive.writestr(name, archive.read(name))
    with pytest.raises(GeneratorError, match="same name"):
        load_generator(path, device=CPU, options=NORMAL)


def test_decompression_bomb(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/constants.pkl", b"x")
        archive.writestr("m/data.pkl", bytes(300 << 20))
    with pytest.raises(GeneratorError, match="too large"):
        load_generator(path, device=CPU, options=NORMAL)


# Factories come from the local user alone.


def test_factory_is_not_imported_from_the_weights(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"factory": "antigravity:fly", "weight": torch.ones(2, 2)}, path)
    with pytest.raises(GeneratorError):
        load_generator(path, device=CPU, options=NORMAL)
    assert "antigravity" not in sys.modules


def test_loading_the_built_in_model_imports_no_compiler():
    """It stays light."""
    code = (
        "import sys, torch\n"
        "from deniability.generators.load import load_generator\n"
        "load_generator('builtin', device=torch.device('cpu'))\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
