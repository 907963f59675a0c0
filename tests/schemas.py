"""Whether a record is as its schema says."""

from __future__ import annotations

import functools
from typing import Any

import jsonschema

from pytest_llmperf.keep.schema import schema


@functools.cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema())


def checked(record: dict[str, Any], *added: str) -> dict[str, Any]:
    """The record, if it is, and a hook added nothing but this to it."""
    assert set(record) - set(added) <= set(schema()["properties"])
    wrong = [f"{error.json_path}: {error.message[:300]}" for error in _validator().iter_errors(record)]
    assert not wrong, "\n".join(wrong[:20])
    return record
