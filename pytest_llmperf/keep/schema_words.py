"""How a JSON Schema is written down here: every field with a sentence, and no field beside those."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Schema = dict[str, Any]


def text(about: str) -> Schema:
    return {"type": "string", "description": about}


def number(about: str) -> Schema:
    return {"type": "number", "description": about}


def whole(about: str) -> Schema:
    return {"type": "integer", "description": about}


def flag(about: str) -> Schema:
    return {"type": "boolean", "description": about}


def time(about: str) -> Schema:
    return {"type": "string", "format": "date-time", "description": about}


def one_of(about: str, values: Iterable[str]) -> Schema:
    return {"enum": list(values), "description": about}


def ref(name: str, about: str | None = None) -> Schema:
    """What is written down once, among the definitions."""
    return {"$ref": f"#/$defs/{name}"} | ({"description": about} if about else {})


def null_or(schema: Schema) -> Schema:
    """The same, or nothing."""
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    return {**schema, "type": [*_types(schema), "null"]}


def or_text(schema: Schema) -> Schema:
    """The same, or a string."""
    return {**schema, "type": [*_types(schema), "string"]}


def many(about: str, of: Schema) -> Schema:
    return {"type": "array", "items": of, "description": about}


def mapping(about: str, to: Schema) -> Schema:
    """An object whose keys are not ours."""
    return {"type": "object", "additionalProperties": to, "description": about}


def fields(about: str, always: Mapping[str, Schema], maybe: Mapping[str, Schema] | None = None) -> Schema:
    """An object with fields that it always has, others that it may have, and none beside them."""
    return {
        "type": "object",
        "description": about,
        "properties": {**always, **(maybe or {})},
        "required": list(always),
        "additionalProperties": False,
    }


def table(about: str, columns: Mapping[str, Schema], most: int) -> Schema:
    """Rows with one value for each column, and the names of the columns."""
    row = {
        "type": "array",
        "prefixItems": list(columns.values()),
        "items": False,
        "minItems": len(columns),
    }
    return fields(
        about,
        {
            "columns": {"const": list(columns), "description": "The names of what a row has."},
            "rows": {"type": "array", "items": row, "maxItems": most, "description": "In their order."},
        },
    )


def _types(schema: Schema) -> list[str]:
    types = schema["type"]
    return [types] if isinstance(types, str) else types
