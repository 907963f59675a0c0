"""The baselines that there were before one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_llmperf.keep.files import rounded


@dataclass(frozen=True)
class Past:
    """A former baseline in short: the geometric mean over its launches, by load point and metric."""

    accepted: str
    subject_text: str
    points: Mapping[str, Mapping[str, float]]

    @classmethod
    def read(cls, content: Any) -> Past:
        """Raises KeyError, TypeError, AttributeError or ValueError for what is none."""
        return cls(
            accepted=str(content["accepted"]),
            subject_text=str(content["subject"]),
            points={
                str(point): {str(metric): _number(value) for metric, value in metrics.items()}
                for point, metrics in content["points"].items()
            },
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "accepted": self.accepted,
            "subject": self.subject_text,
            "points": {
                point: {metric: rounded(value) for metric, value in metrics.items()}
                for point, metrics in self.points.items()
            },
        }


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        raise ValueError("a value that is not a number")
    return float(value)
