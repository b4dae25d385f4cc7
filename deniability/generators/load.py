"""From a path to a described generator on a device.

A model's files are read once; the bytes that were hashed are the bytes that are opened. Facts come
from flags, then from generator.toml, then from the file itself; all that is still missing is asked
for in one error that shows the generator.toml to write.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from deniability.crypto.digest import FileDigest, sha256_hex
from deniability.errors import CommitmentError, GeneratorError
from deniability.generators import builtin
from deniability.generators.base import Generator
from deniability.generators.builtin import BUILTIN
from deniability.generators.diffusers_decoder import load_decoder
from deniability.generators.folder import read_folder
from deniability.generators.formats import detect_format
from deniability.generators.missing import Facts, missing_error
from deniability.generators.module import LoadedModule, candidates_of_tensors
from deniability.generators.onnx_file import load_onnx
from deniability.generators.options import (
    ModelOptions,
    PartOptions,
    config_path,
    stated_options,
)
from deniability.generators.probe import Probe, check_range, guess_range, probe
from deniability.generators.state_dict import finish, load_tensors, load_with_factory, read_tensors
from deniability.generators.torch_export import load_exported
from deniability.generators.torchscript import load_torchscript
from deniability.wire.files import read_capped
from deniability.wire.generator import DEFAULT_SEED_BITS, GeneratorSpec

__all__ = ["BUILTIN", "ModelOptions", "load_generator"]

_MAX_MODEL_BYTES = 1 << 36


@dataclass(frozen=True)
class _Source:
    """The model's file, or the files of its folder, read once: bytes by name inside the model."""

    path: Path
    files: Mapping[str, bytes]
    options: ModelOptions

    @property
    def is_folder(self) -> bool:
        """A folder has its weights and their description."""
        return len(self.files) > 1

    @property
    def data(self) -> bytes:
        """The bytes of a model that is one file."""
        (data,) = self.files.values()
        return data

    @property
    def where(self) -> str:
        return str(self.path)

    @property
    def config(self) -> Path:
        """The description that exists, or the one to write."""
        if self.is_folder:
            return config_path(self.path) or self.path / "generator.toml"
        return config_path(self.path) or self.path.with_name(f"{self.path.stem}.generator.toml")


def load_generator(
    path: str | Path,
    *,
    device: torch.device,
    options: ModelOptions | None = None,
    fallback: ModelOptions | None = None,
    expected: Collection[str] | None = None,
) -> Generator:
    """Load and describe a generator.

    Loading somebody's model and running it is running their code. The adapters refuse files that
    would execute more than a network merely by being opened; they are no sandbox.

    Args:
        path: the model's file or folder, or "builtin" or "builtin-twin" for the shipped ones.
        device: where it shall live.
        options: what flags state; the rest comes from `<stem>.generator.toml` or `generator.toml`
            beside the model (or in its folder), and from the file.
        fallback: what to take where neither flags nor generator.toml state anything.
        expected: SHA-256 (hex) of the files that may be loaded; None: any. It is the bytes read
            here that are compared, before anything looks into them: a file that was exchanged
            since somebody hashed it is not run.

    Raises:
        CommitmentError: the file is none of `expected`.
        InputError: the file cannot be read.
        GeneratorError: it is not a model, is unsafe to open, lacks facts, or does not do what its
            description says.

    """
    if str(path) in BUILTIN:
        return _load_builtin(twin=BUILTIN[str(path)], device=device, expected=expected)
    source = _read(Path(path), options or ModelOptions(), fallback or ModelOptions())
    for data in source.files.values():
        _check_expected(data, expected, source.where)
    return _generator(source, device)


def _check_expected(data: bytes, expected: Collection[str] | None, where: str) -> None:
    found = sha256_hex(data)
    if expected is not None and found not in expected:
        raise CommitmentError(
            "not the model that was to be loaded",
            where=where,
            expected=" or ".join(sorted(expected))[:300],
            found=found,
            hint="Was the file exchanged meanwhile?",
        )


def read_model(path: Path, flags: ModelOptions) -> tuple[dict[str, bytes], ModelOptions]:
    """Read a model's files, by name, and what flags and generator.toml state of it."""
    source = _read(path, flags, ModelOptions())
    return dict(source.files), source.options


def load_model_bytes(
    path: Path, files: Mapping[str, bytes], options: ModelOptions, device: torch.device
) -> Generator:
    """Load a model from the bytes of its files by name; `path` is where they were read.

    Raises:
        GeneratorError: as `load_generator`.

    """
    return _generator(_Source(path=path, files=files, options=options), device)


def _generator(source: _Source, device: torch.device) -> Generator:
    loaded = _open(source, device)
    found, parts = _settle_inputs(source, loaded, device)
    stated = source.options
    output_range = _settle_range(source, loaded, found)
    facts = Facts(
        parts=parts,
        size=stated.output_size or (found.size if found else None),
        output_range=output_range,
        options=stated,
    )
    if found is None or output_range is None or facts.lacks_prior():
        raise missing_error(facts, model=source.path, config=source.config)
    if stated.output_size is not None and stated.output_size != found.size:
        raise GeneratorError(
            "the model's output has another size than declared",
            where=f"{source.where}: output.size",
            expected=" x ".join(map(str, stated.output_size)),
            found=" x ".join(map(str, found.size)),
        )
    check_range(found, output_range, source.where)
    spec = _spec(source, loaded, parts, found.size, output_range)
    return Generator(
        module=loaded.module,
        forward=loaded.forward,
        spec=spec,
        device=device,
        files=tuple(file_digest(name, data) for name, data in sorted(source.files.items())),
        batching=found.batching,
    )


def _read(path: Path, flags: ModelOptions, fallback: ModelOptions) -> _Source:
    if path.is_dir():
        files = read_folder(path)
    else:
        files = {path.name: read_capped(path, _MAX_MODEL_BYTES, what="model")}
    options = fallback.overridden_by(stated_options(path, flags))
    return _Source(path=path, files=files, options=options)


def file_digest(name: str, data: bytes) -> FileDigest:
    """Return the digest of one file of a model. Raises GeneratorError if its name is no good."""
    try:
        return FileDigest(path=name, size=len(data), sha256=sha256_hex(data))
    except CommitmentError as error:
        raise GeneratorError(
            "the model's file name cannot be recorded",
            where=repr(name),
            hint="Rename it to plain printable characters.",
        ) from error


def _open(source: _Source, device: torch.device) -> LoadedModule:
    """Open the file with the adapter of its format."""
    options = source.options
    if source.is_folder:
        return load_decoder(source.files, where=source.where, device=device)
    kind = detect_format(source.data, source.where)
    if kind == "torchscript":
        return load_torchscript(source.data, where=source.where, device=device)
    if kind == "torch-export":
        return load_exported(source.data, where=source.where, device=device)
    if kind == "onnx":
        return load_onnx(source.data, where=source.where, device=device)
    if options.factory is None:
        tensors, _ = read_tensors(
            source.data, format=kind, where=source.where, key=options.state_dict_key
        )
        guesses = candidates_of_tensors(tensors)
        parts = _merge(guesses[0], options.parts()) if guesses else options.parts()
        facts = Facts(
            parts=parts or options.parts(),
            size=options.output_size,
            output_range=options.output_range,
            options=options,
            needs_factory=True,
        )
        raise missing_error(facts, model=source.path, config=source.config)
    return load_with_factory(
        source.data,
        format=kind,
        where=source.where,
        device=device,
        factory=options.factory,
        key=options.state_dict_key,
        prefix=options.prefix,
    )


def _settle_inputs(
    source: _Source, loaded: LoadedModule, device: torch.device
) -> tuple[Probe | None, tuple[PartOptions, ...]]:
    """Return what the module yields and its inputs; no probe if their shapes cannot be told."""
    stated = tuple(replace(p, prior=p.prior or loaded.prior) for p in source.options.parts())
    if all(part.shape is not None for part in stated) and not loaded.certain:
        return probe(loaded, stated, device=device, where=source.where), stated
    for candidate in loaded.candidates:
        parts = _merge(candidate, stated)
        if parts is None:
            if loaded.certain:
                raise GeneratorError(
                    "the description's latent is not what the file takes",
                    where=f"{source.config}: latent",
                    expected=", ".join(f"{name} {list(shape)}" for name, shape in candidate),
                    found=", ".join(f"{part.name or 'z'} {part.shape}" for part in stated),
                )
            continue
        try:
            return probe(loaded, parts, device=device, where=source.where), parts
        except GeneratorError as error:
            if loaded.certain or not error.what.startswith("the model refuses"):
                raise
    return None, stated


def _settle_range(
    source: _Source, loaded: LoadedModule, found: Probe | None
) -> tuple[str, str] | None:
    stated, known = source.options.output_range, loaded.output_range
    if stated and known and tuple(map(float, stated)) != tuple(map(float, known)):
        raise GeneratorError(
            "the description's output range is not that of this kind of model",
            where=f"{source.config}: output.range",
            expected=f"[{known[0]}, {known[1]}]",
            found=f"[{stated[0]}, {stated[1]}]",
        )
    return stated or known or (guess_range(found) if found else None)


def _merge(
    inputs: tuple[tuple[str, tuple[int, ...]], ...], stated: tuple[PartOptions, ...]
) -> tuple[PartOptions, ...] | None:
    """Fill the names and shapes of `inputs` into what was stated; None if the two contradict."""
    if len(stated) == 1 and len(inputs) > 1 and stated[0].shape is None and stated[0].name is None:
        stated = stated * len(inputs)
    if len(stated) != len(inputs):
        return None
    parts = []
    for (name, shape), part in zip(inputs, stated, strict=True):
        if part.classes is not None:  # what the file says of it is checked by running it
            parts.append(replace(part, name=part.name or name))
            continue
        if part.shape not in {None, shape}:
            return None
        parts.append(replace(part, name=part.name or name, shape=shape))
    return tuple(parts)


def _spec(
    source: _Source,
    loaded: LoadedModule,
    parts: tuple[PartOptions, ...],
    size: tuple[int, int, int],
    output_range: tuple[str, str],
) -> GeneratorSpec:
    """Put the settled facts into the form that is registered."""
    options = source.options
    entropy = options.entropy_source or "torch-cpu"
    latent = []
    for part in parts:
        entry: dict[str, Any] = {
            "name": part.name or "z",
            "shape": part.shape,
            "prior": part.prior,
            "low": part.low,
            "high": part.high,
            "classes": part.classes,
            "encoding": part.encoding,
        }
        latent.append(entry)
    try:
        return GeneratorSpec.model_validate(
            {
                "latent": latent,
                "channels": size[0],
                "height": size[1],
                "width": size[2],
                "output_range": output_range,
                "rounding": options.rounding or "round",
                "entropy": {
                    "source": entropy,
                    "seed_bits": options.seed_bits or DEFAULT_SEED_BITS.get(entropy, 64),
                },
                "format": loaded.format,
                "factory": loaded.factory,
                "state_dict_key": loaded.state_dict_key,
                "prefix": loaded.prefix,
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise GeneratorError(
            "the model's description does not hold together",
            where=f"{source.config}: {'.'.join(map(str, first['loc']))}".rstrip(": "),
            found=first["msg"],
        ) from error


def _load_builtin(
    *, twin: bool, device: torch.device, expected: Collection[str] | None
) -> Generator:
    from deniability.generators.builtin.network import (  # noqa: PLC0415 -- only when asked for
        LATENT_DIMENSION,
        PICTURE_SHAPE,
        FashionGenerator,
    )

    path = builtin.weights_path(twin=twin)
    data = read_capped(path, _MAX_MODEL_BYTES, what="built-in model")
    _check_expected(data, expected, str(path))
    tensors, _ = read_tensors(data, format="safetensors", where=str(path))
    module = FashionGenerator()
    load_tensors(module, tensors, prefix=None, where=str(path))
    loaded = finish(module, format="builtin", device=device)
    channels, height, width = PICTURE_SHAPE
    spec = GeneratorSpec.model_validate(
        {
            "latent": [{"name": "z", "shape": (LATENT_DIMENSION,), "prior": "normal"}],
            "channels": channels,
            "height": height,
            "width": width,
            "output_range": ("-1", "1"),
            "rounding": "round",
            "entropy": {"source": "shake256", "seed_bits": 64},
            "format": "builtin",
        }
    )
    return Generator(
        module=loaded.module,
        forward=loaded.forward,
        spec=spec,
        device=device,
        files=(file_digest(path.name, data),),
    )
