"""The HTML report: one page that works without a network, from the records of one or several sessions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llmperf.report.document import asset, document
from pytest_llmperf.report.markup import Child, Markup, data, join, tag
from pytest_llmperf.report.page_figures import Figures
from pytest_llmperf.report.page_overview import index, overview, title_of
from pytest_llmperf.report.page_record import FAILING, Record, completed
from pytest_llmperf.report.page_series import Inside, insides, within
from pytest_llmperf.report.page_subjects import environments, fold, starts, subjects
from pytest_llmperf.report.page_test import test_section
from pytest_llmperf.report.table import LEGEND

_SCRIPTS = ("vendor/d3.min.js", "vendor/plot.min.js", "draw.js", "inside.js", "page.js")
_STYLE = "page.css"
_MOST = 1_900_000
_FEW = 3
"""With more tests than these, those that did not fail are folded."""


def page(records: Sequence[Record]) -> str:
    """The document."""
    return _page([completed(record) for record in records])


def _page(records: Sequence[dict[str, Any]]) -> str:
    found = [(entry, insides(entry)) for record in records for entry in record["tests"]]
    bare = Figures()
    without: list[list[Inside]] = [[] for _ in found]
    size = len(_document(records, _body(records, bare, without), bare).encode())
    figures = Figures()
    body = _body(records, figures, within(max(0, _MOST - size), found))
    return _document(records, body, figures)


def _document(records: Sequence[Record], body: Markup, figures: Figures) -> str:
    content = tag("script", data(figures.content), type="application/json", id="figures")
    scripts = [asset(name) for name in _SCRIPTS]
    return document(title_of(records), asset(_STYLE), join([body, content]), scripts)


def _body(records: Sequence[Record], figures: Figures, inside: Sequence[list[Inside]]) -> Markup:
    return join(
        [
            tag("a", "To the results", href="#results", class_="skip"),
            tag("main", list(_results(records, figures, inside)), id="results", tabindex="-1"),
            tag("footer", [tag("p", line) for line in LEGEND], tag("p", _READING)),
        ]
    )


_READING = (
    "Dots are single launches, lines go through their means, bars are 95% intervals. The figures of "
    "every chart are in a table under it."
)


def _results(records: Sequence[Record], figures: Figures, inside: Sequence[list[Inside]]) -> Iterator[Child]:
    anchors = [[f"r{r}t{t}" for t, _ in enumerate(record["tests"])] for r, record in enumerate(records)]
    sections = [f"r{r}" for r, _ in enumerate(records)]
    several = len(records) > 1
    if several:
        yield tag("header", list(index(records, anchors, sections)))
    yield tag(
        "noscript",
        tag("p", "Charts need JavaScript; all verdicts and figures are in the text and the tables."),
    )
    begun = 0
    for record, of_record, section in zip(records, anchors, sections, strict=True):
        of_tests = inside[begun : begun + len(of_record)]
        begun += len(of_record)
        head = tag("header", list(overview(record, of_record, level=2 if several else 1)))
        tests = list(_tests(record, of_record, of_tests, figures, opens=not several))
        yield tag("article", head, tests, _context(record, is_folded=several), id=section)


def _tests(
    record: Record, anchors: Sequence[str], inside: Sequence[list[Inside]], figures: Figures, *, opens: bool
) -> Iterator[Child]:
    few = len(record["tests"]) <= _FEW
    for entry, anchor, of_test in zip(record["tests"], anchors, inside, strict=True):
        is_open = opens and (few or entry["verdict"] in FAILING)
        yield test_section(entry, anchor, of_test, figures, is_open=is_open)


def _context(record: Record, *, is_folded: bool) -> Child:
    """What all tests of a session share."""
    parts = [part for part in (environments(record), subjects(record), starts(record)) if part]
    if not parts:
        return None
    shown = fold("Environment, subjects and launches", parts) if is_folded else parts
    return tag("section", shown, class_="context")
