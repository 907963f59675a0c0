"""What has to be equal for a comparison to be fair."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping

_MEASURED = re.compile(r"about (\d+(?:\.\d+)?)")
_CLOSE = 0.1  # two launches of the same build differ by less in what they measure

Environment = Mapping[str, str]


def environment(place: str, model: str, machine: Mapping[str, str]) -> dict[str, str]:
    """The environment of a subject at a place; ``machine`` has the fields of the machine it runs on."""
    return {"place": place, "model": model, **machine}


def environment_key(environment: Environment) -> str:
    """A short name of an environment, for a file name."""
    content = json.dumps(dict(environment), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def accelerators(environment: Environment) -> dict[str, int]:
    """How many there are of each, by the name that the driver gives them; empty where none is known."""
    found: dict[str, int] = {}
    for told in filter(None, environment.get("accelerators", "").split(", ")):
        counted = re.fullmatch(r"(\d+) × (.+)", told)
        found[counted[2] if counted else told] = int(counted[1]) if counted else 1
    return found


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """The fields in which two environments or subjects differ, as ``field: this → that``.

    What an engine measured when it started (``about N``) differs only where it is far apart.
    """
    fields = [*one, *(field for field in other if field not in one)]
    return [
        f"{field}: {one.get(field, '(none)')} → {other.get(field, '(none)')}"
        for field in fields
        if one.get(field) != other.get(field) and not _are_close(one.get(field), other.get(field))
    ]


def _are_close(one: str | None, other: str | None) -> bool:
    measured = [_MEASURED.fullmatch(text or "") for text in (one, other)]
    numbers = [float(found[1]) for found in measured if found]
    return len(numbers) == 2 and math.isclose(*numbers, rel_tol=_CLOSE)
