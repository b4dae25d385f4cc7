"""The schemas in schemas/ are those of the models, and say what they should to other people."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import rfc8785

from deniability.errors import OutputError
from deniability.wire.edits import EDITS
from deniability.wire.protocol import DEFAULT_PRESET, PRESETS, SEVERAL_PRESET, UNEDITED_PRESET
from deniability.wire.schema import schema_files, write_schemas

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "schemas"
GENERATED = schema_files()
SCHEMAS = sorted(name for name in GENERATED if name.endswith(".schema.json"))


def nodes(value, path=""):
    """Yield (path, object) for every object of a JSON value."""
    if isinstance(value, dict):
        yield path, value
        for key, member in value.items():
            yield from nodes(member, f"{path}/{key}")
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from nodes(member, f"{path}/{index}")


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_the_stored_file_is_what_the_models_give(name):
    stored = (FOLDER / name).read_text("utf-8")
    assert stored == GENERATED[name].decode(), "the models changed; run: make schemas"


def test_nothing_else_lies_beside_them():
    assert {path.name for path in FOLDER.glob("*.json")} == set(GENERATED)


def test_the_command_writes_them(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "deniability.wire.schema", str(tmp_path)]
    run = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == GENERATED


def test_a_missing_folder_is_an_output_error(tmp_path):
    with pytest.raises(OutputError):
        write_schemas(tmp_path / "missing")


@pytest.mark.parametrize("name", SCHEMAS)
def test_objects_are_closed_and_named_in_camel_case(name):
    schema = json.loads(GENERATED[name])
    for path, node in nodes(schema):
        if node.get("type") != "object" or path.endswith("/properties"):
            continue
        free = name == "statement.schema.json" and path == "/properties/predicate"
        assert node["additionalProperties"] is free, path
        for field in node.get("properties", {}):
            assert re.fullmatch(r"_type|[a-z][A-Za-z0-9]*", field), f"{path}: {field}"


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_stand_alone_and_know_no_floats(name):
    schema = json.loads(GENERATED[name])
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"].startswith("urn:deniability:")
    for path, node in nodes(schema):
        if isinstance(reference := node.get("$ref"), str):
            prefix, _, definition = reference.rpartition("/")
            assert prefix == "#/$defs", path
            assert definition in schema["$defs"], path
        assert node.get("type") != "number", path
        if isinstance(pattern := node.get("pattern"), str):
            assert re.compile(pattern), path
            assert pattern.startswith("^"), path
            assert pattern.endswith("$"), path


def test_published_presets_never_change():
    published = {
        "pristine-quick-v1": "b4a1fb95d71ee8e5da9c17fa93277579b9b36bfbe1b898f1aa57c2ab9ae26c5a",
        "pristine-standard-v1": "20e9dcfde4ea449140c1d9f4406f10b5971dfd05c06f45152ecc5dab93073a69",
        "pristine-strict-v1": "79d32ba94ce37496f0074a38998499eeef9a3277bf880d5688216151cbb6eb68",
        "pristine-quick-v2": "5ecee7fad03fc20e1a2a143c973bd75da2572ce1a44d9e0e96a79baf5a382bef",
        "pristine-standard-v2": "b08305b28c032ccab9355a01ae21eb4c88d9b1021e4c55e5c5f7010efefb05bc",
        "pristine-strict-v2": "393d6a6bf2ea9c540a0646cc9f841731f44fe76ad8ae6ad6c20b9ae9fc516d3f",
        "pristine-quick-v3": "97cf394e2880a74f8361924f1df53e68ed457dd0f02d9d387fdd97ae6ca61dbf",
        "pristine-standard-v3": "2335ab5706e15c35acef7fcceb54c69573541d7384c49d4f0914568cbc8aa101",
        "pristine-strict-v3": "3128fb219b0d660e8085ad97e109f3ee98a8940e159548116c9d45f25b2b98e7",
        "handled-quick-v1": "1183622cb5d67f2c27f28f60c3b2a40c9e9ff134e9801e227380b8eb871188e1",
        "handled-standard-v1": "d8ab83af3a7e0760f7b864c08ad96dcbdf588743c26033a2be6bf69e4183d5b0",
        "handled-quick-v2": "f6a8c79a3957e40a2d2f0c6e3457c2b8dd9ee93963ab619022d7143fb5a54de0",
        "handled-standard-v2": "e9919277bd7c3ed5a1ad63a241933a338b451b83100af8fc449a80a13f61ade2",
        "handled-quick-v3": "52b2ac78f372dc4ea4c0091c5e8004cbe1008d35d9466781ad8c94b39afc8d94",
        "handled-standard-v3": "d3f88e3da756fa0be8cf611b7818d41d3c6a183e259bab715b415fbbcbf2ab0e",
    }
    assert {name: PRESETS[name].digest for name in published} == published


def test_the_second_version_differs_in_the_solver_of_large_latents_only():
    for size in ("quick", "standard", "strict"):
        first, second = (PRESETS[f"pristine-{size}-{v}"].to_wire() for v in ("v1", "v2"))
        added = {k: second.pop(k) for k in set(second) - set(first)}
        assert added == {"largeSolver": "gauss-newton-cg", "cgIterations": 64}
        assert second == first | {"name": second["name"]}


def test_the_third_version_differs_for_generators_in_two_stages_only():
    for size in ("quick", "standard", "strict"):
        second, third = (PRESETS[f"pristine-{size}-{v}"].to_wire() for v in ("v2", "v3"))
        assert third == second | {"name": third["name"], "stages": "mapping-synthesis"}


@pytest.mark.parametrize(
    ("dimension", "solver"), [(512, "levenberg-marquardt"), (513, "gauss-newton-cg")]
)
def test_the_solver_follows_the_latent(dimension, solver):
    for name in (DEFAULT_PRESET, SEVERAL_PRESET, UNEDITED_PRESET):
        assert PRESETS[name].solver(dimension) == solver
        assert PRESETS[name].stages is not None
    assert PRESETS[DEFAULT_PRESET].edits == PRESETS[SEVERAL_PRESET].edits == EDITS
    assert PRESETS["pristine-standard-v1"].solver(513) == "adam"


def test_presets_are_listed_with_digests_that_follow_from_them():
    data = json.loads((FOLDER / "presets.json").read_bytes())
    # Other tests of this process may have added presets of their own.
    shipped = [name for name in PRESETS if not name.startswith("test-")]
    assert [entry["protocol"]["name"] for entry in data["presets"]] == shipped
    assert data["default"] in PRESETS
    for entry in data["presets"]:
        assert hashlib.sha256(rfc8785.dumps(entry["protocol"])).hexdigest() == entry["digest"]
        assert PRESETS[entry["protocol"]["name"]].digest == entry["digest"]
