from __future__ import annotations

import dataclasses
import json
import math

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.keep.series import series_json
from pytest_llmperf.measure.series import PERCENTS, Busy, Series, Shown
from tests.keep.test_result import SLOW, result, run

SERIES = Series(
    {"ttft": [1 / 3] * len(PERCENTS)},
    [Shown(0.0, 0.00012345, None, 1.0, 8, None), Shown(0.5, None, None, None, None, "reset")],
    [Busy(0.25, 3.0, 0.0, 1 / 3), Busy(0.75, 3.5, None, None)],
)


def test_the_form() -> None:
    assert series_json(SERIES, has_waterfall=True) == {
        "quantiles": {
            "levels": [0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1],
            "ttft_ms": [0.333333] * 15,
        },
        "waterfall": {
            "columns": ["due_s", "sent_s", "first_token_s", "ended_s", "output_tokens", "error"],
            "rows": [[0, 0.0001, None, 1, 8, None], [0.5, None, None, None, None, "reset"]],
        },
        "engine": {
            "columns": ["at_s", "running", "waiting", "cache_use"],
            "rows": [[0.25, 3, 0, 0.3333], [0.75, 3.5, None, None]],
        },
    }


def test_what_there_is_not_is_absent() -> None:
    assert series_json(Series({}, [], []), has_waterfall=True) == {}
    assert set(series_json(SERIES, has_waterfall=False)) == {"quantiles", "engine"}


@given(st.floats(0, 1e9))
def test_times_are_right_to_a_tenth_of_a_millisecond(at_s: float) -> None:
    ((kept, *_),) = series_json(Series({}, [], [Busy(at_s, None, None, None)]), has_waterfall=True)["engine"][
        "rows"
    ]
    assert math.isclose(kept, at_s, rel_tol=1e-15, abs_tol=0.51e-4)


def test_one_run_of_a_side_shows_its_requests() -> None:
    runs = [run(1, problems=("late",)), run(2), run(3)]
    found = result(*(dataclasses.replace(one, series=SERIES) for one in runs))
    found.add(runs[0].measurement.workload, SLOW, dataclasses.replace(run(1), series=SERIES), of_base=True)
    (point,) = json.loads(json.dumps(found.as_json()))["points"]
    assert ["waterfall" in one["series"] for one in point["runs"]] == [False, True, False]
    assert ["waterfall" in one["series"] for one in point["base_runs"]] == [True]
    assert all("engine" in one["series"] for one in point["runs"])


def test_without_series_a_run_has_none() -> None:
    (point,) = result(run(1), dataclasses.replace(run(2), series=Series({}, [], []))).as_json()["points"]
    assert all("series" not in one for one in point["runs"])
