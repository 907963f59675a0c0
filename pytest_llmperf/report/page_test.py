"""One test on the page: its verdict in words, then charts with their tables, then what stands behind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_llmperf.declare.metrics import METRICS
from pytest_llmperf.declare.nodeid import split_name
from pytest_llmperf.report.cause import likely_cause
from pytest_llmperf.report.drift import course_lines
from pytest_llmperf.report.explain import error_lines, sentence
from pytest_llmperf.report.judged import (
    broken,
    change_line,
    changes,
    creep_line,
    crept,
    is_side_by_side,
    limit_line,
    limits,
    worsened,
)
from pytest_llmperf.report.light import light_lines, price_lines
from pytest_llmperf.report.markup import Child, Markup, tag
from pytest_llmperf.report.notes import notes
from pytest_llmperf.report.page_charts import courses, curves, forest, legend, searches
from pytest_llmperf.report.page_figures import Figures
from pytest_llmperf.report.page_record import FAILING, NAME, UNSURE, Entry, name_of
from pytest_llmperf.report.page_series import Inside
from pytest_llmperf.report.page_subjects import differences, fold, preformatted
from pytest_llmperf.report.page_tables import (
    changes_table,
    health_table,
    launches_table,
    limits_table,
    measured_table,
    probes_table,
)
from pytest_llmperf.report.printable import instead_of
from pytest_llmperf.report.probes import probe_lines
from pytest_llmperf.report.steps import next_steps
from pytest_llmperf.report.sweeps import sweep_lines
from pytest_llmperf.report.table import SLO_BROKEN
from pytest_llmperf.report.terminal import headline
from pytest_llmperf.report.width import squeezed

_MARKS = {"pass": "✓", "improved": "▲", "inconclusive": "?", "not judged": "–"}
_JUDGED = (SLO_BROKEN, "regressed", "inconclusive")
_COMMAND = re.compile(r"(?P<said>.*?): (?P<command>(?:pytest|llmperf) .*)", re.DOTALL)
_CAPACITY = METRICS["capacity"].name


def badge(verdict: str) -> Markup:
    """A verdict with its mark, in its colour."""
    return tag("span", f"{_MARKS.get(verdict, '✗')} {verdict}", class_=f"badge {tone(verdict)}")


def tone(verdict: str) -> str:
    """The colour of a verdict, by its class."""
    return "bad" if verdict in FAILING else "unsure" if verdict in UNSURE else "good"


def told(entry: Entry) -> str:
    """One sentence on what came of a test."""
    if entry["verdict"] in _JUDGED:
        return sentence({**entry, "test": name_of(entry)})
    if entry["error"]:
        lines = [line.strip() for line in str(entry["error"]).splitlines() if line.strip()]
        return f"{name_of(entry)}: {' '.join(lines[:2])}"
    if entry["verdict"] == "failed by itself":
        return f"{name_of(entry)} failed by its own assertions."
    return headline(entry)


def steps(entry: Entry) -> list[Child]:
    """What to type next; nothing for records from before a change told its risk."""
    if any(change["risk"] is None for point in entry["points"] for change in point["changes"]):
        return []
    return [_step(step) for step in next_steps(entry)] if entry["verdict"] in _JUDGED else []


def _step(step: str) -> Child:
    read = _COMMAND.fullmatch(step)
    return step if read is None else [f"{read['said']}: ", _typed(read["command"])]


def _typed(command: str) -> Markup:
    """A command that can be copied: whole or not at all."""
    if (said := instead_of(command)) is not None:
        return tag("span", said, class_="quiet")
    return tag("code", command, class_="command")


def test_section(
    entry: Entry, anchor: str, inside: list[Inside], figures: Figures, *, is_open: bool
) -> Markup:
    """All of one test."""
    (file, name), shown = split_name(str(entry["test"])), name_of(entry)
    return tag(
        "details",
        tag(
            "summary",
            badge(entry["verdict"]),
            tag("h3", shown, title=name if shown != name else None),
            tag("span", squeezed(file, NAME), class_="quiet"),
        ),
        tag("div", _verdict(entry), _parts(entry, inside, figures), class_="body"),
        class_=f"test {tone(entry['verdict'])}",
        id=anchor,
        open=is_open,
    )


def _verdict(entry: Entry) -> Iterator[Child]:
    said = told(entry)
    if said != (line := headline(entry)):
        yield tag("p", said, class_="lead")
    yield tag("p", line, class_="quiet")
    if entry["error"]:
        yield preformatted(str(entry["error"]).splitlines())
    if judged := list(_judgements(entry)):
        yield tag("ul", [tag("li", one) for one in judged], class_="judged")
    if (cause := likely_cause(entry)) is not None and any(changes(entry, "regressed", "inconclusive")):
        word = "Likely" if cause.is_told else "Perhaps"
        yield tag("p", tag("strong", f"{word}: {cause.part}. "), "; ".join(cause.basis))
    if entry["baseline"] and not is_side_by_side(entry):
        yield tag("p", entry["baseline"], class_="quiet")
    if following := steps(entry):
        yield tag("div", tag("h4", "Next"), tag("ul", [tag("li", step) for step in following]), class_="next")
    if warned := [*notes(entry), *(f"left out: {problem}" for problem in entry["left_out"])]:
        yield tag("ul", [tag("li", one) for one in warned], class_="notes")


def _judgements(entry: Entry) -> Iterator[Child]:
    """What broke the test, or left it undecided, with the evidence."""
    for point, objective in broken(entry):
        errors = error_lines(point) if objective["metric"] == "error_rate" else []
        yield [
            _word("SLO", "bad"),
            limit_line(point, objective),
            tag("ul", [tag("li", e) for e in errors]) if errors else None,
        ]
    for found in worsened(entry):
        yield [_word("worse", "bad"), change_line(*found)]
    for found in crept(entry):
        yield [_word("worse", "bad"), creep_line(*found)]
    if broken(entry) or worsened(entry):
        return
    for found in limits(entry, "inconclusive"):
        yield [_word("undecided", "unsure"), limit_line(*found)]
    for found in changes(entry, "inconclusive"):
        yield [
            _word("undecided", "unsure"),
            change_line(*found) if found[1]["risk"] is not None else found[1]["label"],
        ]


def _word(word: str, colour: str) -> Markup:
    return tag("strong", f"{word} ", class_=colour)


def _parts(entry: Entry, inside: list[Inside], figures: Figures) -> Iterator[Child]:
    yield _part("Service-level objectives", limits_table(entry))
    if (chart := forest(entry)) is not None:
        yield _part("Changes", figures.add(chart), changes_table(entry))
    drawn = [figures.row(list(curves(entry, course)), legend(entry)) for course in courses(entry)]
    lines = sweep_lines(entry)
    of_searches = [tag("p", line) for line in lines if line.startswith(_CAPACITY)]
    swept = [line for line in lines if not line.startswith(_CAPACITY)]
    under = [tag("p", line) for line in (*swept, *light_lines(entry), *price_lines(entry))]
    yield _part("Latency and load", drawn, measured_table(entry), under)
    found = [(figures.add(chart), probes_table(point)) for point, chart in searches(entry)]
    yield _part(
        "Capacity", of_searches, [[chart, fold("Runs of the search", table)] for chart, table in found]
    )
    yield _part("Probes", *_probes(entry))
    yield _inside(entry, inside, figures)
    yield differences(entry)
    yield _behind(entry)


def _probes(entry: Entry) -> Iterator[Child]:
    """What they came to, and how to measure the last that broke a limit alone."""
    yield from (tag("p", line) for line in probe_lines(entry))
    if by_hand := ((entry.get("probed") or {}).get("last_broken") or {}).get("by_hand"):
        yield preformatted(by_hand)


def _part(title: str, *content: Child) -> Markup | None:
    """A part of the section; None if there is nothing in it."""
    body = tag("div", *content)
    return tag("section", tag("h4", title), *content) if body != "<div></div>" else None


def _inside(entry: Entry, inside: list[Inside], figures: Figures) -> Markup | None:
    if not any(point["runs"] for point in entry["points"]):
        return None
    if not inside:
        return tag(
            "p", "Distributions, single requests and the engine over time: not recorded.", class_="quiet"
        )
    cut = [one["load"] for one in inside if one.get("is_cut")]
    note = (
        f"Left out to keep the page small, and in the record: parts of {', '.join(map(str, cut))}."
        if cut
        else None
    )
    shown = [one for one in inside if one.keys() - {"load", "is_cut"}]
    return _part(
        "Inside a load point",
        figures.inside(shown, legend(entry)),
        tag("p", note, class_="quiet") if note else None,
    )


def _behind(entry: Mapping[str, Any]) -> Markup | None:
    """What the verdict stands on: each launch, the load generator, how baselines went."""
    drift = [line for point in entry["points"] for line in course_lines(point)]
    folds = [
        fold("Each launch", table) if (table := launches_table(entry)) else None,
        fold("The load generator", health) if (health := health_table(entry)) else None,
        fold("Accepted baselines", preformatted(drift)) if drift else None,
        fold("The command", tag("p", _typed(" ".join(map(str, entry["command"])))))
        if entry["command"]
        else None,
    ]
    return _part("Behind it", folds)
