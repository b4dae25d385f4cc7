"""The two examples that check a bundle without this package, as a stranger would run them.

That the verifier in Python agrees on all vectors is tested in `test_vectors.py`.
"""

import ast
import hashlib
import json
import shutil
import subprocess
import sys

import pytest
import vector_parts as v

from deniability.wire.families import kinds_of
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import PRESETS

EXAMPLES = v.ROOT / "examples"
HERE = v.ROOT / "tests" / "vectors"


def files(folder, stage, name):
    """Return paths of a vector's bundle and of the first key that its verifier trusts."""
    case = HERE / stage / name
    key = folder / "key.pem"
    key.write_text(json.loads((case / "trust.json").read_text())["keys"][0])
    return case / "bundle.json", key


def run(*command):
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, cwd="/"
    )


@pytest.mark.parametrize(
    ("stage", "name", "code"),
    [
        ("passing", "excluded", 0),
        ("passing", "reached-pixel-for-pixel", 0),
        ("passing", "excluded-ed25519", 0),
        ("parse", "white-space-after", 4),
        ("trust", "attacker-under-own-name", 4),
        ("signature", "high-s", 3),
        ("commitment", "control-dropped", 3),
        ("statistics", "mismatch-lowered", 3),
    ],
)
def test_as_a_program_without_the_package(tmp_path, stage, name, code):
    bundle, key = files(tmp_path, stage, name)
    script = EXAMPLES / "verify_without_deniability.py"
    ran = run(sys.executable, "-I", script, bundle, "--key", key)
    assert ran.returncode == code, ran.stderr
    assert ("V0 holds" in ran.stdout) == (code == 0)
    assert "Traceback" not in ran.stderr


def test_it_needs_the_standard_library_and_cryptography_only():
    tree = ast.parse((EXAMPLES / "verify_without_deniability.py").read_text("utf-8"))
    names = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert names - set(sys.stdlib_module_names) == {"cryptography"}


def test_a_missing_file_is_wrong_usage(tmp_path):
    _, key = files(tmp_path, "passing", "excluded")
    script = EXAMPLES / "verify_without_deniability.py"
    assert run(sys.executable, script, tmp_path / "none", "--key", key).returncode == 2


@pytest.mark.parametrize("name", ["photo", "own"])
def test_bundles_of_the_built_in_generator(proved, registered, name):
    script = EXAMPLES / "verify_without_deniability.py"
    bundle = getattr(proved, name).bundle
    ran = run(sys.executable, script, bundle, "--key", registered.public_key)
    assert ran.returncode == 0, ran.stderr
    assert {"photo": "Excluded: ", "own": "Reached: "}[name] in ran.stdout


@pytest.mark.parametrize("components", [None, "gray", "ycc444", "ycc420"])
@pytest.mark.parametrize("size", [(32, 32), (8, 8), (30, 24)])
@pytest.mark.parametrize("name", ["handled-quick-v1", "handled-standard-v2"])
def test_which_families_a_file_has(name, size, components):
    """Files stored without loss and as JPEG, of the size of a 32 x 32 model and of another one."""
    colour = components not in (None, "gray")
    fields = {"height": size[0], "width": size[1], "model_channels": 3 if colour else 1}
    fields |= {"channels": fields["model_channels"]}
    if components is None:
        fields |= {"family": "lossless", "rounding": "round"}
    else:
        fields |= {"family": "jpeg", "components": components, "orientation": 1}
        fields |= {"luma_table": (9,) * 64, "chroma_table": (9,) * 64 if colour else None}
    stored = ObservationKind.model_validate(fields)
    ours = kinds_of(PRESETS[name], stored, height=32, width=32)
    predicate = {
        "generator": {"height": 32, "width": 32},
        "protocol": PRESETS[name].to_wire(),
        "accused": {"kind": ours[0].to_wire() if ours else stored.to_wire()},
    }
    if ours:
        assert v.independent.expected_kinds(predicate) == [kind.to_wire() for kind in ours]
    else:
        with pytest.raises(v.independent.RefusedError):
            v.independent.expected_kinds(predicate)


@pytest.mark.parametrize(
    ("stage", "name", "good"),
    [
        ("passing", "excluded", True),
        ("passing", "excluded-ed25519", True),
        ("passing", "excluded-non-ascii-name", True),
        ("signature", "moved-from-reached-to-excluded", False),
        ("signature", "finding-edited-by-a-third-party", False),
        ("signature", "payload-without-pae", False),
        ("signature", "sha-512", False),
        ("signature", "attacker-under-the-trusted-name", False),
    ],
)
def test_the_signature_by_openssl(tmp_path, stage, name, good):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl: apt-get install openssl")
    bundle, key = files(tmp_path, stage, name)
    ran = run("sh", EXAMPLES / "check_signature_with_openssl.sh", bundle, key)
    assert (ran.returncode == 0) is good, ran.stderr
    if good:
        envelope = json.loads(bundle.read_bytes())["dsseEnvelope"]
        assert f"key:     {envelope['signatures'][0]['keyid']}" in ran.stdout
        payload = v.independent.from_base64(envelope["payload"], "payload")
        assert f"payload: {hashlib.sha256(payload).hexdigest()}" in ran.stdout
