"""The one error that asks for everything a model's file does not say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from deniability.errors import GeneratorError
from deniability.generators.options import ModelOptions, PartOptions
from deniability.wire.generator import DEFAULT_SEED_BITS


@dataclass(frozen=True)
class Facts:
    """What is known of a model; None: not known.

    Attributes:
        parts: its inputs.
        size: channels, height, width.
        output_range: of its numbers.
        options: what was stated.
        needs_factory: the file holds weights alone and no factory was named.

    """

    parts: tuple[PartOptions, ...] | None
    size: tuple[int, int, int] | None
    output_range: tuple[str, str] | None
    options: ModelOptions
    needs_factory: bool = False

    def lacks_prior(self) -> bool:
        """Tell whether the distribution of some input is unknown."""
        return any(_lacks_prior(part) for part in self.parts or (PartOptions(),))

    def missing(self) -> list[str]:
        """Name every fact that must be stated."""
        parts = self.parts or (PartOptions(),)
        names = []
        if self.needs_factory:
            names.append("the factory that builds the network (model.factory)")
        # Without the network, a shape read off the weights is only a suggestion.
        if any(part.shape is None for part in parts):
            names.append("the latent's shape (latent.shape)")
        if self.lacks_prior():
            names.append("the latent's prior (latent.prior)")
        if self.output_range is None and not self.needs_factory:
            names.append("the range of the output (output.range)")
        return names


def missing_error(facts: Facts, *, model: Path, config: Path) -> GeneratorError:
    """Return the error that asks for all missing facts at once, with a file ready to paste."""
    return GeneratorError(
        "the model's file does not say " + _joined(facts.missing()),
        where=str(model),
        hint=f"State it in {config}, for example:\n\n{example_config(facts)}",
    )


def example_config(facts: Facts) -> str:
    """Return a generator.toml of what is known, with a likely value for what is not."""
    parts = facts.parts or (PartOptions(),)
    options = facts.options
    lines = []
    for part in parts:
        lines.append("[latent]" if len(parts) == 1 else "[[latent]]")
        if len(parts) > 1:
            lines.append(f'name = "{part.name}"')
        if part.classes is not None:
            stated_label = (
                f'prior = "label"\nclasses = {part.classes}\nencoding = "{part.encoding}"'
            )
            lines += [stated_label, ""]
            continue
        lines += [_shape(part), _prior(part)]
        if part.prior == "uniform":
            lines += [f"low = {part.low or -1}", f"high = {part.high or 1}"]
        lines.append("")
    low, high = facts.output_range or ("-1", "1")
    note = "" if facts.output_range else "   # check: what the last layer yields, e.g. tanh"
    lines += ["[output]", f"range = [{low}, {high}]{note}"]
    if facts.size:
        lines.append(f"size = [{', '.join(map(str, facts.size))}]")
    rounding = options.rounding or "round"
    lines += [f'rounding = "{rounding}"   # or "truncate": how the service makes bytes', ""]
    source = options.entropy_source or "torch-cpu"
    bits = options.seed_bits or DEFAULT_SEED_BITS.get(source, 64)
    lines += ["[entropy]", f'source = "{source}"', f"seed_bits = {bits}"]
    stated = [
        # A JSON string is a TOML string too.
        f"{name} = {json.dumps(value)}"
        for name, value in (
            ("factory", options.factory),
            ("state_dict_key", options.state_dict_key),
            ("prefix", options.prefix),
        )
        if value is not None
    ]
    if facts.needs_factory:
        stated.insert(0, 'factory = "package.module:callable"   # builds the network')
    if stated:
        lines += ["", "[model]", *stated]
    return "\n".join(lines) + "\n"


def _joined(names: list[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]


def _lacks_prior(part: PartOptions) -> bool:
    if part.prior == "uniform":
        return part.low is None or part.high is None
    return part.prior is None


def _shape(part: PartOptions) -> str:
    if part.shape is None:
        return "shape = [100, 1, 1]   # check: one latent, without the batch axis"
    return f"shape = [{', '.join(map(str, part.shape))}]"


def _prior(part: PartOptions) -> str:
    if part.prior is None:
        return 'prior = "normal"   # check: or "uniform", with low and high'
    return f'prior = "{part.prior}"'
