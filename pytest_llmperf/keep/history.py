"""What a session adds to the history: of each test, side, load point and metric the values of its
launches."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.values import Values, middle, read_values, rounded_values

KIND, VERSION = "llmperf_history", 1
CANDIDATE, BASE = "candidate", "base"
SIDES = (CANDIDATE, BASE)

Fields = Mapping[str, str]


@dataclass(frozen=True)
class Result:
    """What one side of a test came to: by load point and metric one value for each launch, and how badly the
    launch's requests know it (0 for what is not over requests)."""

    test: str
    side: str
    verdict: str
    subject_text: str
    subject: Fields
    environment: Fields
    points: Values
    uncertainty: Values


@dataclass(frozen=True)
class Session:
    """One session. ``id`` is the same however its record is copied; ``started`` is in UTC; ``commit`` is
    that of the repository that the tests are in (empty: none), ``is_changed`` whether there was more than
    that commit in it; ``record`` is where the record was written to."""

    id: str
    started: datetime
    status: str
    commit: str
    is_changed: bool
    record: str
    results: Sequence[Result]

    def as_json(self) -> dict[str, Any]:
        """As an object of a directory has it, with each subject and environment once."""
        fields: dict[str, Fields] = {}

        def key(of: Fields) -> str:
            fields[name := fields_key(of)] = dict(of)
            return name

        results = [
            {
                "test": one.test,
                "side": one.side,
                "verdict": one.verdict,
                "subject_text": one.subject_text,
                "subject": key(one.subject),
                "environment": key(one.environment),
                "points": rounded_values(one.points),
                "uncertainty": rounded_values(one.uncertainty),
            }
            for one in self.results
        ]
        return {
            KIND: VERSION,
            "id": self.id,
            "started": self.started.isoformat(),
            "status": self.status,
            "commit": self.commit,
            "changed": self.is_changed,
            "record": self.record,
            "fields": fields,
            "results": results,
        }

    @classmethod
    def read(cls, content: Mapping[str, Any], name: str) -> Session:
        """The opposite. Raises :class:`StoreError` for what is damaged; ``name`` says where it came from."""
        try:
            fields = {str(key): texts(one) for key, one in content["fields"].items()}
            results = [
                Result(
                    test=str(one["test"]),
                    side=str(one["side"]),
                    verdict=str(one["verdict"]),
                    subject_text=str(one["subject_text"]),
                    subject=fields[one["subject"]],
                    environment=fields[one["environment"]],
                    points=read_values(one["points"]),
                    uncertainty=read_values(one["uncertainty"]),
                )
                for one in content["results"]
            ]
            return cls(
                id=str(content["id"]),
                started=read_time(content["started"]),
                status=str(content["status"]),
                commit=str(content["commit"]),
                is_changed=bool(content["changed"]),
                record=str(content["record"]),
                results=results,
            )
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise StoreError(f"{name} is damaged: {type(error).__name__}: {error}") from None


@dataclass(frozen=True)
class Known:
    """A test of the history: how many sessions measured it, and when the last one did."""

    test: str
    sessions: int
    last: datetime


class History(Protocol):
    """Sessions, oldest first, wherever they are kept. All raise :class:`StoreError`."""

    @property
    def name(self) -> str:
        """How it is called in messages."""
        ...

    def add(self, session: Session) -> bool:
        """Keep it; False if it is there already, which changes nothing."""
        ...

    def tests(self) -> list[Known]:
        """By name."""
        ...

    def read(self, test: str | None = None, newest: int | None = None) -> list[Session]:
        """With the results of one test, those that have some, or with all; of these the newest, if it is
        said how many."""
        ...

    def prune(self, before: datetime | None = None, keep: int | None = None) -> int:
        """Forget what started before that time, and all but the newest so many; how many sessions that
        were."""
        ...


def fields_key(fields: Fields) -> str:
    """A short name of a subject or an environment."""
    return hashlib.sha256(json.dumps(dict(fields), sort_keys=True).encode()).hexdigest()[:16]


def texts(value: Any) -> dict[str, str]:
    return {str(name): str(text) for name, text in value.items()}


def read_time(text: Any) -> datetime:
    """A time in UTC, which one without a zone is taken to be in. Raises ValueError or TypeError."""
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def session_of(record: Mapping[str, Any], path: str) -> Session:
    """What a record adds, which lies at ``path``. Raises :class:`StoreError` for one that lacks something."""
    try:
        repository = record.get("repository") or {}
        return Session(
            id=_identity(record),
            started=read_time(record["started"]),
            status=str(record.get("status", "complete")),
            commit=str(repository.get("commit", "")),
            is_changed=bool(repository.get("changed", False)),
            record=path,
            results=[one for entry in record["tests"] for one in _results(entry) if one.points],
        )
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
        raise StoreError(f"{path} is damaged: {type(error).__name__}: {error}") from None


def _identity(record: Mapping[str, Any]) -> str:
    """The name that the session gave itself; of a record from before there were such names, what is in it."""
    if named := record.get("id"):
        return str(named)
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]


def _results(entry: Mapping[str, Any]) -> Iterator[Result]:
    environment, beside = texts(entry["environment"]), entry.get("compared_with") or {}
    subject = entry["subject"]
    said = [(CANDIDATE, subject["text"], subject["fields"], "runs")]
    if beside.get("kind") == "side by side":
        said.append((BASE, beside["text"], beside["fields"], "base_runs"))
    for side, text, fields, runs in said:
        points: dict[str, dict[str, list[float]]] = {}
        uncertainty: dict[str, dict[str, list[float]]] = {}
        for point in entry["points"]:
            for metric, values, unknown in _launches(point.get(runs) or []):
                points.setdefault(str(point["key"]), {})[metric] = values
                uncertainty.setdefault(str(point["key"]), {})[metric] = unknown
        verdict = str(entry["verdict"])
        yield Result(entry["test"], side, verdict, str(text), texts(fields), environment, points, uncertainty)


def _launches(runs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[float], list[float]]]:
    """Of each metric the mean of each launch over its valid runs, and how badly they know it."""
    found: dict[str, dict[int, list[tuple[float, float]]]] = {}
    for run in runs:
        if not run["health"]["problems"]:
            for metric, value in run["values"].items():
                known = float(run.get("uncertainty", {}).get(metric, 0.0))
                known = known if math.isfinite(known) else 0.0  # not known; a reader would refuse it
                found.setdefault(metric, {}).setdefault(run["launch"], []).append((float(value), known))
    for metric, launches in found.items():
        values = [middle([value for value, _ in some]) for some in launches.values()]
        unknown = [math.hypot(*(known for _, known in some)) / len(some) for some in launches.values()]
        if all(map(math.isfinite, values)) and min(values) >= 0:
            yield metric, values, unknown
