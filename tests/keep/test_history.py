from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.history import Result, Session, session_of
from tests import recorded
from tests.keep.histories import BEGIN, HERE

VALUES = {"ttft_p95_ms": 50.0, "requests_per_s": 4.0}
texts = st.text(st.characters(codec="utf-8"), max_size=30)
fields = st.dictionaries(texts, texts, max_size=4)
number = st.floats(0, 1e9).map(lambda value: float(f"{value:.6g}"))
values = st.dictionaries(
    texts, st.dictionaries(texts, st.lists(number, min_size=1, max_size=4), max_size=2), max_size=2
)


@st.composite
def results(draw: st.DrawFn) -> Result:
    drawn = {point: metrics for point, metrics in draw(values).items() if metrics}
    points = {point: {m: tuple(v) for m, v in metrics.items()} for point, metrics in drawn.items()}
    known = {point: {m: (0.5,) * len(v) for m, v in metrics.items()} for point, metrics in points.items()}
    said = draw(st.tuples(texts, st.sampled_from(["candidate", "base"]), texts, texts))
    return Result(*said, draw(fields), draw(fields), points, known)


def sessions() -> st.SearchStrategy[Session]:
    return st.builds(
        Session,
        *(texts, st.just(BEGIN), texts, texts, st.booleans(), texts),
        st.lists(results().filter(lambda one: bool(one.points)), max_size=3),
    )


def entry(*runs: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return recorded.entry("vllm==0.24.0 --flag 1", [recorded.point(4, runs)], **changed)


def only(record: dict[str, Any]) -> Result:
    (found,) = session_of(record, "r.json").results
    return found


@settings(max_examples=30, deadline=None)
@given(session=sessions())
def test_a_session_is_read_as_it_was_written(session: Session) -> None:
    content = json.loads(json.dumps(session.as_json()))
    assert Session.read(content, "x") == session


def test_what_a_record_says_is_kept() -> None:
    said = recorded.record(
        entry(recorded.run(1, VALUES), recorded.run(2, {**VALUES, "ttft_p95_ms": 60.0})),
        id="20261122T020000Z-abc",
        repository={"commit": "f" * 40, "changed": True},
    )
    session = session_of(said, "/p/r.json")
    assert (session.id, session.commit, session.is_changed, session.record, session.status) == (
        *("20261122T020000Z-abc", "f" * 40, True, "/p/r.json", "complete"),
    )
    assert session.started.isoformat() == "2026-11-22T02:00:00+00:00"
    (result,) = session.results
    assert result.points["4/s"]["ttft_p95_ms"] == [50.0, 60.0]
    assert result.uncertainty["4/s"]["ttft_p95_ms"] == [0.01, 0.01]
    assert result.uncertainty["4/s"]["requests_per_s"] == [0.0, 0.0]
    assert (result.verdict, result.subject_text) == ("pass", "vllm==0.24.0 --flag 1")
    assert result.subject["version"] == "0.24.0"
    assert result.environment == recorded.MACHINE


def test_runs_of_one_launch_are_one_value() -> None:
    runs = [recorded.run(1, {"ttft_p95_ms": value}, uncertainty=0.03) for value in (40.0, 90.0)]
    result = only(recorded.record(entry(*runs)))
    assert list(result.points["4/s"]["ttft_p95_ms"]) == [pytest.approx(60.0)]
    assert list(result.uncertainty["4/s"]["ttft_p95_ms"]) == [pytest.approx(math.hypot(0.03, 0.03) / 2)]


@pytest.mark.parametrize("unknown", [math.nan, math.inf])
def test_what_is_not_known_how_badly_is_known_as_nothing_and_can_be_read_again(unknown: float) -> None:
    session = session_of(recorded.record(entry(recorded.run(1, VALUES, uncertainty=unknown))), "r.json")
    assert session.results[0].uncertainty["4/s"]["ttft_p95_ms"] == [0.0]
    assert Session.read(json.loads(json.dumps(session.as_json())), "x").results[0].points["4/s"]


def test_a_number_that_is_too_large_is_damage() -> None:
    with pytest.raises(StoreError, match=r"r\.json is damaged: OverflowError"):
        session_of(recorded.record(entry(recorded.run(1, {"ttft_p95_ms": 10**400}))), "r.json")


def test_an_invalid_run_is_no_part_of_it() -> None:
    bad = recorded.run(2, {"ttft_p95_ms": 999.0}, problems=["late"])
    assert only(recorded.record(entry(recorded.run(1, VALUES), bad))).points["4/s"]["ttft_p95_ms"] == [50.0]
    assert session_of(recorded.record(entry(bad)), "r.json").results == []


def test_both_sides_are_kept_of_a_comparison_side_by_side_and_one_of_a_baseline() -> None:
    point = {
        **recorded.point(4, [recorded.run(1, VALUES)]),
        "base_runs": [recorded.run(1, {"ttft_p95_ms": 40.0})],
    }
    beside = {"kind": "side by side", "text": "vllm==0.22.1", "fields": {"engine": "vllm"}}
    said = recorded.record(recorded.entry("vllm==0.24.0", [point], compared_with=beside))
    candidate, base = session_of(said, "r.json").results
    assert (candidate.side, base.side) == ("candidate", "base")
    assert base.points == {"4/s": {"error_rate": [0.0], "ttft_p95_ms": [40.0]}}
    assert (base.subject_text, base.subject, base.environment) == (
        *("vllm==0.22.1", {"engine": "vllm"}, recorded.MACHINE),
    )
    baseline = recorded.entry("vllm==0.24.0", [point], compared_with={**beside, "kind": "baseline"})
    assert only(recorded.record(baseline)).side == "candidate"


def test_a_record_without_a_name_of_its_own_has_that_of_its_content() -> None:
    said = recorded.record(entry(recorded.run(1, VALUES)))
    again, other = copy.deepcopy(said), {**said, "started": "2026-11-22T02:00:01+00:00"}
    assert session_of(said, "a.json").id == session_of(again, "b.json").id
    assert session_of(said, "a.json").id != session_of(other, "a.json").id


@pytest.mark.parametrize("missing", ["started", "tests"])
def test_a_record_that_lacks_something_is_named(missing: str) -> None:
    said = recorded.record(entry(recorded.run(1, VALUES)))
    del said[missing]
    with pytest.raises(StoreError, match=rf"r\.json is damaged: KeyError: '{missing}'"):
        session_of(said, "r.json")


@pytest.mark.parametrize(
    "damage",
    [
        {"results": [{"test": "t"}]},
        {"started": "yesterday"},
        {"fields": {"k": 3}},
        {"results": None},
    ],
)
def test_a_damaged_session_is_named(damage: dict[str, Any]) -> None:
    good = Session("i", BEGIN, "complete", "", False, "r", ()).as_json()
    with pytest.raises(StoreError, match=r"^s3://b/x is damaged: "):
        Session.read({**good, **damage}, "s3://b/x")


def test_an_environment_stands_in_a_session_once() -> None:
    one = Result(
        "t", "candidate", "pass", "v", {"a": "b"}, HERE, {"4/s": {"x": (1.0,)}}, {"4/s": {"x": (0.0,)}}
    )
    content = Session("i", BEGIN, "complete", "", False, "r", [one, one]).as_json()
    assert len(content["fields"]) == 2
