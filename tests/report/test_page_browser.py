"""The page in a real browser: it is drawn, complains of nothing, lets nothing out, and keys reach all."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_llmperf.declare.metrics import parse_metric
from pytest_llmperf.outputs import write_output
from tests.report.browser import Browser, found
from tests.report.page_records import failing, record
from tests.report.test_page import HOSTILE, REAL, with_texts

PROGRAM = found()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no chromium and no google-chrome on this machine")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert PROGRAM is not None
    with Browser(PROGRAM, tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "failed.html"
    write_output("html", path, [record(failing(), failing("t.py::test_one", (8.0,), slowdown=1.0))])
    return path


def opened(browser: Browser, content: dict[str, Any], path: Path, **how: Any) -> None:
    write_output("html", path, [content])
    browser.open(path, **how)


def cells(browser: Browser, caption: str) -> list[list[str]]:
    """The texts of all tables with such a caption, folded ones too, row by row."""
    rows: list[list[str]] = browser.value(
        "[...document.querySelectorAll('table')]"
        f".filter(t => t.caption.textContent.startsWith({json.dumps(caption)}))"
        ".flatMap(t => [...t.rows].map(r => [...r.cells].map(c => c.textContent)))"
    )
    return rows


@pytest.mark.parametrize("path", REAL[::2], ids=lambda path: path.stem)
def test_the_figures_in_the_page_are_those_of_the_record(
    path: Path, browser: Browser, tmp_path: Path
) -> None:
    content = json.loads(path.read_text())
    opened(browser, content, tmp_path / "page.html")
    assert browser.complaints == []
    assert browser.requests == [(tmp_path / "page.html").as_uri()]
    compared = 0
    for entry in content["tests"]:
        title, *rows = cells(browser, f"Measured in {entry['test'].rpartition('::')[2]}") or [[]]
        if len({point["load"] for point in entry["points"]}) == len(entry["points"]):
            shown = [dict(zip(title, row, strict=True)) for row in rows]
            now = {row["load"]: row for row in shown if row.get("side", "now") == "now"}
            compared += sum(_same(now[point["load"]], point) for point in entry["points"] if now)
    assert compared or "capacity" in path.stem


def _same(row: dict[str, str], point: dict[str, Any]) -> int:
    """How many cells were compared with the geometric means of the record's runs."""
    titles = {"TTFT p50, ms": "ttft_p50_ms", "TTFT p95, ms": "ttft_p95_ms", "TPOT p50, ms": "tpot_p50_ms"}
    for title, name in titles.items():
        values = [run["values"][name] for run in point["runs"]]
        mean = math.exp(sum(map(math.log, values)) / len(values))
        assert float(row[title].strip("~✓✗?▲")) == pytest.approx(mean, rel=6e-3)
    return len(titles)


def test_limits_and_changes_in_the_page_are_those_of_the_record(browser: Browser, failed: Path) -> None:
    browser.open(failed)
    entry = failing()
    rows = cells(browser, "Changes")
    expected = [
        (
            point["load"],
            change["label"],
            change["verdict"],
            parse_metric(change["metric"]).format(change["candidate"]),
        )
        for point in entry["points"]
        for change in point["changes"]
    ]
    shown = [(row[0], row[1], row[2][2:], row[4]) for row in rows if row[0] != "load"]
    assert shown[: len(expected)] == expected
    limits = [row for row in cells(browser, "Service-level objectives") if row[0] != "load"]
    assert [row[2][2:] for row in limits][:8] == [
        objective["verdict"]
        for point in entry["points"]
        for objective in point["objectives"]
        if objective["limit"]
    ]


_DOTS = """(() => {
  const figures = [...document.querySelectorAll('figure')];
  const first = figures.find(f => f.querySelector('figcaption').textContent === 'TTFT p95, ms');
  return [...first.querySelectorAll('g[aria-label=dot] circle')].map(c => [
    +c.getAttribute('cx'), +c.getAttribute('cy'), c.closest('[stroke]').getAttribute('stroke')]);
})()"""


def test_a_curve_has_each_launch_where_its_value_belongs(browser: Browser, failed: Path) -> None:
    browser.open(failed)
    points = browser.value(_DOTS)
    values = [
        run["values"]["ttft_p95_ms"]
        for side in ("runs", "base_runs")
        for point in failing()["points"]
        for run in point[side]
    ]
    drawn = [(x, y) for x, y, _ in points]
    assert len(drawn) == len(values) == 24
    slope, start = np.polyfit(values, [y for _, y in drawn], 1)
    assert slope < 0
    assert np.abs(np.array([y for _, y in drawn]) - (slope * np.array(values) + start)).max() < 0.6
    assert len({round(x) for x, _ in drawn}) == 4
    assert [stroke for *_, stroke in points] == ["var(--candidate)"] * 12 + ["var(--base)"] * 12


def test_every_chart_is_drawn_and_changes_with_the_load_that_is_chosen(
    browser: Browser, failed: Path
) -> None:
    browser.open(failed)
    drawn = browser.value("document.querySelectorAll('figure svg').length")
    assert drawn == browser.value("document.querySelectorAll('figure').length") > 20
    inside = "document.querySelector('.inside figure svg').outerHTML"
    before = browser.value(inside)
    browser.value(
        "(s => { s.value = '1'; s.dispatchEvent(new Event('change')); })(document.querySelector('select'))"
    )
    browser.settle()
    assert browser.value(inside) != before
    assert browser.complaints == []


def test_every_chart_inside_a_load_point_has_its_figures_in_a_table(browser: Browser, failed: Path) -> None:
    browser.open(failed)
    browser.value("document.querySelectorAll('.inside details').forEach(d => { d.open = true; })")
    browser.settle()
    rows = cells(browser, "TTFT, ms: share of requests")
    series = failing()["points"][-1]["runs"]
    at_half = [
        run["series"]["quantiles"]["ttft_ms"][run["series"]["quantiles"]["levels"].index(0.5)]
        for run in series
    ]
    (half,) = [row for row in rows[:18] if row[0] == "50%"]
    assert float(half[1]) == pytest.approx(math.exp(np.log(at_half).mean()), rel=1e-3)
    requests = cells(browser, "Requests of one run")
    assert [float(row[2]) if row[2] != "–" else None for row in requests[1:61]] == [
        pytest.approx(row[2], rel=1e-3) if row[2] is not None else None
        for row in series[0]["series"]["waterfall"]["rows"]
    ]
    assert len(cells(browser, "The engine over time: requests")) >= 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_have_the_contrast_that_accessibility_asks_for(
    browser: Browser, failed: Path, scheme: str
) -> None:
    browser.open(failed, scheme=scheme)
    worst = browser.value(_CONTRAST)
    assert worst["ratio"] >= 4.5, worst


_CONTRAST = """(() => {
  const rgb = text => text.match(/[0-9.]+/g).map(Number);
  const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] === 1) return c; } return [255, 255, 255]; };
  let worst = {ratio: 99};
  for (const e of document.querySelectorAll('main *, footer *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility()) continue;
    const style = getComputedStyle(e), ink = e.closest('svg') ? style.fill : style.color;
    if (!ink.startsWith('rgb')) continue;
    const [a, b] = [light(rgb(ink)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst.ratio) worst = {ratio, text: e.textContent.slice(0, 60), ink, behind: behind(e)};
  }
  return worst;
})()"""


def test_a_narrow_window_is_never_scrolled_sideways(browser: Browser, failed: Path) -> None:
    browser.open(failed, width=360)
    browser.value("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    browser.settle()
    for width in (360, 320, 700):
        browser.resize(width)
        assert browser.value("document.documentElement.scrollWidth") <= width


def test_keys_reach_everything_that_can_be_opened_chosen_followed_or_scrolled(
    browser: Browser, failed: Path
) -> None:
    browser.open(failed)
    wanted = browser.value(
        "[...document.querySelectorAll('a, summary, select, [tabindex=\"0\"]')]"
        ".filter(e => e.checkVisibility()).map((e, i) => { e.dataset.stop = i; return i; })"
    )
    reached = []
    for _ in wanted:
        browser.press("Tab")
        stop, outline = browser.value(
            "[+document.activeElement.dataset.stop, getComputedStyle(document.activeElement).outlineStyle]"
        )
        reached.append(stop)
        assert outline == "solid"
    assert reached == wanted
    browser.open(failed)
    browser.press("Tab")
    assert browser.value("document.activeElement.textContent") == "To the results"
    browser.press("Enter")
    assert browser.value("document.activeElement.id") == "results"


def test_a_link_opens_the_test_that_it_leads_to(browser: Browser, failed: Path) -> None:
    browser.open(failed)
    browser.value("document.querySelector('#r0t1').open = false")
    browser.value("document.querySelector('a[href=\"#r0t1\"]').click()")
    browser.settle()
    assert browser.value("document.querySelector('#r0t1').open") is True


def test_texts_of_others_are_shown_and_nothing_of_them_happens(browser: Browser, tmp_path: Path) -> None:
    texts = cycle(HOSTILE)
    content = with_texts(record(failing(rates=(2.0, 8.0), launches=2)), lambda: next(texts))
    opened(browser, content, tmp_path / "page.html", width=360)
    browser.value("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    browser.settle()
    assert browser.value("document.title") != "taken"
    assert browser.complaints == []
    assert len(browser.requests) == 1
    assert browser.value("document.querySelectorAll('img, iframe, object, embed').length") == 0
    assert browser.value("document.body.innerText.includes('<script>document.title')") is True
    assert browser.value("document.documentElement.scrollWidth") <= 360


def test_the_policy_of_the_page_lets_nothing_out_and_nothing_in(browser: Browser, failed: Path) -> None:
    browser.open(failed)
    refused = browser.value(
        "(async () => { const failed = []; document.addEventListener('securitypolicyviolation',"
        " e => failed.push(e.effectiveDirective)); await fetch('http://127.0.0.1:9/').catch(() => 0);"
        " new Image().src = 'http://127.0.0.1:9/x.png'; const s = document.createElement('script');"
        " s.textContent = 'document.title = \"taken\"'; document.body.append(s);"
        " const y = document.createElement('style'); y.textContent = 'b {}'; document.body.append(y);"
        " await new Promise(done => setTimeout(done, 100)); return failed.sort(); })()"
    )
    assert set(refused) == {"connect-src", "img-src", "script-src-elem", "style-src-elem"}
    assert browser.value("document.title") != "taken"


def test_without_scripts_all_words_and_tables_are_there(browser: Browser, failed: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(failed, draws=False)
        text = browser.value("document.body.innerText")
        assert "Charts need JavaScript" in text
        assert "misses its SLO" in text
        assert (
            browser.value("[...document.querySelectorAll('figure')].some(f => f.checkVisibility())") is False
        )
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
