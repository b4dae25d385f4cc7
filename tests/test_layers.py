"""The folder is the architecture: imports point down, and checking a bundle stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "deniability"
#: From the top down; a module imports its own layer and those after it.
LAYERS = (
    "cli",
    "report",
    "evidence",
    "usage",
    "enumeration",
    "inversion",
    "generators",
    "imaging",
    "verify",
    "stats",
    "sandbox",
    "wire",
    "crypto",
    "errors",
)
LIGHT = LAYERS[LAYERS.index("verify") :]
HEAVY = ("torch", "torchvision", "numpy", "PIL", "safetensors", "jpeglib", "matplotlib", "scipy")
MODULES = sorted(PACKAGE.rglob("*.py"))


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source, name, *, is_package):
    """Yield (line, dotted name) for every import statement, wherever it stands.

    That covers imports in functions, under TYPE_CHECKING, relative ones, and calls of
    `import_module` or `__import__` with a literal.
    """
    package = name if is_package else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", None))
            target = node.args[0]
            if called in {"import_module", "__import__"} and isinstance(target, ast.Constant):
                yield node.lineno, str(target.value)


def violations(source, name, *, is_package=False):
    parts = name.split(".")
    layer = parts[1] if len(parts) > 1 else None
    if layer == "__main__":
        layer = "cli"
    if layer is not None and layer not in LAYERS:
        return [f"{name}: no such layer as {layer}"]
    found = []
    for line, target in imported(source, name, is_package=is_package):
        top, _, rest = target.partition(".")
        lower = rest.partition(".")[0]
        if layer in LIGHT and top in HEAVY:
            found.append(f"{name}:{line} imports {top}")
        if top == "deniability" and lower in LAYERS:
            rank = -1 if layer is None else LAYERS.index(layer)
            # The package's own __init__ sits below everything: importing it must stay light.
            if layer is None or LAYERS.index(lower) < rank:
                found.append(f"{name}:{line} imports {lower}, which is above it")
    return found


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_point_down_and_stay_light_below_the_bar(path):
    source = path.read_text("utf-8")
    assert violations(source, module_name(path), is_package=path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("deniability.stats.verdict", "import deniability.verify.bundle"),
        ("deniability.stats.verdict", "from deniability import verify"),
        ("deniability.stats.verdict", "from ..verify import bundle"),
        ("deniability.crypto.keys", "def f():\n    from deniability.wire import files"),
        ("deniability.wire.base", "if TYPE_CHECKING:\n    from deniability.cli import main"),
        ("deniability.verify.bundle", "def f():\n    import numpy as np"),
        ("deniability.verify.bundle", "if TYPE_CHECKING:\n    from torch.nn import Module"),
        ("deniability.verify.bundle", "importlib.import_module('PIL.Image')"),
        ("deniability.errors", "from deniability.crypto import keys"),
        ("deniability.helpers.stuff", ""),
        ("deniability", "from deniability.verify import bundle"),
    ],
)
def test_the_test_itself_sees_every_way_to_import(name, source):
    assert violations(source, name)


def test_what_is_allowed_is_allowed():
    source = "import torch\nfrom deniability.crypto import keys\nfrom . import solver"
    assert violations(source, "deniability.inversion.engine") == []
    assert violations("from deniability.errors import ParseError", "deniability.crypto.dsse") == []


def loaded_after(statement):
    code = f"import sys\n{statement}\nprint('\\n'.join(sorted(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert run.returncode == 0, run.stderr
    return {name.partition(".")[0] for name in run.stdout.split()}


def test_verifying_needs_no_torch_numpy_or_pillow():
    names = [
        name
        for name in map(module_name, MODULES)
        if name.startswith(tuple(f"deniability.{layer}" for layer in LIGHT))
    ]
    assert "deniability.verify.trust" in names
    assert loaded_after("\n".join(f"import {name}" for name in names)).isdisjoint(HEAVY)


def test_importing_the_package_is_light():
    heavy = {*HEAVY, "pydantic", "cryptography", "typer", "rich"}
    assert loaded_after("import deniability").isdisjoint(heavy)
