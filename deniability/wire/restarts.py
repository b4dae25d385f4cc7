"""The restarts of one search: a record of each, and the sequence of all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Literal, overload

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

from deniability.crypto.canonical import canonical_json
from deniability.wire.base import DECIMAL, DecimalString, Sha256Hex, WireModel
from deniability.wire.controls import Count
from deniability.wire.numbers import order_of
from deniability.wire.roles import StartKind

StopReason = Literal["reached", "stalled", "exhausted", "nonFinite", "notRun"]

_COUNT = "(0|[1-9][0-9]{0,14})"  # fewer than canonical JSON may have; with more it is read slowly
_DIGEST = '([^"]{64})'  # whether its characters are hex is faster told of all together
# A record as canonical JSON has it: its fields in order, each of a form that it may have.
_RECORD = re.compile(
    rf'(\{{(?:"distance":"{DECIMAL}",)?"index":{_COUNT},"iterations":{_COUNT},'
    rf'(?:"label":{_COUNT},)?(?:"latent":"{_DIGEST}",)?(?:"residual":"{DECIMAL}",)?'
    rf'"seed":"{_DIGEST}","start":"(encoder|encoder-noise|prior|staged)",'
    r'"stop":"(reached|stalled|exhausted|nonFinite|notRun)"\})'
)


class RestartRecord(WireModel):
    """One restart on the accused picture, run or not.

    The fields stand in the order of canonical JSON.

    Attributes:
        distance: mean squared distance of the best latent's output to the decoded values.
        index: 0 … restarts - 1.
        iterations: Jacobians or gradients.
        label: combined label that it tried, absent if not run or if the model takes no label.
        latent: sha256 of the best latent's float32 little-endian bytes.
        residual: mean squared cell residual at that latent, absent if not finite or not run.
        seed: derived.
        start: kind of start latent.
        stop: why it ended.

    """

    distance: DecimalString | None = None
    index: Count
    iterations: Count
    label: Count | None = None
    latent: Sha256Hex | None = None
    residual: DecimalString | None = None
    seed: Sha256Hex
    start: StartKind
    stop: StopReason


@dataclass(frozen=True)
class Columns:
    """The fields of all restarts, each as one sequence, in the order of `RestartRecord`."""

    distance: Sequence[str | None]
    index: Sequence[int]
    iterations: Sequence[int]
    label: Sequence[int | None]
    latent: Sequence[str | None]
    residual: Sequence[str | None]
    seed: Sequence[str]
    start: Sequence[str]
    stop: Sequence[str]


class Restarts(Sequence[RestartRecord]):
    """All restarts of one search, in index order; immutable.

    Of a signed trace, ten thousand records are only made when somebody asks for one: what a
    verifier checks of every restart it checks on the columns.
    """

    def __init__(self, records: Iterable[RestartRecord]) -> None:
        """Take the records."""
        self._records: tuple[RestartRecord, ...] | None = tuple(records)

    @classmethod
    def read(cls, trace: bytes) -> Restarts | None:
        """Read canonical JSON of a list of records; None if it is empty, or not quite that."""
        text = trace.decode("latin-1")
        found = _RECORD.findall(text)
        if not found:
            return None
        leaves, distance, index, iterations, label, latent, residual, seed, start, stop = zip(
            *found, strict=True
        )
        digests = "".join((*latent, *seed)).encode()
        # Nothing else stands before, between or behind them.
        if f"[{','.join(leaves)}]" != text or digests.translate(None, b"0123456789abcdef"):
            return None
        restarts = cls(())
        restarts._records = None
        restarts.leaves = [leaf.encode() for leaf in leaves]
        restarts.columns = Columns(
            [text or None for text in distance],
            [*map(int, index)],
            [*map(int, iterations)],
            [int(number) if number else None for number in label],
            [text or None for text in latent],
            [text or None for text in residual],
            [*seed],
            [*start],
            [*stop],
        )
        return restarts

    @classmethod
    def of(cls, records: Iterable[RestartRecord]) -> Restarts:
        """Return these records as such a sequence, themselves if they are one."""
        return records if isinstance(records, Restarts) else cls(records)

    @property
    def records(self) -> tuple[RestartRecord, ...]:
        """All of them."""
        if self._records is None:
            self._records = tuple(map(RestartRecord.model_validate_json, self.leaves))
        return self._records

    @cached_property
    def leaves(self) -> list[bytes]:
        """Canonical JSON of each record."""
        return [canonical_json(record.to_wire()) for record in self.records]

    @cached_property
    def columns(self) -> Columns:
        """The same, field by field."""
        return Columns(
            *([getattr(record, field.name) for record in self.records] for field in fields(Columns))
        )

    @cached_property
    def orders(self) -> list[tuple[int, str] | None]:
        """Keys by which the residuals sort; None where there is none."""
        return [None if text is None else order_of(text) for text in self.columns.residual]

    def __len__(self) -> int:
        return len(self.leaves if self._records is None else self._records)

    def __iter__(self) -> Iterator[RestartRecord]:
        return iter(self.records)

    @overload
    def __getitem__(self, index: int) -> RestartRecord: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[RestartRecord, ...]: ...
    def __getitem__(self, index: int | slice) -> RestartRecord | tuple[RestartRecord, ...]:
        if self._records is None and isinstance(index, int):
            return RestartRecord.model_validate_json(self.leaves[index])
        return self.records[index]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Restarts):
            return self.records == other.records
        return self.records == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.records)

    def __repr__(self) -> str:
        return f"Restarts({self.records!r})"

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """On the wire it is a list of records."""
        records = handler.generate_schema(tuple[RestartRecord, ...])
        parsed = core_schema.no_info_after_validator_function(cls, records)
        either = core_schema.union_schema([core_schema.is_instance_schema(cls), parsed])
        return core_schema.json_or_python_schema(
            json_schema=parsed,
            python_schema=either,
            serialization=core_schema.wrap_serializer_function_ser_schema(
                lambda restarts, write: write(restarts.records), schema=records
            ),
        )
