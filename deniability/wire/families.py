"""Which families of handling a protocol has searched for a given file."""

from __future__ import annotations

from collections.abc import Sequence

from deniability.wire.edits import EditName, HandlingName, edits_that_apply
from deniability.wire.exclusion import HandledSearch
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import Protocol


def kinds_of(
    protocol: Protocol,
    stored: ObservationKind,
    *,
    height: int,
    width: int,
    only: Sequence[HandlingName] | None = None,
) -> tuple[ObservationKind, ...]:
    """Return the kinds of a file, in order; the first is that of the predicate's own fields.

    Args:
        protocol: the preset.
        stored: the file's kind, whatever its size, as of an unedited output.
        height: of the model's outputs.
        width: of the model's outputs.
        only: what a user narrowed the search to; None for all of the preset.

    Returns:
        Unedited, if the file has the model's size; then each edit that applies. None for a file of
        another size under a preset without edits for it.

    """
    model = (height, width)
    colour = stored.model_channels == 3
    edits = edits_that_apply(
        protocol.edits or (),
        model=model,
        file=stored.file_size,
        colour=colour,
        family=stored.family,
    )
    unedited: list[EditName | None] = [None] if stored.file_size == model else []
    return tuple(
        stored.edited(name, height=height, width=width)
        for name in (*unedited, *edits)
        if only is None or (name or "unedited") in only
    )


def edits_of(handled: Sequence[HandledSearch]) -> tuple[EditName, ...]:
    """Return the edits of further families, in order."""
    kinds = [one.controls.kind for one in handled]
    return tuple(kind.edit for kind in kinds if kind.edit is not None)


def family_name(kind: ObservationKind) -> str:
    """Return the name of a family: of its edit, or of the way that outputs are stored."""
    if kind.edit is not None:
        return kind.edit
    if kind.family == "lossless":
        return "lossless"
    sampling = (kind.components or "").removeprefix("ycc")
    return f"saved-jpeg-{kind.quality or 0}-{sampling}"
