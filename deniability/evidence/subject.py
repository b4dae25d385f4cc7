"""The parties of a proof: the model by digests, the machine, the time."""

from __future__ import annotations

import datetime as dt
import platform
from importlib.metadata import version
from typing import get_args

import torch

from deniability import __version__
from deniability.errors import InputError
from deniability.generators.base import Generator
from deniability.wire.controls import DeviceClass
from deniability.wire.registration import Environment, FileDescriptor, ModelDescriptor


def describe_model(generator: Generator) -> ModelDescriptor:
    """Describe a loaded generator by the digests of the very bytes it was loaded from."""
    return ModelDescriptor(
        digest=generator.digest,
        weights=generator.weights_digest,
        files=tuple(
            FileDescriptor(name=f.path, size=f.size, sha256=f.sha256) for f in generator.files
        ),
    )


def describe_environment(device: torch.device) -> Environment:
    """Describe this machine and these versions, for the record."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return Environment(
        deniability=__version__,
        python=platform.python_version(),
        torch=str(torch.__version__),
        numpy=version("numpy"),
        pillow=version("pillow"),
        jpeglib=version("jpeglib"),
        platform=f"{platform.system()} {platform.machine()}",
        device=name,
        threads=torch.get_num_threads(),
    )


def device_class(device: torch.device) -> DeviceClass:
    """Return the class of a device; controls are not borrowed across classes.

    Raises:
        InputError: a kind of device that is not supported.

    """
    for name in get_args(DeviceClass):
        if device.type == name:
            return name  # type: ignore[no-any-return]
    raise InputError(
        "not a supported device",
        where="--device",
        expected=" or ".join(get_args(DeviceClass)),
        found=device.type,
    )


def now() -> str:
    """Return the present time as RFC 3339, UTC, whole seconds."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
