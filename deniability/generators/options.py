"""What the local user says of a model: `generator.toml` beside it, and flags.

[latent]                      # or several [[latent]] with a name each, in the order of forward
shape = [100, 1, 1]
prior = "normal"              # or "uniform" with low and high, or "label" with
                              # classes = 10, encoding = "index" or "one-hot", and no shape
[output]
range = [-1, 1]
size = [3, 64, 64]
rounding = "round"            # or "truncate"
[entropy]
source = "torch-cpu"          # or "numpy-randomstate", "shake256"
seed_bits = 32
[model]                       # for files of weights alone
factory = "package.module:callable"
state_dict_key = "netG_state_dict"
prefix = "main."
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from deniability.errors import GeneratorError
from deniability.wire.files import read_capped
from deniability.wire.generator import MAX_SEED_BITS, GeneratorSpec

_MAX_CONFIG_BYTES = 1 << 16
_PLAIN_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,8})(\.[0-9]{1,12})?")
_PART_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True)
class PartOptions:
    """One input of the generator as far as it was stated; None: not stated."""

    name: str | None = None
    shape: tuple[int, ...] | None = None
    prior: str | None = None
    low: str | None = None
    high: str | None = None
    classes: int | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class ModelOptions:
    """What was stated about a model; None: not stated.

    `latent` comes from the file. `latent_shape`, `prior`, `low` and `high` are the flags for a
    generator of one input. Decimal numbers are strings in plain notation.
    """

    latent: tuple[PartOptions, ...] | None = None
    latent_shape: tuple[int, ...] | None = None
    prior: str | None = None
    low: str | None = None
    high: str | None = None
    output_range: tuple[str, str] | None = None
    output_size: tuple[int, int, int] | None = None
    rounding: str | None = None
    entropy_source: str | None = None
    seed_bits: int | None = None
    factory: str | None = None
    state_dict_key: str | None = None
    prefix: str | None = None

    def overridden_by(self, flags: ModelOptions) -> ModelOptions:
        """Return these options with everything that `flags` states put instead."""
        stated = {
            field.name: value
            for field in dataclasses.fields(flags)
            if (value := getattr(flags, field.name)) is not None
        }
        return dataclasses.replace(self, **stated)

    def parts(self) -> tuple[PartOptions, ...]:
        """Return the inputs, flags applied; one unstated input if nothing was said.

        Raises GeneratorError if flags are given for a generator of several inputs.
        """
        flags = {
            "shape": self.latent_shape,
            "prior": self.prior,
            "low": self.low,
            "high": self.high,
        }
        stated = {name: value for name, value in flags.items() if value is not None}
        parts = self.latent or (PartOptions(),)
        if not stated:
            return parts
        if len(parts) > 1:
            raise GeneratorError(
                "options describe one latent, but generator.toml lists several",
                where=", ".join(sorted(stated)),
                hint="State shape and prior in the [[latent]] tables instead.",
            )
        return (dataclasses.replace(parts[0], **stated),)  # type: ignore[arg-type]


def config_path(model: Path) -> Path | None:
    """Return the file that describes `model`: its own, else the folder's, else None.

    Of a model that is a folder: the one beside it with its name, else the one in it.
    """
    if model.is_dir():
        whole = model.resolve()
        own, shared = whole.with_name(f"{whole.name}.generator.toml"), model / "generator.toml"
    else:
        own = model.with_name(f"{model.stem}.generator.toml")
        shared = model.with_name("generator.toml")
    return next((path for path in (own, shared) if path.is_file()), None)


def read_config(path: Path) -> ModelOptions:
    """Read a generator.toml. Raises GeneratorError, or InputError if it cannot be read."""
    return parse_config(read_capped(path, _MAX_CONFIG_BYTES, what="model description"), str(path))


def stated_options(path: Path, flags: ModelOptions) -> ModelOptions:
    """Return what the local user states of a model: generator.toml, and flags over it."""
    config = config_path(path)
    return (read_config(config) if config else ModelOptions()).overridden_by(flags)


def described(spec: GeneratorSpec) -> ModelOptions:
    """Return what a bundle says of its model, as if generator.toml said it.

    All but the factory, which is code and comes from the local user alone.
    """
    return ModelOptions(
        latent=tuple(
            PartOptions(
                name=p.name,
                shape=p.shape,
                prior=p.prior,
                low=p.low,
                high=p.high,
                classes=p.classes,
                encoding=p.encoding,
            )
            for p in spec.latent
        ),
        output_range=spec.output_range,
        output_size=(spec.channels, spec.height, spec.width),
        rounding=spec.rounding,
        entropy_source=spec.entropy.source,
        seed_bits=spec.entropy.seed_bits,
        state_dict_key=spec.state_dict_key,
        prefix=spec.prefix,
    )


def parse_config(data: bytes, where: str) -> ModelOptions:
    """Parse the bytes of a generator.toml.

    Raises GeneratorError naming the file, the key, what was expected and what was there.
    """
    try:
        content = tomllib.loads(data.decode(), parse_float=Decimal)
    except (ValueError, RecursionError, ArithmeticError) as error:
        # ValueError covers TOMLDecodeError, UnicodeDecodeError and integers of too many digits.
        raise GeneratorError(
            "not a TOML file", where=where, expected="TOML 1.0 in UTF-8", found=str(error)[:200]
        ) from error
    root = _Table(content, where, "")
    output, entropy, model = (root.table(name) for name in ("output", "entropy", "model"))
    latent = root.tables("latent")
    root.finish()
    source = entropy.choice("source", tuple(MAX_SEED_BITS))
    options = ModelOptions(
        latent=tuple(_part(table, several=len(latent) > 1) for table in latent) or None,
        output_range=output.range("range"),
        output_size=output.size("size"),
        rounding=output.choice("rounding", ("round", "truncate")),
        entropy_source=source,
        seed_bits=entropy.integer("seed_bits", 1, 256),
        factory=model.text("factory"),
        state_dict_key=model.text("state_dict_key"),
        prefix=model.text("prefix"),
    )
    for table in (output, entropy, model):
        table.finish()
    names = [part.name for part in options.latent or ()]
    if len(set(names)) != len(names):
        raise GeneratorError(
            "two [[latent]] tables have the same name", where=f"{where}: latent.name"
        )
    return options


def _part(table: _Table, *, several: bool) -> PartOptions:
    part = PartOptions(
        name=table.text("name"),
        shape=table.shape("shape"),
        prior=table.choice("prior", ("normal", "uniform", "label")),
        low=table.decimal("low"),
        high=table.decimal("high"),
        classes=table.integer("classes", 2, 1 << 20),
        encoding=table.choice("encoding", ("index", "one-hot")),
    )
    table.finish()
    if part.prior == "label":
        part = _label(table, part)
    elif part.classes is not None or part.encoding is not None:
        raise table.wrong("prior", "'label' where classes or encoding are stated", part.prior)
    if several and part.name is None:
        raise table.wrong("name", "a name for each of several [[latent]] tables", None)
    if part.name is not None and not _PART_NAME.fullmatch(part.name):
        raise table.wrong("name", "letters, digits and underscores", part.name)
    return part


def _label(table: _Table, part: PartOptions) -> PartOptions:
    """Return a label's description; it is one number, so its shape need not be stated."""
    if part.classes is None:
        raise table.wrong("classes", "how many classes the label has", None)
    if part.encoding is None:
        raise table.wrong("encoding", "'index' or 'one-hot': how forward takes the label", None)
    if part.shape not in {None, (1,)}:
        raise table.wrong("shape", "none for a label, or [1]", list(part.shape or ()))
    return dataclasses.replace(part, shape=(1,))


class _Table:
    """One table of the file, from which keys are taken by type; what is left over is unknown."""

    def __init__(self, content: dict[str, Any], where: str, path: str) -> None:
        self._content = dict(content)
        self._where = where
        self._path = path
        self._known: list[str] = []

    def wrong(self, key: str, expected: str, found: Any) -> GeneratorError:
        name = f"{self._path}.{key}" if self._path else key
        return GeneratorError(
            "a wrong value in the model description",
            where=f"{self._where}: {name}",
            expected=expected,
            found="nothing" if found is None else _shown(found),
        )

    def finish(self) -> None:
        for key in self._content:
            name = f"{self._path}.{key}" if self._path else key
            raise GeneratorError(
                "an unknown key in the model description",
                where=f"{self._where}: {name!r}"[:300],
                expected="one of " + ", ".join(self._known),
            )

    def table(self, key: str) -> _Table:
        value = self._take(key)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(key, "a table", value)
        return _Table(value or {}, self._where, key)

    def tables(self, key: str) -> list[_Table]:
        value = self._take(key)
        if value is None:
            return []
        values = value if isinstance(value, list) else [value]
        if not 1 <= len(values) <= 16 or not all(isinstance(item, dict) for item in values):
            raise self.wrong(key, "a table, or 1 to 16 tables", value)
        return [_Table(item, self._where, key) for item in values]

    def text(self, key: str) -> str | None:
        value = self._take(key)
        if value is None:
            return None
        if not isinstance(value, str) or not 1 <= len(value) <= 500 or not value.isprintable():
            raise self.wrong(key, "one line of text", value)
        return value

    def choice(self, key: str, choices: tuple[str, ...]) -> str | None:
        value = self._take(key)
        if value is not None and value not in choices:
            raise self.wrong(key, "one of " + ", ".join(map(repr, choices)), value)
        return value  # type: ignore[no-any-return]  # one of the choices

    def integer(self, key: str, low: int, high: int) -> int | None:
        value = self._take(key)
        if value is not None and not _is_integer(value, low, high):
            raise self.wrong(key, f"a whole number from {low} to {high}", value)
        return value  # type: ignore[no-any-return]  # checked to be an integer

    def decimal(self, key: str) -> str | None:
        value = self._take(key)
        if value is None:
            return None
        text = _plain(value)
        if text is None:
            raise self.wrong(key, "a number", value)
        return text

    def shape(self, key: str) -> tuple[int, ...] | None:
        value = self._take(key)
        if value is None:
            return None
        if _is_integer(value, 1, 1 << 20):
            return (value,)
        if (
            not isinstance(value, list)
            or not 1 <= len(value) <= 8
            or not all(_is_integer(axis, 1, 1 << 20) for axis in value)
        ):
            raise self.wrong(key, "a list such as [100, 1, 1], without the batch axis", value)
        return tuple(value)

    def size(self, key: str) -> tuple[int, int, int] | None:
        value = self._take(key)
        if value is None:
            return None
        if (
            not isinstance(value, list)
            or len(value) != 3
            or not all(_is_integer(axis, 1, 16384) for axis in value)
            or value[0] not in {1, 3}
        ):
            raise self.wrong(key, "[channels, height, width] with 1 or 3 channels", value)
        return (value[0], value[1], value[2])

    def range(self, key: str) -> tuple[str, str] | None:
        value = self._take(key)
        if value is None:
            return None
        bounds = [_plain(bound) for bound in value] if isinstance(value, list) else []
        match bounds:
            case [str(low), str(high)] if Decimal(low) < Decimal(high):
                return low, high
        raise self.wrong(key, "two rising numbers such as [-1, 1]", value)

    def _take(self, key: str) -> Any:
        self._known.append(key)
        return self._content.pop(key, None)


def _is_integer(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _plain(value: Any) -> str | None:
    """Return a number as plain decimal text, or None if it is none or needs too many digits."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        return None
    number = Decimal(value)
    if not number.is_finite() or not -12 <= number.adjusted() <= 9:
        return "0" if number.is_zero() else None
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    text = "0" if text in {"-0", ""} else text
    return text if _PLAIN_DECIMAL.fullmatch(text) else None


def _shown(value: Any) -> str:
    """Return a value for a message, short and printable."""
    text = str(value) if isinstance(value, (Decimal, int)) else repr(value)
    return "".join(c if c.isprintable() else " " for c in text)[:200]
