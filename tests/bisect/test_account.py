from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.bisect.account import oddities, skipped
from pytest_llmperf.bisect.finding import Outcome
from pytest_llmperf.report.culprit import culprit_lines
from tests.report.accounts import COMMITS, FLAGS, TOKENS, TTFT, change, found, odd, told


def test_everything_that_a_program_may_want_is_there() -> None:
    account = told("commits", found(skipped={4: "no"}, oddities=[odd(5, 1.1, "in between")]))
    assert account["llmperf_bisection"] == 1
    assert (account["good"], account["bad"]) == (
        {"name": "0a0b0c0", "subject": "v1"},
        {"name": "5a5b5c5", "subject": "main"},
    )
    (suspect,) = account["suspects"]
    assert suspect == {
        "name": "3a3b3c3",
        "change": "commit 3a3b3c3",
        "about": dict(COMMITS[3].about),
        "probability": 0.97,
    }
    assert [one["question"]["metric"] for one in account["ends"]] == [TTFT.metric, TOKENS.metric]
    assert account["confirmation"]["question"] == account["question"]
    assert account["skipped"] == [{"name": "4a4b4c4", "why": "no"}]
    assert (account["before"], account["after"], account["confirmed"]) == (
        "2a2b2c2",
        "3a3b3c3",
        ["commit 3a3b3c3"],
    )
    assert account["oddities"][0]["name"] == "5a5b5c5"
    assert account["narrowed_to"] is None


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("axis", ["releases", "commits", "flags"])
def test_every_outcome_has_an_account_that_is_json(axis: str, outcome: Outcome) -> None:
    account = told(axis, found(outcome, probabilities={3: 0.9}))
    assert json.loads(json.dumps(account, allow_nan=False))["outcome"] == str(outcome)
    assert (account["confirmation"] is None) == (outcome is not Outcome.CULPRIT)


def test_a_confirmation_of_one_of_several_suspects_is_left_out() -> None:
    account = told("releases", found(Outcome.UNDECIDED, (2, 3, 4), confirmation=change(1.1)))
    assert account["confirmation"] is None
    assert (account["before"], account["after"]) == ("0.20.0", "0.25.0")


@pytest.mark.parametrize(("last", "name"), [(5, None), (4, "0.24.0"), (1, "0.21.0")])
def test_how_far_it_was_searched_follows_from_what_has_a_probability(last: int, name: str | None) -> None:
    finding = found(suspects=(1,), probabilities=dict.fromkeys(range(1, last + 1), 1 / last))
    assert told("releases", finding)["narrowed_to"] == name


@given(st.floats(0.5, 2), st.integers(2, 30))
def test_the_interval_of_a_side_lies_around_it_and_is_narrower_with_more_launches(
    factor: float, launches: int
) -> None:
    def half(count: int) -> float:
        shown = told("releases", found(confirmation=change(factor, launches=count)))["confirmation"]
        for side in ("base", "candidate"):
            assert shown[f"{side}_low"] < shown[side] < shown[f"{side}_high"]
            middle = math.sqrt(shown[f"{side}_low"] * shown[f"{side}_high"])
            assert middle == pytest.approx(shown[side], rel=1e-4)
        return math.log(shown["base_high"] / shown["base"])

    # The spread of these changes grows with the root of the launches.
    assert half(launches) == pytest.approx(half(2), rel=1e-3)


def test_what_a_later_line_of_flags_found_odd_says_against_what() -> None:
    finding = found(skipped={1: "no"}, oddities=[odd(2, 1.1, "in between")])
    given = "with --x taken over"
    (one,) = oddities(FLAGS, finding, given)
    assert (one["name"], one["against"]) == (f"+ without --b {given}", f"good {given}")
    assert skipped(FLAGS, finding, given) == [{"name": f"+ --a 1 {given}", "why": "no"}]
    account = told("flags", finding)
    account["oddities"].append(json.loads(json.dumps(one)))
    shown = [line for line in culprit_lines(account) if "is in between" in line]
    assert [line.partition(", against ")[2] for line in shown] == ["the good end).", f"good {given})."]
