from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pytest_llmperf.declare.load import LoadPoint, Ramp
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.errors import DeclarationError
from pytest_llmperf.measure.measurement import Measurement, Measurements
from tests.load.healthy import HEALTH


def measured(point: LoadPoint, percentile: str = "p95", **values: float) -> Measurement:
    return Measurement(
        workload=Workload(input_tokens=16, output_tokens=8),
        point=point,
        requests=10,
        values=values,
        errors={},
        health=HEALTH,
        percentile=percentile,
    )


SLOW = measured(LoadPoint(rate=1.0, duration_s=5.0), ttft_p50_ms=90, ttft_p95_ms=100, ttft_p99_ms=110)
FAST = measured(LoadPoint(rate=4.0, duration_s=5.0), ttft_p95_ms=400)
CLOSED = measured(LoadPoint(concurrency=4, duration_s=5.0), ttft_p95_ms=200)


def test_a_metric_is_asked_for_as_a_limit_would_name_it() -> None:
    assert SLOW.value("ttft_ms") == SLOW.value("ttft_p95_ms") == 100
    assert SLOW.value("ttft_p99_ms") == 110


def test_a_latency_without_a_statistic_has_the_percentile_of_the_session() -> None:
    assert measured(SLOW.point, "p50", **SLOW.values).value("ttft_ms") == 90


def test_an_unknown_metric_is_answered_with_the_valid_ones() -> None:
    with pytest.raises(
        DeclarationError, match=r"unknown metric 'ttft' \(did you mean 'ttft_ms'\?\); valid: "
    ):
        SLOW.value("ttft")


def test_a_metric_without_a_value_here_is_named_in_full() -> None:
    with pytest.raises(DeclarationError, match=r"^tpot_p95_ms has no value at 1/s$"):
        SLOW.value("tpot_ms")


def test_measurements_are_a_sequence_in_the_order_measured() -> None:
    sweep = Measurements([SLOW, FAST, CLOSED])
    assert len(sweep) == 3
    assert list(sweep) == [SLOW, FAST, CLOSED]
    assert (sweep[0], sweep[-1], list(sweep[1:])) == (SLOW, CLOSED, [FAST, CLOSED])
    assert FAST in sweep
    with pytest.raises(IndexError):
        sweep[3]


def test_measurements_are_shown_by_their_load_points() -> None:
    assert repr(Measurements([SLOW, CLOSED])) == "Measurements(1/s, 4 at once)"


def test_a_load_point_is_found_by_its_rate_or_its_concurrency() -> None:
    sweep = Measurements([SLOW, FAST, CLOSED])
    assert sweep.at(rate=4) is FAST
    assert sweep.at(rate=1.0) is SLOW
    assert sweep.at(concurrency=4) is CLOSED


def test_a_ramp_and_a_replay_are_found_as_they_are_written() -> None:
    ramp = replace(SLOW, point=LoadPoint(rate=Ramp(1, 10), duration_s=5))
    replay = replace(SLOW, point=LoadPoint(replay=2))
    sweep = Measurements([ramp, SLOW, replay])
    assert sweep.at(rate="1..10") is ramp
    assert sweep.at(rate=1) is SLOW
    assert sweep.at(replay=2) is replay
    with pytest.raises(
        DeclarationError, match=r"no load point with rate=1\.\.9; measured: 1→10/s, 1/s, replay"
    ):
        sweep.at(rate="1..9")


@pytest.mark.parametrize(
    ("rate", "concurrency", "message"),
    [
        (8, None, "no load point with rate=8; measured: 1/s, 4/s"),
        (None, 4, "no load point with concurrency=4; measured: 1/s, 4/s"),
        (None, None, "at(): expected either rate=…, concurrency=… or replay=…"),
        (4, 4, "at(): expected either rate=…, concurrency=… or replay=…"),
    ],
)
def test_a_load_point_that_is_not_there_is_named_beside_those_that_are(
    rate: float | None, concurrency: int | None, message: str
) -> None:
    with pytest.raises(DeclarationError) as caught:
        Measurements([SLOW, FAST]).at(rate=rate, concurrency=concurrency)
    assert str(caught.value) == message


def test_the_value_of_a_single_point_needs_no_index() -> None:
    assert Measurements([FAST]).value("ttft_ms") == 400


@pytest.mark.parametrize(("points", "count"), [([SLOW, FAST], 2), ([], 0)])
def test_the_value_of_several_points_is_no_single_number(points: Sequence[Measurement], count: int) -> None:
    with pytest.raises(DeclarationError) as caught:
        Measurements(points).value("ttft_ms")
    assert str(caught.value) == (
        f"value('ttft_ms'): {count} load points were measured; name one, as in m.at(rate=…).value('ttft_ms')"
    )
