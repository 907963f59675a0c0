"""Accepted measurements, one small file for each test and environment, meant to be committed."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.files import WAY_OUT, parse_json, read_json, write_json
from pytest_llmperf.keep.origin import Origin, Origins, read_origins
from pytest_llmperf.keep.past import Past
from pytest_llmperf.keep.values import Values, middle, read_values, rounded_values

KIND, VERSION = "llmperf_baseline", 2
READABLE = (1, VERSION)
MOST_PAST = 20


@dataclass(frozen=True)
class Baseline:
    """What a test once measured: metric values by point, one for each launch, and for those over requests
    how badly the launch's requests know them.

    ``origins`` are of the metrics that were not accepted on purpose last, see :meth:`grown_from`; ``past``
    are the baselines before this one, the first of all and the newest, oldest first. ``explored`` are the
    points that a sweep found by itself, which later sweeps keep to.
    """

    test: str
    accepted: str
    environment: Mapping[str, str]
    subject: Mapping[str, str]
    subject_text: str
    points: Values
    uncertainty: Values = field(default_factory=dict)
    origins: Origins = field(default_factory=dict)
    past: Sequence[Past] = ()
    explored: Sequence[str] = ()

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """Raises :class:`StoreError` for a file that is damaged, foreign or incomplete."""
        return cls._of(read_json(path, KIND, *READABLE), str(path))

    @classmethod
    def parse(cls, text: bytes, name: str) -> Baseline:
        """The same for what was read already, from where ``name`` says."""
        return cls._of(parse_json(text, name, KIND, *READABLE), name)

    @classmethod
    def _of(cls, content: Mapping[str, Any], name: str) -> Baseline:
        try:
            return cls(
                test=str(content["test"]),
                accepted=str(content["accepted"]),
                environment=_texts(content["environment"]),
                subject=_texts(content["subject"]["fields"]),
                subject_text=str(content["subject"]["text"]),
                points=read_values(content["points"]),
                uncertainty=read_values(content.get("uncertainty", {})),
                origins=read_origins(content.get("origins", {})),
                past=tuple(map(Past.read, content.get("history", ()))),
                explored=tuple(map(str, content.get("explored", ()))),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise StoreError(f"{name} is damaged: {type(error).__name__}: {error}; {WAY_OUT}") from None

    def write(self, path: Path) -> None:
        """Atomically. Raises :class:`StoreError`."""
        write_json(
            path,
            {
                KIND: VERSION,
                "test": self.test,
                "accepted": self.accepted,
                "subject": {"text": self.subject_text, "fields": dict(self.subject)},
                "environment": dict(self.environment),
                "points": rounded_values(self.points),
                **({"explored": list(self.explored)} if self.explored else {}),
                "uncertainty": rounded_values(self.uncertainty),
                "origins": {
                    point: {metric: origin.as_json() for metric, origin in metrics.items()}
                    for point, metrics in self.origins.items()
                },
                "history": [past.as_json() for past in self.past],
            },
        )

    @property
    def launches(self) -> int:
        """The number of launches behind it (of its best known metric)."""
        return max((len(v) for metrics in self.points.values() for v in metrics.values()), default=0)

    @property
    def is_weak(self) -> bool:
        """Whether nothing in it tells how much its launches differ."""
        return self.launches < 2

    @property
    def weakness(self) -> str:
        """What it means to be weak, and what would help; empty for a baseline that is not."""
        if not self.is_weak:
            return ""
        cause = "the baseline is weak: it is one launch, and another one of the same build may differ by 10 %"
        if self.subject_text.startswith(("http://", "https://")):
            return f"{cause}; accept one of an engine that is started from here, which can be launched again"
        return f"{cause}; --llmperf-update --llmperf-launches 3 accepts one of three"

    def course(self, point: str, metric: str) -> list[tuple[str, str, float]]:
        """How a metric (by its name) went from one accepted baseline to the next, this one last: the time,
        the subject and the mean."""
        course = [
            (past.accepted, past.subject_text, past.points[point][metric])
            for past in self.past
            if metric in past.points.get(point, {})
        ]
        if values := self.points.get(point, {}).get(metric):
            course.append((self.accepted, self.subject_text, middle(values)))
        return course

    def origin(self, point: str, metric: str) -> Origin | None:
        """What a metric (by its name) was when it was last accepted on purpose; None if that is what it is
        in this baseline."""
        return self.origins.get(point, {}).get(metric)

    def grown_from(self, previous: Baseline | None, decided: Collection[tuple[str, str]]) -> Baseline:
        """This baseline, as it is accepted in place of ``previous``.

        ``decided`` names load points and metrics (by name) that were found to be worse or better, than the
        previous baseline or than its origin: whoever accepts them was told, so here they begin anew, as does
        what the previous baseline lacked. Anything else may be a step too small to be seen: it keeps the
        origin that it had, or gets the previous baseline as one.
        """
        if previous is None:
            return self
        origins: dict[str, dict[str, Origin]] = {}
        for point, metrics in self.points.items():
            for metric, values in metrics.items():
                origin = previous._origin_of_next(point, metric)
                if origin and (point, metric) not in decided and tuple(origin.values) != tuple(values):
                    origins.setdefault(point, {})[metric] = origin
        former = Past(
            previous.accepted,
            previous.subject_text,
            {p: {m: middle(values) for m, values in ms.items()} for p, ms in previous.points.items()},
        )
        past = (*previous.past, former)
        # One entry less than there may be, for what is accepted now is the newest of them.
        past = past if len(past) < MOST_PAST else (past[0], *past[2 - MOST_PAST :])
        return dataclasses.replace(self, origins=origins, past=past)

    def _origin_of_next(self, point: str, metric: str) -> Origin | None:
        if origin := self.origin(point, metric):
            return dataclasses.replace(origin, steps=origin.steps + 1)
        if values := self.points.get(point, {}).get(metric):
            known = self.uncertainty.get(point, {}).get(metric, ())
            return Origin(self.accepted, self.subject_text, values, known, steps=1)
        return None


def _texts(value: Any) -> dict[str, str]:
    return {str(name): str(text) for name, text in value.items()}
