from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.load import LoadPoint, Ramp, Sweep
from pytest_llmperf.errors import DeclarationError


@pytest.mark.parametrize(
    ("point", "label", "key"),
    [
        (LoadPoint(rate=4.0, duration_s=30.0), "4/s", "poisson 4/s for 30 s"),
        (LoadPoint(rate=0.5, arrivals="constant", requests=10), "0.5/s", "constant 0.5/s of 10 requests"),
        (LoadPoint(concurrency=8, duration_s=2.5), "8 at once", "closed loop, 8 at once for 2.5 s"),
        (
            LoadPoint(rate=100.0, duration_s=1.0, requests=7),
            "100/s",
            "poisson 100/s for 1 s of 7 requests",
        ),
        (LoadPoint(rate=Ramp(1, 10), duration_s=60), "1→10/s", "poisson 1..10/s for 60 s"),
        (LoadPoint(rate=2, arrivals="gamma:0.5", requests=9), "2/s", "gamma:0.5 2/s of 9 requests"),
        (LoadPoint(replay=2, duration_s=30.0), "replay ×2", "replay ×2 for 30 s"),
        (LoadPoint(replay=0.5), "replay ×0.5", "replay ×0.5"),
    ],
)
def test_a_point_has_a_label_for_people_and_a_key_for_comparisons(
    point: LoadPoint, label: str, key: str
) -> None:
    assert (point.label, point.key) == (label, key)


@pytest.mark.parametrize(
    "other",
    [
        LoadPoint(rate=5.0, duration_s=30.0),
        LoadPoint(rate=4.0, duration_s=31.0),
        LoadPoint(rate=4.0, requests=30),
        LoadPoint(rate=4.0, duration_s=30.0, requests=30),
        LoadPoint(rate=4.0, duration_s=30.0, arrivals="constant"),
        LoadPoint(rate=4.0, duration_s=30.0, arrivals="gamma:0.5"),
        LoadPoint(rate=Ramp(4.0, 5.0), duration_s=30.0),
        LoadPoint(concurrency=4, duration_s=30.0),
        LoadPoint(replay=4, duration_s=30.0),
    ],
    ids=lambda point: point.key,
)
def test_points_that_differ_in_anything_have_different_keys(other: LoadPoint) -> None:
    assert other.key != LoadPoint(rate=4.0, duration_s=30.0).key


@pytest.mark.parametrize(
    ("point", "scheduled_s", "expected_s"),
    [
        (LoadPoint(rate=4.0, duration_s=30.0), 30, 30),
        (LoadPoint(rate=4.0, requests=20), 5, 5),
        (LoadPoint(rate=4.0, duration_s=3.0, requests=20), 3, 3),
        (LoadPoint(rate=4.0, duration_s=30.0, requests=20), 5, 5),
        (LoadPoint(concurrency=8, duration_s=30.0), 0, 30),
        (LoadPoint(concurrency=8, requests=100), 0, None),
        (LoadPoint(rate=Ramp(1, 9), requests=20), 4, 4),
        (LoadPoint(rate=Ramp(9, 1), duration_s=3, requests=20), 3, 3),
        (LoadPoint(replay=2, duration_s=30), 0, 30),
        (LoadPoint(replay=2, requests=30), 0, None),
    ],
)
def test_an_open_loop_sends_until_whichever_bound_comes_first(
    point: LoadPoint, scheduled_s: float, expected_s: float | None
) -> None:
    assert (point.scheduled_s, point.expected_s) == (scheduled_s, expected_s)


NO_NUMBERS_ABOVE_0 = (0, -1, math.nan, math.inf, True, "4", None, 10**400)


@pytest.mark.parametrize("name", ["rates", "concurrency"])
@pytest.mark.parametrize("value", NO_NUMBERS_ABOVE_0, ids=repr)
def test_a_bad_value_in_a_list_is_named(name: str, value: Any) -> None:
    with pytest.raises(DeclarationError) as caught:
        Sweep.of(**{name: [1, value]} if value is not True else {name: [2, value]})
    assert str(caught.value) == f"{name}={value!r}: a number greater than 0"


@pytest.mark.parametrize("name", ["duration", "requests"])
@pytest.mark.parametrize("value", [bad for bad in NO_NUMBERS_ABOVE_0 if bad is not None], ids=repr)
def test_a_bad_bound_is_named(name: str, value: Any) -> None:
    with pytest.raises(DeclarationError) as caught:
        Sweep.of(**{name: value})
    assert str(caught.value) == f"{name}={value!r}: a number greater than 0"


ONE_KIND = "give either rates (open loop), concurrency (closed loop) or replay (of a trace)"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"rates": [1], "concurrency": [1]}, ONE_KIND),
        ({"rates": [1], "replay": [1]}, ONE_KIND),
        ({"concurrency": [1], "replay": [1]}, ONE_KIND),
        ({"arrivals": "bursty"}, "arrivals='bursty': valid: poisson, constant, gamma:SHAPE"),
        ({"arrivals": ["poisson"]}, "arrivals=['poisson']: valid: poisson, constant, gamma:SHAPE"),
        ({"arrivals": "gamma"}, "arrivals='gamma': the shape is a number from 0.01 to 1000, as in gamma:0.5"),
        (
            {"arrivals": "gamma:0"},
            "arrivals='gamma:0': the shape is a number from 0.01 to 1000, as in gamma:0.5",
        ),
        (
            {"arrivals": "gamma:nan"},
            "arrivals='gamma:nan': the shape is a number from 0.01 to 1000, as in gamma:0.5",
        ),
        ({"rates": ["1..x"]}, "rates='1..x': a ramp is written as '1..10'"),
        ({"rates": ["1..2..3"]}, "rates='1..2..3': a ramp is written as '1..10'"),
        ({"rates": ["0..10"]}, "rates=0.0: a number greater than 0"),
        ({"rates": ["1..10", "1.0..10"]}, "rates=['1..10', '1.0..10']: the same point twice"),
        ({"replay": [0]}, "replay=0: a number greater than 0"),
        ({"replay": "1"}, "replay='1': a list of numbers, as in replay=[1, 2, 4]"),
        (
            {"rates": "1,2"},
            "rates='1,2': a list of numbers, as in rates=[1, 2, 4], or one of adaptive, adaptive:POINTS, "
            "linear:POINTS",
        ),
        ({"concurrency": object}, f"concurrency={object!r}: a list of numbers, as in concurrency=[1, 2, 4]"),
        ({"rates": []}, "rates=[]: at least one load point"),
        ({"rates": [1, 2, 1.0]}, "rates=[1, 2, 1.0]: the same point twice"),
        ({"rates": [[1, 2], [4]]}, "rates=[[1, 2], [4]]: a flat list of numbers"),
        ({"rates": [100_001]}, "rates=100001: more than 100000 requests/s cannot be driven"),
        ({"concurrency": [1.5]}, "concurrency=1.5: a whole number"),
        ({"requests": 2.5}, "requests=2.5: a whole number"),
    ],
    ids=repr,
)
def test_every_impossible_sweep_is_refused_in_words(said: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        Sweep.of(**said)
    assert str(caught.value) == message


@pytest.mark.parametrize("rates", [2, 2.0, [2], (2,), range(2, 3), iter([2.0])])
def test_rates_are_a_number_or_anything_that_lists_numbers(rates: object) -> None:
    assert Sweep.of(rates=rates) == Sweep(rates=(2.0,))


def test_whole_numbers_may_be_written_as_floats() -> None:
    assert Sweep.of(concurrency=[8.0], requests=1e3) == Sweep(concurrency=(8,), requests=1000)


@given(
    rates=st.lists(st.floats(0.001, 1000), min_size=1, max_size=5, unique=True),
    duration=st.floats(0.001, 10_000),
)
def test_points_keep_the_order_of_their_rates(rates: list[float], duration: float) -> None:
    points = Sweep.of(rates=rates, duration=duration, arrivals="constant").points()
    assert points == [LoadPoint(rate, None, "constant", duration, None) for rate in rates]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rates": [1], "duration": 1e9}, "duration=1000000000.0: at most 604800 seconds"),
        ({"rates": [1], "requests": 1e8}, "requests=100000000.0: at most 10000000"),
        ({"rates": [100], "duration": 600_000}, "constant 100/s for 600000 s: more than 10000000 requests"),
        ({"concurrency": [10**6]}, "concurrency=1000000: at most 100000"),
    ],
)
def test_what_nobody_can_drive_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=re.escape(message)):
        Sweep.of(arrivals="constant", **arguments).points()


def test_nothing_said_is_one_request_at_a_time_for_30_seconds() -> None:
    assert Sweep().points() == [LoadPoint(concurrency=1, duration_s=30.0)]


def test_a_number_of_requests_takes_the_place_of_the_default_duration() -> None:
    assert Sweep(rates=(4.0,), requests=9).points() == [LoadPoint(rate=4.0, requests=9)]


def test_a_rate_may_be_a_ramp_between_numbers() -> None:
    assert Sweep.of(rates=[1, "1..10", "10..0.5"]).rates == (1.0, Ramp(1, 10), Ramp(10, 0.5))


@pytest.mark.parametrize(
    ("written", "meant"), [("gamma:0.5", "gamma:0.5"), ("gamma:1.0", "gamma:1"), ("constant", "constant")]
)
def test_arrivals_have_one_spelling(written: str, meant: str) -> None:
    assert Sweep.of(arrivals=written).arrivals == meant


def test_a_replay_has_no_arrivals_of_its_own_and_lasts_as_long_as_its_trace() -> None:
    assert Sweep.of(replay=[1, 2], arrivals="constant").points() == [LoadPoint(replay=1), LoadPoint(replay=2)]
    assert Sweep.of(replay=1, duration=5, requests=9).points() == [
        LoadPoint(replay=1, duration_s=5, requests=9)
    ]


FAR = Sweep(rates=(1.0, 2.0), arrivals="constant", duration_s=10.0)


@pytest.mark.parametrize(
    ("closer", "result"),
    [
        (Sweep(), FAR),
        (Sweep(rates=(8.0,)), Sweep(rates=(8.0,), arrivals="constant", duration_s=10.0)),
        (Sweep(concurrency=(4,)), Sweep(concurrency=(4,), arrivals="constant", duration_s=10.0)),
        (Sweep(replay=(2.0,)), Sweep(replay=(2.0,), arrivals="constant", duration_s=10.0)),
        (Sweep(duration_s=5.0), Sweep(rates=(1.0, 2.0), arrivals="constant", duration_s=5.0)),
        (Sweep(requests=50), Sweep(rates=(1.0, 2.0), arrivals="constant", requests=50)),
        (
            Sweep(duration_s=5.0, requests=50),
            Sweep(rates=(1.0, 2.0), arrivals="constant", duration_s=5.0, requests=50),
        ),
        (Sweep(arrivals="poisson"), Sweep(rates=(1.0, 2.0), arrivals="poisson", duration_s=10.0)),
    ],
    ids=repr,
)
def test_the_closer_sweep_takes_back_what_it_replaces_and_nothing_else(closer: Sweep, result: Sweep) -> None:
    assert FAR.updated(closer) == result


def test_closer_rates_take_back_a_concurrency() -> None:
    assert Sweep(concurrency=(4,)).updated(Sweep(rates=(1.0,))) == Sweep(rates=(1.0,))


SWEEPS = st.builds(
    lambda points, arrivals, duration, requests: Sweep.of(
        **points, arrivals=arrivals, duration=duration, requests=requests
    ),
    st.sampled_from([{}, {"rates": [1]}, {"rates": [2, "3..4"]}, {"concurrency": [1, 4]}, {"replay": [1]}]),
    st.sampled_from([None, "poisson", "constant", "gamma:0.5"]),
    st.sampled_from([None, 5]),
    st.sampled_from([None, 7]),
)


@given(one=SWEEPS, two=SWEEPS, three=SWEEPS)
def test_levels_of_precedence_can_be_merged_in_any_grouping(one: Sweep, two: Sweep, three: Sweep) -> None:
    assert one.updated(two).updated(three) == one.updated(two.updated(three))


@given(far=SWEEPS, closer=SWEEPS)
def test_a_merged_sweep_never_has_two_kinds_of_points(far: Sweep, closer: Sweep) -> None:
    merged = far.updated(closer)
    assert [merged.rates, merged.concurrency, merged.replay].count(None) >= 2
