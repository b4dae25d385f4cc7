"""JSON Schemas of the formats, and the presets as data, generated from the wire models.

    python -m deniability.wire.schema schemas

writes what is kept under `schemas/`; a test compares. A schema describes the form only: that a
file is canonical JSON (RFC 8785), and everything that SPEC.md checks beside the form, is not in it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from deniability.wire.attribution import Attribution
from deniability.wire.base import WireModel
from deniability.wire.beacon import Intent
from deniability.wire.binding import Binding
from deniability.wire.chain import CHAIN_TYPE, Chain
from deniability.wire.evaluation import Evaluation
from deniability.wire.exclusion import EXCLUSION_TYPE, Exclusion
from deniability.wire.files import write_atomic
from deniability.wire.generator import GeneratorSpec
from deniability.wire.protocol import DEFAULT_PRESET, ENGINE_VERSION, PRESETS
from deniability.wire.registration import REGISTRATION_TYPE, Registration
from deniability.wire.statement import (
    ATTRIBUTION_TYPE,
    BINDING_TYPE,
    EVALUATION_TYPE,
    SigstoreBundle,
    Statement,
)
from deniability.wire.summary import VerificationSummary
from deniability.wire.withdrawal import WITHDRAWAL_TYPE, Withdrawal

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: File name, identifier and model of each schema.
_MODELS: tuple[tuple[str, str, type[WireModel]], ...] = (
    ("sigstore-bundle", "urn:deniability:schema/sigstore-bundle/v0.3", SigstoreBundle),
    ("statement", "urn:deniability:schema/statement/v1", Statement),
    ("registration", f"{REGISTRATION_TYPE}/schema", Registration),
    ("exclusion", f"{EXCLUSION_TYPE}/schema", Exclusion),
    ("attribution", f"{ATTRIBUTION_TYPE}/schema", Attribution),
    ("binding", f"{BINDING_TYPE}/schema", Binding),
    ("evaluation", f"{EVALUATION_TYPE}/schema", Evaluation),
    ("chain", f"{CHAIN_TYPE}/schema", Chain),
    ("intent", "urn:deniability:schema/intent/v1", Intent),
    ("generator", "urn:deniability:schema/generator/v1", GeneratorSpec),
    (
        "verification-summary",
        "urn:deniability:schema/verification-summary/v1",
        VerificationSummary,
    ),
    ("withdrawal", f"{WITHDRAWAL_TYPE}/schema", Withdrawal),
)


class _Untitled(GenerateJsonSchema):
    """Without a title for each field: it would repeat the field's name."""

    def field_title_should_be_set(self, schema: object) -> bool:
        """Never."""
        del schema
        return False


def schema_files() -> dict[str, bytes]:
    """Return the contents of every generated file by its name."""
    files = {}
    for name, identifier, model in _MODELS:
        schema = model.model_json_schema(by_alias=True, schema_generator=_Untitled)
        files[f"{name}.schema.json"] = _pretty({"$schema": _DIALECT, "$id": identifier, **schema})
    return files | {"presets.json": _pretty(_presets())}


def _presets() -> dict[str, Any]:
    """Every preset with the digest that registrations and bundles carry."""
    return {
        "default": DEFAULT_PRESET,
        "engine": ENGINE_VERSION,
        "presets": [
            {"digest": protocol.digest, "protocol": protocol.to_wire()}
            for protocol in PRESETS.values()
        ],
    }


def _pretty(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def write_schemas(folder: Path) -> None:
    """Write every generated file into an existing folder.

    Raises:
        OutputError: one cannot be written.

    """
    for name, contents in schema_files().items():
        write_atomic(folder / name, contents)


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1] if len(sys.argv) > 1 else "schemas"))
