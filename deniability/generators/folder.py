"""The files of a model that is a folder, as diffusers writes it: which they are, and their bytes.

    config.json
    diffusion_pytorch_model.safetensors        or, in several shards,
    diffusion_pytorch_model.safetensors.index.json and the shards that it names

A pipeline's folder (`model_index.json`) stands for its part `vae`. Names are relative to the part,
so that it is the same model by whichever folder it is given. Only plain files inside the folder
are read, and nothing that would have to be unpickled.
"""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

from deniability.errors import GeneratorError
from deniability.wire.files import read_capped

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
_PIPELINE, _PART = "model_index.json", "vae"
_MAX_JSON_BYTES = 1 << 22
_MAX_WEIGHTS_BYTES = 1 << 36
_MAX_SHARDS = 1000
_SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}\.safetensors")


def model_paths(folder: Path) -> dict[str, Path]:
    """Return where each file of a model lies, by its name inside the model; reads the index alone.

    Raises as `read_folder`.
    """
    root = _root(folder)
    found = {CONFIG: _plain(root / CONFIG)}
    weights, index = root / WEIGHTS, root / INDEX
    if not _exists(index):
        if not _exists(weights):
            raise _no_weights(root)
        return found | {WEIGHTS: _plain(weights)}
    if _exists(weights):
        raise GeneratorError(
            "the model's folder holds its weights twice",
            where=str(root),
            expected=f"{WEIGHTS}, or {INDEX} and its shards",
            found="both",
            hint="Remove the one that the service does not load.",
        )
    found[INDEX] = _plain(index)
    names = sorted(set(weight_map(_read(index), str(index)).values()))
    return found | {name: _plain(root / name) for name in names}


def read_folder(folder: Path) -> dict[str, bytes]:
    """Read every file of a model once; returns its bytes by its name inside the model.

    Raises:
        InputError: a file cannot be read.
        GeneratorError: it is no such folder, a file is missing, is a link or no plain file, or
            the index names files elsewhere.

    """
    paths = model_paths(folder)
    contents = {name: _read(path) for name, path in paths.items()}
    if INDEX in contents:
        named = {CONFIG, INDEX, *weight_map(contents[INDEX], str(paths[INDEX])).values()}
        if named != set(contents):
            raise GeneratorError(
                "the model's folder changed while it was read", where=str(paths[INDEX])
            )
    return contents


def weight_map(data: bytes, where: str) -> dict[str, str]:
    """Return the shard of each tensor by the bytes of an index. Raises GeneratorError."""
    shards = parse_object(data, where).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise GeneratorError(
            "the index of the weights names no shards",
            where=f"{where}: weight_map",
            expected="names of tensors with the file of each",
            found=type(shards).__name__,
        )
    for shard in shards.values():
        if not isinstance(shard, str) or not _SHARD.fullmatch(shard):
            raise GeneratorError(
                "the index of the weights names a file that cannot be a shard",
                where=f"{where}: weight_map",
                expected="the name of a .safetensors file in the same folder",
                found=repr(shard)[:200],
            )
    if len(set(shards.values())) > _MAX_SHARDS:
        raise GeneratorError("too many shards", where=where, expected=f"{_MAX_SHARDS} at most")
    return shards


def parse_object(data: bytes, where: str) -> dict[str, Any]:
    """Return the JSON object that `data` is; no key twice, no NaN. Raises GeneratorError."""
    try:
        value = json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise GeneratorError(
            "not a JSON file", where=where, expected="a JSON object", found=str(error)[:200]
        ) from error
    if not isinstance(value, dict):
        raise GeneratorError(
            "not a JSON object", where=where, expected="an object", found=type(value).__name__
        )
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _root(folder: Path) -> Path:
    """Return the folder of the decoder: this one, or the part of a pipeline."""
    if _exists(folder / CONFIG):
        return folder
    part = folder / _PART
    if not _exists(folder / _PIPELINE) or not _exists(part):
        raise GeneratorError(
            "a folder that is no model that can be loaded",
            where=str(folder),
            expected=f"the folder of an AutoencoderKL of diffusers ({CONFIG} and {WEIGHTS}), or "
            f"of a pipeline ({_PIPELINE} and {_PART}/)",
            found=_listed(folder),
            hint="Give the model's file; or export the generator with torch.export.",
        )
    if part.is_symlink():
        raise _link(part)
    return part


def _plain(path: Path) -> Path:
    """Return the path of a plain file. A link could lead anywhere, so it is refused."""
    try:
        mode = path.lstat().st_mode
    except OSError as error:
        raise GeneratorError(
            "a file of the model is missing",
            where=str(path),
            found=error.strerror or type(error).__name__,
        ) from error
    if stat.S_ISLNK(mode):
        raise _link(path)
    if not stat.S_ISREG(mode):
        raise GeneratorError("not a plain file", where=str(path))
    return path


def _read(path: Path) -> bytes:
    limit = _MAX_JSON_BYTES if path.suffix == ".json" else _MAX_WEIGHTS_BYTES
    return read_capped(_plain(path), limit, what="model's file")


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _link(path: Path) -> GeneratorError:
    return GeneratorError(
        "a file of the model is a link, which could lead anywhere",
        where=str(path),
        expected="files inside the model's folder",
        hint="Copy the folder with what the links lead to, as `cp -rL FOLDER COPY` does (the "
        "cache of huggingface_hub consists of links).",
    )


def _no_weights(root: Path) -> GeneratorError:
    return GeneratorError(
        "the model's folder holds no weights that can be loaded",
        where=str(root),
        expected=f"{WEIGHTS}, or {INDEX} and its shards",
        found=_listed(root),
        hint="Files .bin and .ckpt would have to be unpickled, which could run code: write the "
        "model again with save_pretrained(folder, safe_serialization=True). A variant such as "
        f"fp16 is taken under the name {WEIGHTS}.",
    )


def _listed(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())[:8] if folder.is_dir() else []
    text = ", ".join(names) or "an empty folder"
    return "".join(c if c.isprintable() else " " for c in text)[:300]
