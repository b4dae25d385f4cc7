"""The decoder of a latent diffusion model, from a folder that diffusers wrote (ADR 0017).

The network is built by package diffusers from the values of `config.json`, and filled strictly
from the bytes that were hashed. Nothing is fetched, unpickled or looked up in a cache. A key of
the configuration that this release does not know is refused, since it may change the pictures.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from deniability.errors import GeneratorError
from deniability.generators.base import last_line
from deniability.generators.folder import CONFIG, INDEX, WEIGHTS, parse_object, weight_map
from deniability.generators.module import Inputs, LoadedModule
from deniability.generators.state_dict import Tensors, read_tensors, some_names

_CLASS = "AutoencoderKL"
#: Names of an attention's layers as written before diffusers 0.15, and those of today.
_RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
#: Bounds of a configuration: what is built before the weights are compared stays small.
_MOST, _MOST_LAYERS, _MOST_BLOCKS = 1 << 16, 64, 16


class LatentDecoder(nn.Module):
    """Latents R x C x h x w, as the diffusion model leaves them, to pictures in [-1, 1].

    Args:
        autoencoder: of diffusers; its encoder is not kept.
        scale: scaling factor, by which latents are divided.
        shift: C x 1 x 1 added afterwards.
        spread: C x 1 x 1 by which latents are multiplied as well.

    """

    def __init__(self, autoencoder: Any, *, scale: float, shift: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.decoder: nn.Module = autoencoder.decoder
        self.post_quant_conv: nn.Module | None = autoencoder.post_quant_conv
        self._scale = scale
        self.register_buffer("shift", shift)
        self.register_buffer("spread", spread)
        for part in self.decoder.modules():
            if isinstance(part, nn.GroupNorm):
                part.register_forward_pre_hook(_contiguous)

    def forward(self, z: Tensor) -> Tensor:
        """Return the pictures R x (1 or 3) x H x W, clipped as pipelines clip them."""
        z = z * self.get_buffer("spread") / self._scale + self.get_buffer("shift")
        if self.post_quant_conv is not None:
            z = self.post_quant_conv(z)
        pictures: Tensor = self.decoder(z)
        return pictures.clamp(-1.0, 1.0)


def load_decoder(files: Mapping[str, bytes], *, where: str, device: torch.device) -> LoadedModule:
    """Build the decoder of a folder.

    Args:
        files: bytes by name inside the model, as `read_folder` gives them.
        where: the folder, for messages.
        device: where the weights go.

    Raises GeneratorError if package `diffusers` is missing, the configuration is of another class
    or unknown to it, or the weights are not exactly those of the network.

    """
    place = f"{where}/{CONFIG}"
    config = parse_object(files[CONFIG], place)
    _check_class(config, place)
    autoencoder = _build(config, _package(where), place)
    tensors = _tensors(files, where)
    _fill(autoencoder, tensors, where)
    channels: int = autoencoder.config.latent_channels
    scale, shift, spread = _normalisation(autoencoder.config, channels, place)
    module: nn.Module = LatentDecoder(autoencoder, scale=scale, shift=shift, spread=spread)
    # Contiguous as they are: between group norms, channels-last costs a tenth and more.
    module = module.eval().requires_grad_(False).to(device=device)
    return LoadedModule(
        module=module,
        forward=module,
        format="diffusers",
        candidates=_candidates(config, channels, len(autoencoder.config.block_out_channels)),
        prior="normal",
        output_range=("-1", "1"),
    )


def _package(where: str) -> Any:
    try:
        from diffusers import AutoencoderKL  # noqa: PLC0415 -- an extra, and slow to import
    except ImportError as error:
        raise GeneratorError(
            "loading a folder of diffusers needs the package diffusers, which is not installed",
            where=where,
            found=last_line(error),
            hint='Install it with pip install "deniability[diffusers]".',
        ) from error
    return AutoencoderKL


def _check_class(config: dict[str, Any], place: str) -> None:
    if config.get("_class_name") != _CLASS:
        raise GeneratorError(
            "the folder holds a model of another class",
            where=f"{place}: _class_name",
            expected=_CLASS,
            found=repr(config.get("_class_name"))[:200],
            hint="Give the pipeline's folder or its vae; export other models with torch.export.",
        )
    if "_use_default_values" in config:
        raise _wrong(place, "_use_default_values", "values that are all stated", "a list")


def _build(config: dict[str, Any], autoencoder: Any, place: str) -> Any:
    """Build the network without storage for its weights, having bounded what that takes."""
    known = set(inspect.signature(autoencoder.__init__).parameters) - {"self"}
    stated = {key: value for key, value in config.items() if not key.startswith("_")}
    for key, value in stated.items():
        if key not in known:
            raise GeneratorError(
                "the configuration has a key that the installed diffusers does not know, and "
                "that may change the pictures",
                where=f"{place}: {key!r}"[:300],
                expected="one of " + ", ".join(sorted(known)),
                hint="Install the release of diffusers that wrote the folder, or a later one.",
            )
        _check_value(key, value, place)
    try:
        with torch.device("meta"):
            return autoencoder.from_config({"_class_name": _CLASS, **stated})
    except Exception as error:
        raise GeneratorError(
            "diffusers cannot build the network of this configuration",
            where=place,
            found=f"{type(error).__name__}: {last_line(error)}",
        ) from error


def _check_value(key: str, value: Any, place: str) -> None:
    most = _MOST_LAYERS if key == "layers_per_block" else _MOST
    values = value if isinstance(value, list) else [value]
    if key.startswith("block_") or key.endswith("_block_types"):
        if not isinstance(value, list) or not 1 <= len(value) <= _MOST_BLOCKS:
            raise _wrong(place, key, f"a list of 1 to {_MOST_BLOCKS}", value)
    elif len(values) > _MOST:
        raise _wrong(place, key, f"at most {_MOST} values", f"{len(values)}")
    for entry in values:
        plain = entry is None or isinstance(entry, str | bool | float)
        if not plain and (not isinstance(entry, int) or not 0 <= entry <= most):
            raise _wrong(place, key, f"text, or numbers up to {most}", entry)


def _tensors(files: Mapping[str, bytes], where: str) -> Tensors:
    """Return all tensors in float32 by name; each shard holds those that the index says."""
    index = weight_map(files[INDEX], f"{where}/{INDEX}") if INDEX in files else None
    shards = [WEIGHTS] if index is None else sorted(set(index.values()))
    found: Tensors = {}
    for shard in shards:
        place = f"{where}/{shard}"
        tensors, _ = read_tensors(files[shard], format="safetensors", where=place)
        if index is not None:
            named = {name for name, file in index.items() if file == shard}
            _compare(named, set(tensors), place, "the shard's tensors are not those of the index")
        for name, tensor in tensors.items():
            if not tensor.is_floating_point():
                raise GeneratorError(
                    "a weight that is no floating-point number",
                    where=f"{place}: {name!r}"[:300],
                    found=str(tensor.dtype),
                )
            found[_today(name)] = tensor.to(torch.float32)
    return found


def _today(name: str) -> str:
    """Return the name that today's attention gives a weight."""
    layer, _, kind = name.rpartition(".")
    head, _, last = layer.rpartition(".")
    if ".attentions." in name and last in _RENAMED:
        return f"{head}.{_RENAMED[last]}.{kind}"
    return name


def _fill(autoencoder: nn.Module, tensors: Tensors, where: str) -> None:
    wanted = autoencoder.state_dict()
    message = "the folder's tensors are not those of the network of its configuration"
    _compare(set(wanted), set(tensors), where, message)
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise GeneratorError(
                message,
                where=f"{where}: {name!r}"[:300],
                expected=" x ".join(map(str, wanted[name].shape)),
                found=" x ".join(map(str, tensor.shape)),
            )
    autoencoder.load_state_dict(tensors, strict=True, assign=True)
    if any(t.is_meta for t in (*autoencoder.parameters(), *autoencoder.buffers())):
        raise GeneratorError("the network has constants that no file holds", where=where)


def _compare(wanted: set[str], found: set[str], where: str, message: str) -> None:
    missing, extra = wanted - found, found - wanted
    if missing or extra:
        raise GeneratorError(
            message,
            where=where,
            expected=some_names("also", missing) if missing else "no others",
            found=some_names("unknown", extra) if extra else f"{len(found)} tensors",
        )


def _normalisation(config: Any, channels: int, place: str) -> tuple[float, Tensor, Tensor]:
    """Return scale, shift and spread: latents z are decoded as z·spread/scale + shift."""
    scale = config.scaling_factor
    if not _is_number(scale) or not scale > 0:
        raise _wrong(place, "scaling_factor", "a number above 0", scale)
    zeros, ones = torch.zeros(channels, 1, 1), torch.ones(channels, 1, 1)
    mean, deviation, shift = config.latents_mean, config.latents_std, config.shift_factor
    if mean is None and deviation is None:
        if shift is not None and not _is_number(shift):
            raise _wrong(place, "shift_factor", "a number", shift)
        return float(scale), zeros + float(shift or 0.0), ones
    if shift is not None:
        raise _wrong(place, "shift_factor", "nothing beside latents_mean and latents_std", shift)
    columns = []
    for key, values in (("latents_mean", mean), ("latents_std", deviation)):
        numbers = list(values) if isinstance(values, list | tuple) else []
        if len(numbers) != channels or not all(map(_is_number, numbers)):
            raise _wrong(place, key, f"{channels} numbers", values)
        columns.append(torch.tensor(numbers, dtype=torch.float32).reshape(channels, 1, 1))
    return float(scale), columns[0], columns[1]


def _candidates(config: dict[str, Any], channels: int, blocks: int) -> tuple[Inputs, ...]:
    """Return the latent of a picture of `sample_size`, if the configuration states it."""
    size = config.get("sample_size")
    sides = size if isinstance(size, list) else [size, size]
    latent = [side // 2 ** (blocks - 1) for side in sides if isinstance(side, int)]
    if len(latent) != 2 or len(sides) != 2 or min(latent) < 1:
        return ()
    return ((("z", (channels, latent[0], latent[1])),),)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _contiguous(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Copy what goes into a group norm: torch pushes batches of tangents through plain ones only.

    Attention leaves its axes transposed. The copy takes tangents along, `.contiguous()` need not.
    """
    return (inputs[0].clone(memory_format=torch.contiguous_format), *inputs[1:])


def _wrong(place: str, key: str, expected: str, found: Any) -> GeneratorError:
    return GeneratorError(
        "a wrong value in the model's configuration",
        where=f"{place}: {key}"[:300],
        expected=expected,
        found=repr(found)[:200],
    )
