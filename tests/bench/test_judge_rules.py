from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from bench.judge.rules import RULES, Rule, welch
from bench.judge.worlds import NORMAL, Shape, changed, draw

BY_NAME = {rule.name: rule for rule in RULES}
SMALL = Shape(tests=2, metrics=2)
CALM = replace(NORMAL, launch_spread=0.002, run_spread=0.001)

each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


def alarms(name: str, effect: float, launches: int = 8, seed: int = 1) -> list[bool]:
    """Of the four items of a calm session, of which the first one changed by ``effect``."""
    logs = changed(draw(CALM, 1, seed, SMALL), effect)[:, :, :, :launches]
    return [bool(one) for one in BY_NAME[name].judge(logs, CALM, SMALL.items)[0]]


@each_rule
def test_what_is_far_worse_is_found_by_everyone_and_only_there(rule: Rule) -> None:
    assert alarms(rule.name, 0.5) == [True, False, False, False]


@each_rule
def test_what_is_better_is_no_alarm(rule: Rule) -> None:
    assert alarms(rule.name, -0.5) == [False] * 4


@each_rule
def test_sessions_and_items_are_judged_each_for_itself(rule: Rule) -> None:
    logs = draw(NORMAL, 3, 5, SMALL)
    logs[2, 3, 1] += 0.5
    together = rule.judge(logs, NORMAL, SMALL.items)
    assert together.shape == (3, 4)
    assert together[2, 3]
    if not rule.per_request:  # those draw the requests of a session in a row
        alone = np.array([rule.judge(one[None], NORMAL, SMALL.items)[0] for one in logs])
        assert (together == alone).all()


@pytest.mark.parametrize(
    ("name", "below", "above"),
    [
        ("moderated t, Bonferroni", 0.045, 0.06),
        ("asv", 0.09, 0.12),
        ("5 % on the median", 0.045, 0.06),
        ("± 20 % band", 0.19, 0.21),
    ],
)
def test_limits_are_where_they_are_said_to_be(name: str, below: float, above: float) -> None:
    assert not alarms(name, below)[0]
    assert alarms(name, above)[0]


@pytest.mark.parametrize("name", ["Mann-Whitney on requests", "Welch on requests", "Otava"])
def test_without_a_tolerance_a_change_that_nobody_minds_is_an_alarm(name: str) -> None:
    # Calmer than calm: 3200 requests with a coefficient of variation of 0.3 see 3 % at once.
    assert alarms(name, 0.03)[0]


def test_asv_cannot_alarm_on_three_launches_of_two_runs() -> None:
    assert not any(alarms("asv", 3.0, launches=3))
    assert alarms("asv", 0.5, launches=4)[0]


def test_otava_wants_the_change_where_the_candidate_begins() -> None:
    logs = np.zeros((1, 1, 2, 8, 2)) + 0.001 * np.arange(16).reshape(8, 2)
    logs[0, 0, 1, 4:] += 0.5
    assert not BY_NAME["Otava"].judge(logs, NORMAL, 1).any()
    logs[0, 0, 1, 1:] += 0.5
    assert BY_NAME["Otava"].judge(logs, NORMAL, 1).all()


def test_welchs_t_is_that_of_scipy() -> None:
    left = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
    right = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.061, 3.14, 1.291])
    ratio, degrees = welch(right, left)
    assert ratio == pytest.approx(1.2045942244201913)
    assert degrees == pytest.approx(15.795252585344754)


def test_a_bigger_family_takes_more() -> None:
    rule = BY_NAME["moderated t, Bonferroni"]
    logs = changed(draw(NORMAL, 200, 3, SMALL), 0.08)[:, :1]
    few, many = (rule.judge(logs, NORMAL, items).sum() for items in (1, 80))
    assert many < few
    assert math.isclose(few / 200, 0.95, abs_tol=0.05)
