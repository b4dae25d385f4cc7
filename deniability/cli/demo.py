"""`deny demo`: the whole story on the built-in generator."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(name: Annotated[str, typer.Option()] = "x") -> None:
    """TODO."""
