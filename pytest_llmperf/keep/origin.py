"""Where a metric of a baseline comes from.

A change within the tolerance passes, and is accepted with the next baseline. So that many such steps do not
add up unseen, each metric keeps what it was when somebody last accepted it on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmperf.keep.files import rounded
from pytest_llmperf.keep.values import read_launches


@dataclass(frozen=True)
class Origin:
    """What a metric was ``steps`` accepted baselines ago, one value for each launch."""

    accepted: str
    subject_text: str
    values: Sequence[float]
    uncertainty: Sequence[float]
    steps: int

    @classmethod
    def read(cls, content: Any) -> Origin:
        """Raises KeyError, TypeError or ValueError for what is none."""
        if type(content["steps"]) is not int or content["steps"] < 1:
            raise ValueError("an origin without its number of steps")
        return cls(
            accepted=str(content["accepted"]),
            subject_text=str(content["subject"]),
            values=read_launches(content["values"]),
            uncertainty=read_launches(content["uncertainty"]) if content["uncertainty"] else (),
            steps=content["steps"],
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "accepted": self.accepted,
            "subject": self.subject_text,
            "values": [rounded(value) for value in self.values],
            "uncertainty": [rounded(value) for value in self.uncertainty],
            "steps": self.steps,
        }


Origins = Mapping[str, Mapping[str, Origin]]


def read_origins(content: Any) -> dict[str, dict[str, Origin]]:
    """By load point and metric. Raises as :meth:`Origin.read`, or AttributeError."""
    return {
        str(point): {str(metric): Origin.read(origin) for metric, origin in metrics.items()}
        for point, metrics in content.items()
    }
