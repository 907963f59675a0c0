from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judge.cells import BATCH, CURVE, OURS, REQUEST_SESSIONS, Cell, Tally, cells, tally_batch
from bench.judge.plot import plot
from bench.judge.rules import RULES
from bench.judge.tables import percent, report, wilson
from bench.judge.worlds import NORMAL, PROMISED, WORLDS, Shape

SMALL = Shape(tests=3, metrics=2, launches=5)
NAMES = {OURS, *(rule.name for rule in RULES)}


@pytest.fixture(scope="module")
def tallies() -> list[Tally]:
    cells = (Cell(NORMAL, 0.0, 3), Cell(NORMAL, NORMAL.effect, 3))
    return [tally for cell in cells for tally in tally_batch(cell, 0, 3, SMALL)]


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    # By scipy's binomtest(…).proportion_ci(method="wilson").
    [(0, 10, 0, 0.2775328), (5, 10, 0.2365931, 0.7634069), (1, 200, 0.0008833, 0.0277737)],
)
def test_wilsons_interval(hits: int, trials: int, low: float, high: float) -> None:
    assert wilson(hits, trials) == pytest.approx((low, high), abs=1e-6)


@given(st.integers(1, 10**6).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_an_interval_lies_around_its_share_within_0_and_1(pair: tuple[int, int]) -> None:
    hits, trials = pair
    low, high = wilson(hits, trials)
    assert 0 <= low <= hits / trials + 1e-12
    assert hits / trials - 1e-12 <= high <= 1


def test_shares_are_read_easily() -> None:
    assert percent(0, 2000) == "0 % (0–0.2)"
    assert percent(2000, 2000) == "100 % (99.8–100)"
    assert percent(946, 1000) == "94.6 % (93.0–95.8)"
    assert percent(500, 1000) == "50 % (47–53)"
    assert percent(None, 10) == "–"


def test_batches_add_up(tallies: list[Tally]) -> None:
    ours = tallies[0]
    both = ours + ours
    assert both.sessions == 2 * ours.sessions
    assert both.alarmed == 2 * (ours.alarmed or 0)
    assert both.found is None
    assert both.tests_share == pytest.approx(ours.tests_share)
    assert sum(size for _, size in Cell(NORMAL, 0.0, 60).batches()) == 60


def test_every_rule_is_tallied_at_every_design(tallies: list[Tally]) -> None:
    kinds = {(tally.rule, tally.launches) for tally in tallies}
    assert kinds == {(OURS, 5)} | {(rule.name, launches) for rule in RULES for launches in (3, 5)}
    for tally in tallies:
        if tally.rule == OURS:
            assert 3 / 5 <= tally.tests_share <= tally.starts_share <= 1
            assert tally.judged == 3 * SMALL.items
        else:
            assert (tally.alarmed is None) == (tally.effect > 0)
        assert (tally.found is None) == (tally.effect == 0)


def test_requests_are_drawn_for_some_sessions_only() -> None:
    beyond = -(-REQUEST_SESSIONS // BATCH)
    rules = {tally.rule for tally in tally_batch(Cell(NORMAL, 0.0, 500), beyond, 1, SMALL)}
    assert rules == NAMES - {rule.name for rule in RULES if rule.per_request}


def test_what_the_project_promises_is_simulated_most() -> None:
    asked = cells(2000)
    assert len({(cell.world, cell.effect) for cell in asked}) == len(asked)
    assert {cell.world.name for cell in asked} == {world.name for world in WORLDS}
    assert {cell.sessions for cell in asked if cell.world in PROMISED and not cell.effect} == {2000}
    assert {cell.effect for cell in asked if cell.world is NORMAL} == {0.0, *CURVE}


def test_the_report_has_a_row_for_each_world_and_the_figures_of_each_rule(tallies: list[Tally]) -> None:
    text = report(tallies, SMALL, "Some sessions.")
    assert text.startswith("Some sessions.\n\n### Worlds\n")
    normal = next(line for line in text.splitlines() if line.startswith("| normal | ") and "(" in line)
    assert len([cell for cell in normal.split("|") if "%" in cell]) == len(NAMES)
    for world in WORLDS:
        assert text.count(f"\n| {world.name} ") >= 2


def test_the_plot_is_an_svg_with_a_bar_and_a_curve_for_each_rule(tallies: list[Tally]) -> None:
    root = ElementTree.fromstring(plot({t.kind: t for t in tallies}, NORMAL, [NORMAL.effect], 5))
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    assert len(root.findall(f"{space}polyline")) == len(NAMES)
    assert len(root.findall(f"{space}rect")) == 1 + len(NAMES)
    texts = [node.text for node in root.findall(f"{space}text")]
    assert set(texts) >= NAMES
    assert len({line.get("stroke") for line in root.findall(f"{space}polyline")}) == len(NAMES)
