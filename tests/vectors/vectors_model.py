"""Model files that would run code or touch files merely by being opened; none of them may.

Those that must be loaded all the same carry code where nothing looks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import model_parts as m
from file_cases import FileCase, add_file, refused

NORMAL = {"prior": "normal"}
MODEL = "models/model.json"
CONFIG = {"weights": "data/weights/model_weights_config.json"}
CONFIG["constants"] = "data/constants/model_constants_config.json"

no = functools.partial(refused, "generator")


def loaded(
    name: str, about: str, file: str, build: Callable[[], bytes], kind: str, **more: Any
) -> None:
    """Register a file that is opened without harm."""
    expect = {"outcome": "loaded", "format": kind, "options": NORMAL}
    add_file(FileCase("generator", name, about, file, build, expect | more))


def changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[], bytes]:
    """Build the clean `.pt2` with a change of its records."""

    def build() -> bytes:
        records = m.exported()
        change(records)
        return m.archive(m.as_bytes(records))

    return build


# --- state dicts

no(
    "pickle-in-state-dict", "torch.load without weights_only makes the folder `canary`.",
    "model.pt", lambda: m.archive(m.state_dict(m.canary_pickle())), says="not unpickled",
    canary="load",
)  # fmt: skip
for number in (2, 4):
    no(
        f"pickle-bare-protocol-{number}", "A bare pickle, as torch.save wrote before 1.6.",
        "model.pt", functools.partial(m.canary_pickle, protocol=number), says="not unpickled",
        canary="load",
    )  # fmt: skip
no(
    "pickle-bare-protocol-0", "A pickle that is text.", "model.pt",
    functools.partial(m.canary_pickle, protocol=0), says="not a model that can be loaded",
    canary="load",
)  # fmt: skip
no(
    "pickle-whole-module", "A whole module: its class would be imported from the file's word.",
    "model.pt", lambda: m.archive(m.state_dict(b"\x80\x02cantigravity\nNet\n)R.")),
    says="not unpickled",
)  # fmt: skip
no(
    "safetensors-with-a-factory", "A factory named in the file is not imported.",
    "model.safetensors",
    lambda: m.safetensors(
        {
            "__metadata__": {"factory": "antigravity:fly"},
            "w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]},
        },
        bytes(8),
    ),
    says="factory", unimported="antigravity",
)  # fmt: skip
no(
    "safetensors-beyond-its-end", "A tensor that lies behind the end of the file.",
    "model.safetensors",
    lambda: m.safetensors({"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}, bytes(8)),
    says="damaged safetensors",
)  # fmt: skip


# --- TorchScript

loaded(
    "torchscript-clean", "The network of the TorchScript vectors, harmless.", "model.pt",
    lambda: m.archive(m.torchscript("x = torch.tanh(z)")), "torchscript",
    latent=4, options=NORMAL | {"latent_shape": [4], "output_range": ["-4", "4"]},
)  # fmt: skip
no(
    "torchscript-from-file", "Its forward pass makes or overwrites the file `canary`.", "model.pt",
    lambda: m.archive(m.torchscript(f'x = torch.from_file("{m.CANARY}", True, 4)')),
    says="reaches beyond a network", canary="jit",
)  # fmt: skip
no(
    "torchscript-save", "Its forward pass writes the file `canary`.", "model.pt",
    lambda: m.archive(
        m.torchscript(f'x = z\n    _0 = torch.save(z, "{m.CANARY}")')
    ),
    says="reaches beyond a network", canary="jit",
)  # fmt: skip
no(
    "torchscript-pickled-constants", "Constants that are a pickle of code.", "model.pt",
    lambda: m.archive(m.torchscript("x = z") | {"constants.pkl": m.canary_pickle()}),
    says="cannot open",
)  # fmt: skip


# --- torch.export

loaded("exported-clean", "The network of the .pt2 vectors, harmless.", "model.pt2",
       changed(lambda _: None), "torch-export", latent=2)  # fmt: skip


def sample_inputs(records: dict[str, Any]) -> None:
    records["data/sample_inputs/model.pt"] = m.archive(
        m.state_dict(m.canary_pickle()), root="archive/"
    )


loaded(
    "exported-pickled-sample-inputs",
    "torch.export.load unpickles the sample inputs without restriction; here nobody opens them.",
    "model.pt2", changed(sample_inputs), "torch-export", latent=2,
    canary="export",
)  # fmt: skip


def pickled(folder: str, name: str) -> Callable[[dict[str, Any]], None]:
    def change(records: dict[str, Any]) -> None:
        config = records[CONFIG[folder]]["config"]
        next(entry for entry in config.values() if entry["path_name"] == name)["use_pickle"] = True
        records[f"data/{folder}/{name}"] = m.archive(
            m.state_dict(m.canary_pickle()), root="archive/"
        )

    return change


def other_name(name: str) -> Callable[[dict[str, Any]], None]:
    def change(records: dict[str, Any]) -> None:
        next(iter(records[CONFIG["constants"]]["config"].values()))["path_name"] = name
        records[f"data/constants/{name}"] = m.canary_pickle()

    return change


def node(**fields: Any) -> Callable[[dict[str, Any]], None]:
    def change(records: dict[str, Any]) -> None:
        records[MODEL]["graph_module"]["graph"]["nodes"][0] |= fields

    return change


def expression(records: dict[str, Any]) -> None:
    values = records[MODEL]["graph_module"]["graph"]["tensor_values"]
    code = f"__import__('os').mkdir('{m.CANARY}')"
    values["z"]["sizes"][0] = {"as_expr": {"expr_str": code, "hint": None}}


def added(name: str, data: bytes) -> Callable[[dict[str, Any]], None]:
    return lambda records: records.update({name: data})


FROM_FILE = [
    {"name": "filename", "arg": {"as_string": m.CANARY}, "kind": 1},
    {"name": "shared", "arg": {"as_bool": True}, "kind": 2},
    {"name": "size", "arg": {"as_int": 8}, "kind": 2},
]
#: Those that do harm with torch.export.load itself; the others it refuses as well, today.
LIVE = {"pickled-weight", "pickled-constant", "expression", "from-file", "old-layout"}
BEYOND, AS_PICKLE = "something else than tensors", "stored as a pickle"
for case, about, change, words in (
    ("pickled-weight", "A weight that is a pickle.", pickled("weights", "weight_0"), AS_PICKLE),
    ("pickled-constant", "A constant that is a pickle.", pickled("constants", "tensor_0"),
     AS_PICKLE),
    ("custom-object", "A constant that torch would unpickle for its name.",
     other_name("custom_obj_0"), AS_PICKLE),
    ("parent-folder", "A constant of a name that leads out of its folder.",
     other_name("../../weight_0"), AS_PICKLE),
    ("expression", "A size that torch would evaluate as Python.", expression, BEYOND),
    ("from-file", "An operator that overwrites a file.",
     node(target="torch.ops.aten.from_file.default", inputs=FROM_FILE), BEYOND),
    ("python-call", "A call of Python's.",
     node(target="torch.os.mkdir",
          inputs=[{"name": "path", "arg": {"as_string": m.CANARY}, "kind": 1}]), BEYOND),
    ("compiled", "Machine code.", added("data/aotinductor/model/x.wrapper.so", b"\x7fELF"),
     "machine code"),
    ("old-layout", "Weights in one pickle.", added("data/weights/model.pt", m.canary_pickle()),
     "old layout"),
    ("two-models", "A second model.", added("models/other.json", b"{}"), "one model"),
):  # fmt: skip
    known: dict[str, Any] = {"canary": "export"} if case in LIVE else {}
    no(f"exported-{case}", about, "model.pt2", changed(change), says=words, options=NORMAL, **known)


# --- the archive itself


def twice() -> bytes:
    name = "code/__torch__.py"
    records = m.torchscript("x = torch.tanh(z)")
    hostile = m.torchscript(f'x = torch.from_file("{m.CANARY}", True, 4)')[name]
    listed = [(f"model/{k}", v) for k, v in records.items()]
    return m.zipped([*listed, (f"model/{name}", hostile)])


no("archive-record-twice", "Two readers would take another of the two.", "model.pt", twice,
   says="same name")  # fmt: skip
no(
    "archive-record-outside", "A record whose name leads out of the archive's folder.", "model.pt",
    lambda: m.zipped(
        [
            *((f"model/{k}", v) for k, v in m.torchscript("x = torch.tanh(z)").items()),
            (f"../{m.CANARY}", b"x"),
        ]
    ),
    says="outside the archive's folder",
)  # fmt: skip
no("archive-bomb", "A directory that states 2 GiB in a few bytes.", "model.pt",
   lambda: m.grown(m.archive(m.state_dict(b"\x80\x02).")), 1 << 31), says="too large")  # fmt: skip
no("archive-cut", "The second half is missing.", "model.pt",
   lambda: (whole := m.archive(m.torchscript("x = z")))[: len(whole) // 2],
   says="damaged archive")  # fmt: skip
no("git-lfs-pointer", "A pointer instead of the weights.", "model.safetensors",
   lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
   says="Git LFS pointer")  # fmt: skip
