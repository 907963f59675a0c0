from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from bench.history.run import Found, grade, hints
from bench.history.ways import LONGEST_OF_OTAVA, WAYS
from bench.history.worlds import EDGE, UNCHANGED, Drawn, stepped, unchanged
from tests.commanding import ROOT


@pytest.mark.parametrize("kind", UNCHANGED)
def test_a_history_is_the_same_each_time_and_as_noisy_as_it_says(kind: str) -> None:
    drawn = unchanged(kind, 2000, 0.03, 1)
    assert np.array_equal(drawn.values, unchanged(kind, 2000, 0.03, 1).values)
    assert not np.array_equal(drawn.values, unchanged(kind, 2000, 0.03, 2).values)
    assert drawn.steps == ()
    assert 1.4826 * np.median(np.abs(np.diff(drawn.values))) / math.sqrt(2) == pytest.approx(0.03, rel=0.35)


def test_a_step_is_where_it_is_said_to_be_and_nowhere_near_an_end() -> None:
    for seed in range(60):
        drawn = stepped(0.2, 50, 1e-4, seed - seed % 2)
        (at,) = drawn.steps
        assert EDGE <= at <= 50 - EDGE
        assert drawn.values[at] - drawn.values[at - 1] == pytest.approx(math.log1p(0.2), abs=1e-3)
        assert at in hints(drawn, seed)


def test_a_finding_is_graded_by_how_near_it_is() -> None:
    drawn = Drawn(np.zeros(40), (20,))
    assert grade([22], drawn) == Found(True, 2, 0)
    assert grade([5, 20], drawn) == Found(True, 0, 1)
    assert grade([30], drawn) == Found(False, 0, 1)
    assert grade([], drawn) == Found(False, 0, 0)
    assert grade([7], Drawn(np.zeros(40), ())) == Found(False, 0, 1)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_finds_a_step_that_nobody_could_miss(way: str) -> None:
    drawn = stepped(0.5, LONGEST_OF_OTAVA, 0.002, 0)
    found = grade(WAYS[way](drawn.values, ()), drawn)
    assert found.is_found
    assert found.off <= 2  # ruptures looks at every fifth place, if nothing is said


def test_the_benchmark_says_what_it_takes() -> None:
    asked = [sys.executable, "-m", "bench.history.run", "--help"]
    said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--count" in said
