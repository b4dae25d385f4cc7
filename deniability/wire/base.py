"""What all wire models share: strict, frozen, camelCase, no floats."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints
from pydantic.alias_generators import to_camel

#: What the two commonest forms look like, as inside a pattern.
SHA256_HEX = "[0-9a-f]{64}"
DECIMAL = r"(0|[1-9]\.[0-9]{5}e(?:\+[0-9]{2}|-(?:0[1-9]|[1-9][0-9])))"

#: Hex sha256, lower case.
Sha256Hex = Annotated[str, StringConstraints(pattern=rf"^{SHA256_HEX}$")]
#: Non-negative integer of any size as a decimal string without leading zeros.
IntegerString = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,77})$")]
#: A non-negative residual or ratio: "0", or d.ddddde±dd, six significant digits.
DecimalString = Annotated[str, StringConstraints(pattern=rf"^{DECIMAL}$")]
#: Any finite decimal number in plain notation, e.g. "-1" or "0.05".
PlainDecimal = Annotated[str, StringConstraints(pattern=r"^-?(0|[1-9][0-9]{0,8})(\.[0-9]{1,12})?$")]
#: Characters that no text may have, as inside brackets of a pattern.
UNPRINTABLE = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
#: One line of printable text.
Text = Annotated[
    str, StringConstraints(min_length=1, max_length=2000, pattern=rf"^[^{UNPRINTABLE}]*$")
]
#: One that has room for every way of handling, or the digests of many models.
LongText = Annotated[
    str, StringConstraints(min_length=1, max_length=8000, pattern=rf"^[^{UNPRINTABLE}]*$")
]


def _existing_time(value: str) -> str:
    datetime.fromisoformat(value)  # a ValueError, such as of February 30th, becomes a refusal
    return value


#: RFC 3339 time, UTC, whole seconds.
Timestamp = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]Z$"),
    AfterValidator(_existing_time),
]


class WireModel(BaseModel):
    """Base of everything that is signed or stored: unknown fields and coercions are errors."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        defer_build=True,  # a command builds the models that it reads, not all there are
    )

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON-ready form: camelCase keys, tuples as lists, `None` left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
