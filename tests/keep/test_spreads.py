from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.keep import spreads
from pytest_llmperf.keep.baseline import Baseline
from pytest_llmperf.keep.record import RecordFile, Store, now
from pytest_llmperf.keep.spreads import PastSpreads
from tests.report.entries import Writer

HERE, TTFT = {"place": "local", "cpus": "16"}, "ttft_p50_ms"
VALUES = (100.0, 103.0, 98.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / ".llmperf")


def run(launch: int, value: float, problems: Sequence[str] = ()) -> dict[str, Any]:
    return {"launch": launch, "values": {TTFT: value}, "health": {"problems": list(problems)}}


def launches(*values: float) -> list[dict[str, Any]]:
    return [run(number, value) for number, value in enumerate(values, start=1)]


def keep(store: Store, *runs: dict[str, Any], hours_ago: float = 1, **said: Any) -> Path:
    """Write the record of a session with one test of one load point."""
    point = {"key": said.pop("point", "4/s"), "runs": list(runs), **said.pop("in_point", {})}
    entry = {"test": "t.py::t", "environment": HERE, "points": [point], **said}
    record = RecordFile(store, now() - timedelta(hours=hours_ago))
    record.write({"llmperf_record": 1, "tests": [entry]})
    return record.path


def variance(*values: float) -> float:
    logs = [math.log(value) for value in values]
    return sum((log - sum(logs) / len(logs)) ** 2 for log in logs) / (len(logs) - 1)


def known(store: Store, environment: dict[str, str] = HERE) -> dict[str, list[tuple[float, int]]]:
    found = PastSpreads(store).of(environment)
    return {metric: [(round(spread, 12), n) for spread, n in spreads] for metric, spreads in found.items()}


def of(*values: float) -> tuple[float, int]:
    return round(variance(*values), 12), len(values) - 1


def test_a_store_without_a_past_knows_nothing(store: Store) -> None:
    assert known(store) == {}


def test_the_launches_of_a_session_differ_by_their_variance(store: Store) -> None:
    keep(store, *launches(*VALUES))
    assert known(store) == {TTFT: [of(*VALUES)]}


@given(values=st.lists(st.floats(0.1, 1e5), min_size=2, max_size=8))
def test_the_variance_is_that_of_the_logarithms(
    values: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    keep(store, *launches(*values))
    ((spread, degrees),) = PastSpreads(store).of(HERE)[TTFT]
    assert spread == pytest.approx(variance(*values), abs=1e-12)
    assert degrees == len(values) - 1


def test_the_runs_of_a_launch_are_one_observation(store: Store) -> None:
    keep(store, run(1, 50.0), run(1, 200.0), run(2, 110.0))
    assert known(store) == {TTFT: [of(100.0, 110.0)]}


def test_one_launch_tells_nothing_and_zero_has_no_logarithm(store: Store) -> None:
    keep(store, run(1, 50.0), run(1, 200.0))
    keep(store, *launches(0.0, 5.0))
    assert known(store) == {}


def test_both_sides_of_a_comparison_count_each_for_itself(store: Store) -> None:
    keep(store, *launches(*VALUES), in_point={"base_runs": launches(50.0, 60.0)})
    assert known(store) == {TTFT: [of(*VALUES), of(50.0, 60.0)]}


def test_runs_that_were_invalid_tell_nothing(store: Store) -> None:
    keep(store, *launches(*VALUES), run(4, 900.0, ["the load generator was late"]))
    assert known(store) == {TTFT: [of(*VALUES)]}


def test_only_like_environments_count(store: Store) -> None:
    keep(store, *launches(*VALUES), environment={**HERE, "cpus": "8"})
    keep(store, *launches(1.0, 2.0), environment={**HERE, "kv cache": "about 1000 blocks"})
    assert known(store) == {}
    past = PastSpreads(store)
    assert list(past.of({**HERE, "cpus": "8"})) == [TTFT]
    assert past.of({**HERE, "cpus": "8"}) is past.of({**HERE, "cpus": "8"})
    assert past.of(HERE) == {}


def test_a_record_as_it_is_written_is_understood(store: Store) -> None:
    writer = Writer()
    writer.launch(1, values={TTFT: 100.0})
    writer.launch(2, values={TTFT: 110.0})
    writer.result.environment = HERE
    RecordFile(store, now()).write({"llmperf_record": 1, "tests": [writer.entry()]})
    assert known(store)[TTFT] == [of(100.0, 110.0)]


# -- baselines ---------------------------------------------------------------------------------------


def accept(store: Store, *values: float, hours_ago: float = 1, name: str = "b.json") -> Baseline:
    accepted = (now() - timedelta(hours=hours_ago)).isoformat(timespec="seconds")
    baseline = Baseline("t.py::t", accepted, HERE, {}, "vllm", {"4/s": {TTFT: values}})
    baseline.write(store.baselines / name)
    return baseline


def test_the_launches_of_a_baseline_and_of_its_origin_count(store: Store) -> None:
    first = accept(store, 100.0, 104.0)
    second = dataclasses.replace(first, points={"4/s": {TTFT: VALUES}}).grown_from(first, ())
    second.write(store.baselines / "b.json")
    accept(store, 5.0, name="weak.json")
    assert known(store) == {TTFT: [of(*VALUES), of(100.0, 104.0)]}
    assert known(store, {"place": "elsewhere"}) == {}


def test_what_is_in_a_record_and_in_a_baseline_counts_once(store: Store) -> None:
    keep(store, run(1, 99.0), run(1, 101.0), run(2, 104.123456))
    accept(store, 104.123, math.sqrt(99 * 101))
    assert known(store) == {TTFT: [of(math.sqrt(99 * 101), 104.123456)]}


def test_what_this_session_accepts_or_records_is_not_its_past(store: Store) -> None:
    accept(store, 100.0, 104.0)
    past = PastSpreads(store)
    keep(store, *launches(1.0, 2.0), hours_ago=0)
    accept(store, 3.0, 4.0, hours_ago=0)
    assert past.of(HERE) == {}


# -- bounds ------------------------------------------------------------------------------------------


def test_the_newest_records_count(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreads, "MOST_RECORDS", 2)
    for hours_ago in (5, 2, 9):
        keep(store, *launches(100.0, 100.0 + hours_ago), hours_ago=hours_ago)
    assert known(store) == {TTFT: [of(100.0, 102.0), of(100.0, 105.0)]}


@pytest.mark.parametrize("bound", ["MOST_BYTES", "MOST_BYTES_OF_ONE"])
def test_a_record_that_is_too_large_is_not_read(
    bound: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = keep(store, *launches(*VALUES))
    keep(store, *launches(1.0, 2.0), padding="x" * 10_000, hours_ago=0.5)
    monkeypatch.setattr(spreads, bound, small.stat().st_size + 10)
    assert known(store) == {TTFT: [of(*VALUES)]}


def without(store: Store, *where: Any, value: object = ...) -> None:
    path = keep(store, *launches(1.0, 2.0))
    content = json.loads(path.read_text())
    inner = content
    for name in where[:-1]:
        inner = inner[name]
    if value is ...:
        del inner[where[-1]]
    else:
        inner[where[-1]] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("tests",), ...),
        (("tests",), None),
        (("tests", 0, "environment"), ["x"]),
        (("tests", 0, "points"), 3),
        (("tests", 0, "points", 0, "runs", 0, "values"), [1]),
        (("tests", 0, "points", 0, "runs", 0, "values"), {TTFT: "fast"}),
        (("tests", 0, "points", 0, "runs", 0, "launch"), {}),
        (("tests", 0, "points", 0, "runs", 0, "health"), ...),
        (("llmperf_record",), 99),
    ],
    ids=str,
)
def test_a_damaged_record_spoils_nothing(where: tuple[Any, ...], value: object, store: Store) -> None:
    without(store, *where, value=value)
    keep(store, *launches(*VALUES))
    assert known(store) == {TTFT: [of(*VALUES)]}


def test_files_that_are_cut_short_or_no_files_spoil_nothing(store: Store) -> None:
    keep(store, *launches(*VALUES))
    (store.directory / "runs" / "20260101T000000Z-abcdef.json").write_text('{"llmperf_rec')
    (store.directory / "runs" / "20260102T000000Z-abcdef.json").mkdir()
    (store.directory / "runs" / "20260103T000000Z-abcdef.json").symlink_to("nowhere")
    (store.baselines).mkdir()
    (store.baselines / "b.json").write_text("[]")
    assert known(store) == {TTFT: [of(*VALUES)]}
