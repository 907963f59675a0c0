"""What has to be equal for a comparison to be fair."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

Environment = Mapping[str, str]


def environment(place: str, model: str, machine: Mapping[str, str]) -> dict[str, str]:
    """The environment of a subject at a place; ``machine`` has the fields of the machine it runs on."""
    return {"place": place, "model": model, **machine}


def environment_key(environment: Environment) -> str:
    """A short name of an environment, for a file name."""
    content = json.dumps(dict(environment), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """The fields in which two environments or subjects differ, as ``field: this → that``."""
    fields = [*one, *(field for field in other if field not in one)]
    return [
        f"{field}: {one.get(field, '(none)')} → {other.get(field, '(none)')}"
        for field in fields
        if one.get(field) != other.get(field)
    ]
