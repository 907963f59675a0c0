from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from bench.search.cases import CASES
from bench.search.engine import Engine, closed_loop, open_loop
from bench.search.searches import _crossing, _monotone, bounds, linear, ours
from bench.search.tables import error95
from bench.search.truth import LONG_S, SEEDS, SKIP_S, stored
from pytest_llmperf.declare.load import USUAL_BUDGET_S, USUAL_S

ALONE = Engine("alone", 10, 0.0, 0.1, 1000, 64, prompt=500, output=11, spread=0.0)


def test_one_request_takes_what_the_formula_says() -> None:
    """A step of 10 + 50 ms for the prompt, then ten of 10 ms."""
    run = closed_loop(ALONE, 1, 10.0, 0)
    assert run.ttft == pytest.approx(np.full(run.due.size, 0.06))
    assert run.tpot == pytest.approx(np.full(run.due.size, 0.01))


def test_prompts_longer_than_the_budget_take_several_steps() -> None:
    run = closed_loop(dataclasses.replace(ALONE, budget=200), 1, 1.0, 0)
    assert run.ttft[0] == pytest.approx(3 * 0.01 + 0.05)


def test_no_more_run_than_there_is_room_for() -> None:
    run = open_loop(dataclasses.replace(ALONE, max_seqs=3), 40, 20, 1)
    assert max(int(((run.first <= at) & (run.last > at)).sum()) for at in run.first) <= 3


def test_a_stall_holds_up_all_that_is_under_way_once_in_a_while() -> None:
    """One request after another of 0.16 s: now and then one takes 0.3 s more, and none is half stalled."""
    stalling = dataclasses.replace(ALONE, stall_s=0.3, stall_every_s=10.0)
    quiet, run = (closed_loop(engine, 1, 400.0, 2) for engine in (ALONE, stalling))
    took, usual = run.last - run.due, float((quiet.last - quiet.due)[0])
    stalls = (took - usual) / 0.3
    assert stalls == pytest.approx(np.rint(stalls), abs=1e-6)
    assert 25 <= int(np.rint(stalls).sum()) <= 55


def test_requests_get_their_first_token_in_order_and_all_are_answered() -> None:
    for case in CASES:
        run = open_loop(case.engine, 0.5 * stored()[case.engine.name].saturation, 20, 3)
        assert np.all(np.diff(run.first) >= 0)
        assert np.all(run.first > run.due)
        assert np.all(run.last > run.first)


def test_the_bursts_of_a_search_bound_what_an_engine_can_do() -> None:
    for case in CASES:
        truth, known = stored()[case.engine.name], bounds(case, 5)
        assert truth.capacity < known.highest < 1.5 * truth.saturation
        assert known.lowest < 0.2 * truth.capacity


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.engine.name)
def test_the_stored_truth_is_one_of_this_engine(case: object) -> None:
    """One seed of the ten: at the stored capacity the SLO is just met."""
    found = next(one for one in CASES if one is case)
    steady = dataclasses.replace(found, engine=dataclasses.replace(found.engine, jitter=0.0))
    run = open_loop(steady.engine, stored()[found.engine.name].capacity, LONG_S / 4, SEEDS[0])
    p95 = float(np.quantile(steady.values(run)[run.due > SKIP_S], 0.95))
    assert abs(math.log(p95 / steady.limit_s)) < 0.35


def test_the_capacity_is_found_within_three_per_cent() -> None:
    """Counted over 4 searches of each engine with fixed seeds."""
    off, covered = [], 0
    for case in CASES:
        truth = stored()[case.engine.name].capacity
        for seed in range(4):
            found = ours(case, bounds(case, 1000 * seed), 1000 * seed).capacity
            assert found is not None
            off.append(abs(math.log(found.rate / truth)))
            covered += found.low <= truth <= found.high
    assert sum(one <= 0.03 for one in off) >= 18
    assert covered >= 17


def test_as_shipped_the_interval_holds_what_is_true_and_nothing_is_settled_that_is_not() -> None:
    """Counted over 8 searches of each engine with fixed seeds: runs of 30 s, 300 s in all."""
    for case in CASES:
        truth = stored()[case.engine.name].capacity
        short = dataclasses.replace(case, full_s=USUAL_S)
        found = [ours(short, bounds(short, 1000 * n), 1000 * n, USUAL_BUDGET_S) for n in range(8)]
        capacities = [one.capacity for one in found if one.capacity is not None]
        assert sum(one.low <= truth <= one.high for one in capacities) >= 7
        assert abs(float(np.mean([math.log(one.rate / truth) for one in capacities]))) < 0.04
        assert not any(one.is_settled and math.log(one.high / one.low) > 0.07 for one in capacities)
        assert max(one.took_s for one in found) < 1.2 * USUAL_BUDGET_S


def test_a_limit_that_is_never_missed_gives_a_rate_that_the_engine_serves() -> None:
    for case in CASES[::3]:
        lax = dataclasses.replace(case, full_s=USUAL_S, limit_s=60.0)
        found = ours(lax, bounds(lax, 0), 0, USUAL_BUDGET_S).capacity
        assert found is not None
        assert found.kind == "above"
        assert 0.8 < found.rate / stored()[case.engine.name].saturation < 1.1


def test_a_crossing_is_read_off_a_line_exactly() -> None:
    rates = np.log(np.array([1.0, 2.0, 4.0, 8.0]))
    for bent in (False, True):
        assert _crossing(rates, rates - np.log(3.0), bent) == pytest.approx(math.log(3.0), abs=1e-3)


def test_margins_are_made_monotone_by_means() -> None:
    assert list(_monotone(np.array([1.0, 3.0, 2.0, 4.0, 0.0]))) == [1.0, 2.25, 2.25, 2.25, 2.25]


def test_a_linear_sweep_gets_better_with_longer_points() -> None:
    case = CASES[1]
    truth = stored()[case.engine.name].capacity

    def error(duration_s: float) -> float:
        found = [linear(case, bounds(case, s), s, duration_s)["linear, cubic"].rate for s in (0, 1000, 2000)]
        return error95([{"off": math.log(rate / truth)} for rate in found])

    assert error(240.0) < error(15.0)


def test_the_benchmark_runs_and_writes_what_it_says(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.search.run", "--searches", "1", "--out", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert ran.stdout == (tmp_path / "tables.md").read_text()
    assert all(f"| {case.engine.name} |" in ran.stdout for case in CASES)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert len(figures["ours"]) == len(CASES)
    assert ElementTree.parse(tmp_path / "plot.svg").getroot().tag.endswith("svg")
