"""Whether a record is a whole one: by its schema, but by hand: a validator is no run-time dependency.

What a record has beside its schema is let be, and most of what it lacks: other releases know more, or less.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.files import LEAVE_OUT, read_json
from pytest_llmperf.keep.record import KIND, VERSION
from pytest_llmperf.keep.schema import schema
from pytest_llmperf.keep.schema_words import Schema

_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "object": ((dict,), "an object"),
    "array": ((list,), "a list"),
    "string": ((str,), "text"),
    "number": ((int, float), "a number"),
    "integer": ((int,), "a whole number"),
    "boolean": ((bool,), "true or false"),
    "null": ((type(None),), "null"),
}
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "": ("started", "tests"),
    "tests[]": ("test", "verdict", "subject", "environment", "points"),
    "tests[].subject": ("text", "fields"),
    "tests[].points[]": ("key", "load", "workload", "runs"),
    "tests[].points[].runs[]": ("launch", "values", "health"),
}
"""What nothing can be made without."""
_INDEX = re.compile(r"\[\d+\]")
_MOST = 60


def read_record(path: Path) -> dict[str, Any]:
    """The record of a session. Raises :class:`StoreError` for what is none, or lacks something."""
    content = read_json(path, KIND, VERSION)
    whole = schema()
    wrong = next(_wrong(content, whole, whole["$defs"], ""), None)
    if wrong is not None:
        raise StoreError(f"{path} is not a whole record: {wrong}; {LEAVE_OUT}")
    return content


def _wrong(value: Any, wanted: Schema, known: Mapping[str, Schema], place: str) -> Iterator[str]:
    """What is not as it has to be, each with its place, as in ``tests[0].points``."""
    if "$ref" in wanted:
        wanted = known[wanted["$ref"].rpartition("/")[2]]
    if (said := _of_itself(value, wanted)) is not None:
        yield f"{place} is {_shown(value)}, not {said}"
    elif isinstance(value, dict):
        named, others = wanted.get("properties", {}), wanted.get("additionalProperties")
        before = f"{place}." if place else ""
        for name in _NEEDED.get(_INDEX.sub("[]", place), ()):
            if name not in value:
                yield f"{before}{name} is missing"
        for name, one in value.items():
            if name in named:
                yield from _wrong(one, named[name], known, f"{before}{name}")
            elif isinstance(others, dict):
                yield from _wrong(one, others, known, f"{before}{_short(name)}")
    elif isinstance(value, list):
        first, rest = wanted.get("prefixItems", []), wanted.get("items")
        if len(value) < wanted.get("minItems", 0):
            yield f"{place} has {len(value)} of {wanted['minItems']} values"
        for index, one in enumerate(value):
            of = first[index] if index < len(first) else rest
            if isinstance(of, dict):
                yield from _wrong(one, of, known, f"{place}[{index}]")


def _of_itself(value: Any, wanted: Schema) -> str | None:
    """What it should be; None: it is."""
    if "const" in wanted:
        return None if value == wanted["const"] else _shown(wanted["const"])
    if "enum" in wanted:
        return None if value in wanted["enum"] else f"one of {', '.join(map(_shown, wanted['enum']))}"
    if "type" not in wanted:
        return None
    types = [wanted["type"]] if isinstance(wanted["type"], str) else wanted["type"]
    if not any(_is(value, name) for name in types):
        return " or ".join(_TYPES[name][1] for name in types)
    if isinstance(value, str) and wanted.get("format") == "date-time" and not _is_time(value):
        return "a time, as in 2026-11-22T14:03:00+00:00"
    return None


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return isinstance(value, _TYPES[name][0])


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return _TYPES["object" if isinstance(value, dict) else "array"][1]
    return _short(json.dumps(value))


def _short(text: str) -> str:
    """Of others, for an error: on one line, nothing that moves a cursor, and not too long."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown if len(shown) <= _MOST else f"{shown[: _MOST - 1]}…"
