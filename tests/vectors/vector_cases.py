"""The registry of vectors: each is a function that returns the bundle's bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vector_parts import KEY

#: Vectors of these prefixes differ from one another in a word: kept by digest, to save space.
BY_DIGEST = (
    "protocol-",
    "number-",
    "residual-",
    "name-",
    "base64-",
    "payload-type-",
    "finding-of-",
    "binding-",
    "attribution-",
    "evaluation-",
)

#: Where a vector is refused, in order of the steps; `passing` is not.
STAGES = (
    "passing",
    "parse",
    "timestamp",
    "trust",
    "signature",
    "statement",
    "commitment",
    "statistics",
)


@dataclass(frozen=True)
class Case:
    """A vector.

    Attributes:
        stage: that must refuse it.
        name: of its folder.
        about: what it is, for its README.
        build: makes the bundle.
        keys: whom the verifier trusts.
        says: words that the refusal has to contain, such as the field's name.
        roots: certificates (PEM) of the timestamp authorities that the verifier knows.
        stored: whether the bundle is kept as a file, or only its digest.

    """

    stage: str
    name: str
    about: str
    build: Callable[[], bytes]
    keys: tuple[Any, ...]
    says: str
    stored: bool
    roots: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """Exit code of `deny verify`."""
        return {"passing": 0, "parse": 4, "trust": 4}.get(self.stage, 3)


CASES: dict[tuple[str, str], Case] = {}


def case(
    stage: str,
    name: str,
    about: str,
    *,
    keys: tuple[Any, ...] = (KEY,),
    says: str = "",
    stored: bool = True,
    roots: tuple[str, ...] = (),
) -> Callable[[Callable[[], bytes]], Callable[[], bytes]]:
    """Register what the decorated function builds."""
    assert stage in STAGES
    assert (stage, name) not in CASES, (stage, name)

    kept = stored and not (stage != "passing" and name.startswith(BY_DIGEST))

    def register(build: Callable[[], bytes]) -> Callable[[], bytes]:
        CASES[stage, name] = Case(stage, name, about, build, keys, says, kept, roots)
        return build

    return register


def add(stage: str, name: str, about: str, build: Callable[[], bytes], **options: Any) -> None:
    """Register a vector made in a loop."""
    case(stage, name, about, **options)(build)
