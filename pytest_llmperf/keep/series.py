"""The form that a run's series have in a record: columns, so that it stays small."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pytest_llmperf.declare.metrics import METRICS
from pytest_llmperf.keep.files import rounded
from pytest_llmperf.measure.series import PERCENTS, Busy, Series, Shown


def series_json(series: Series, *, has_waterfall: bool) -> dict[str, Any]:
    """What there is of it; times in seconds, to 0.1 ms."""
    found: dict[str, Any] = {}
    if series.quantiles:
        found["quantiles"] = {"levels": [percent / 100 for percent in PERCENTS]} | {
            f"{name}_{METRICS[name].unit}": list(map(rounded, values))
            for name, values in series.quantiles.items()
        }
    if has_waterfall and series.waterfall:
        found["waterfall"] = _table(Shown._fields, series.waterfall)
    if series.engine:
        found["engine"] = _table(Busy._fields, series.engine)
    return found


def _table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> dict[str, Any]:
    return {"columns": list(columns), "rows": [list(map(_short, row)) for row in rows]}


def _short(value: Any) -> Any:
    """To four places; a number of requests is a whole one, however the engine writes it."""
    if not isinstance(value, float):
        return value
    return int(value) if value.is_integer() else round(value, 4)
