"""Options that several commands share, and the flags that describe a model."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deniability.cli.failure import UsageError

if TYPE_CHECKING:
    import torch

    from deniability.generators.options import ModelOptions
    from deniability.inversion.executor import Executor


class Device(StrEnum):
    """Where the model runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class ExecutorName(StrEnum):
    """Who does the search."""

    LOCAL = "local"
    RAY = "ray"


Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Only the result: no notes, no progress.")
]
DeviceOption = Annotated[
    Device, typer.Option("--device", help="Where the model runs; auto: a GPU if there is one.")
]
ExecutorOption = Annotated[
    ExecutorName,
    typer.Option("--executor", help="Who searches: this process, or the workers of a Ray cluster."),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        help="Of a running Ray cluster, such as auto or HOST:6379; default: one on this machine.",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]
Force = Annotated[
    bool, typer.Option("--force", help="Replace a file of the same kind that is there already.")
]
SigningKey = Annotated[
    Path | None,
    typer.Option("--key", help="Private key to sign with; default: the one that deny keygen made."),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="Frozen rules of search and decision: handled-standard-v3 (default) or "
        "handled-quick-v3, which also search for edited outputs; pristine-quick-v3, "
        "pristine-standard-v3 or pristine-strict-v3, which do not. Earlier versions are as they "
        "were.",
    ),
]

_PANEL = "What the model is, where generator.toml and the file do not say it"
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,8})(\.[0-9]{1,12})?")


@dataclass(frozen=True)
class ModelFlags:
    """What flags say of a model; they override generator.toml. None: not said."""

    latent_shape: Annotated[
        str | None, typer.Option(help="Shape of the latent without the batch axis: 100,1,1.")
    ] = None
    prior: Annotated[str | None, typer.Option(help="Prior of the latent: normal or uniform.")] = (
        None
    )
    low: Annotated[str | None, typer.Option(help="Lower end of a uniform prior.")] = None
    high: Annotated[str | None, typer.Option(help="Upper end of a uniform prior.")] = None
    range: Annotated[str | None, typer.Option(help="Range of the model's output: 0,1 or -1,1.")] = (
        None
    )
    size: Annotated[
        str | None, typer.Option(help="Channels, height, width of the output: 3,64,64.")
    ] = None
    rounding: Annotated[
        str | None, typer.Option(help="How the service makes 8-bit pixels: round or truncate.")
    ] = None
    entropy_source: Annotated[
        str | None,
        typer.Option(help="How seeds become latents: torch-cpu, numpy-randomstate or shake256."),
    ] = None
    seed_bits: Annotated[int | None, typer.Option(help="How many bits a seed has.")] = None
    factory: Annotated[
        str | None,
        typer.Option(help="package.module:callable that builds the network of a state dict."),
    ] = None
    state_dict_key: Annotated[
        str | None, typer.Option(help="Entry of the file that holds the state dict.")
    ] = None
    prefix: Annotated[
        str | None, typer.Option(help="Prefix of the weights' names to take away.")
    ] = None

    def options(self) -> ModelOptions:
        """Parse the flags.

        Raises:
            UsageError: one of them is not what it should be.

        """
        from deniability.generators.options import ModelOptions  # noqa: PLC0415

        return ModelOptions(
            latent_shape=None if self.latent_shape is None else _integers(self, "latent_shape"),
            prior=_choice(self, "prior", "normal", "uniform"),
            low=_decimal("--low", self.low),
            high=_decimal("--high", self.high),
            output_range=_range(self.range),
            output_size=_size(self),
            rounding=_choice(self, "rounding", "round", "truncate"),
            entropy_source=_choice(
                self, "entropy_source", "torch-cpu", "numpy-randomstate", "shake256"
            ),
            seed_bits=self.seed_bits,
            factory=self.factory or None,
            state_dict_key=self.state_dict_key or None,
            prefix=self.prefix or None,
        )


def with_model_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of `ModelFlags`; it gets them as `flags`."""
    names = [field.name for field in fields(ModelFlags)]
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.name != "flags"]
    hints = inspect.get_annotations(ModelFlags, eval_str=True)
    added = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_panelled(hints[name])
        )
        for name in names
    ]

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        flags = ModelFlags(**{name: given.pop(name) for name in names})
        command(**given, flags=flags)

    keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    parameters = [*keyword_only, *added]
    wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper


def _panelled(annotation: Any) -> Any:
    for extra in annotation.__metadata__:
        extra.rich_help_panel = _PANEL
    return annotation


def choose_device(device: Device) -> torch.device:
    """Return the device to run on, chosen once, with full float32 precision set.

    Raises:
        UsageError: a GPU is asked for and there is none.

    """
    import torch  # noqa: PLC0415 - slow

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    available = torch.cuda.is_available()
    if device is Device.CUDA and not available:
        raise UsageError(
            "there is no GPU that torch can use",
            where="--device",
            found="cuda",
            hint="Use --device cpu, or install a build of torch for your GPU.",
        )
    return torch.device("cuda" if available and device is not Device.CPU else "cpu")


@contextlib.contextmanager
def open_executor(
    name: ExecutorName, address: str | None, model: str, options: ModelOptions
) -> Iterator[Executor]:
    """Yield who does the search; a cluster that it begins ends with the context.

    Raises:
        UsageError: an address without Ray.
        InputError: Ray is not installed.

    """
    if name is ExecutorName.LOCAL:
        if address is not None:
            raise UsageError(
                "an address of a cluster that is not used",
                where="--ray-address",
                found=address,
                hint="Add --executor ray.",
            )
        from deniability.inversion.executor import LocalExecutor  # noqa: PLC0415

        yield LocalExecutor()
        return
    from deniability.inversion.ray_executor import RayExecutor  # noqa: PLC0415

    with RayExecutor(model, options, address=address) as executor:
        yield executor


def _wrong(name: str, expected: str, found: str) -> UsageError:
    option = "--" + name.replace("_", "-")
    return UsageError("not a value of this option", where=option, expected=expected, found=found)


def _choice(flags: ModelFlags, name: str, *choices: str) -> str | None:
    value: str | None = getattr(flags, name)
    if value is not None and value not in choices:
        raise _wrong(name, " or ".join(choices), value)
    return value


def _integers(flags: ModelFlags, name: str) -> tuple[int, ...]:
    text = getattr(flags, name)
    parts = text.strip("[]() ").replace("x", ",").split(",")
    if not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
        raise _wrong(name, "whole numbers such as 100,1,1", text)
    numbers = tuple(int(part) for part in parts if len(part.strip()) <= 7)
    if len(numbers) != len(parts) or len(parts) > 8 or not all(1 <= n <= 1 << 20 for n in numbers):
        raise _wrong(name, "at most 8 whole numbers from 1 to 1048576", text)
    return numbers


def _size(flags: ModelFlags) -> tuple[int, int, int] | None:
    if flags.size is None:
        return None
    numbers = _integers(flags, "size")
    if len(numbers) != 3 or numbers[0] not in {1, 3}:
        raise _wrong("size", "channels (1 or 3), height, width such as 3,64,64", flags.size)
    return (numbers[0], numbers[1], numbers[2])


def _decimal(option: str, text: str | None) -> str | None:
    if text is not None and not _DECIMAL.fullmatch(text):
        raise _wrong(option.removeprefix("--"), "a plain number such as -1 or 0.5", text)
    return text


def _range(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.strip("[]() ").split(",")]
    if len(parts) != 2 or not all(_DECIMAL.fullmatch(part) for part in parts):
        raise _wrong("range", "two plain numbers such as -1,1", text)
    if float(parts[0]) >= float(parts[1]):
        raise _wrong("range", "a rising pair such as -1,1", text)
    return (parts[0], parts[1])
