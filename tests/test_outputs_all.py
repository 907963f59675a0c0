"""One record with all that can come of a test, through everything that is made of records."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree

import pytest
from _pytest.junitxml import LogXML

from pytest_llmperf.declare.options import OUTPUTS
from pytest_llmperf.keep.history import session_of
from pytest_llmperf.keep.history_file import HistoryFile
from pytest_llmperf.keep.schema import schema
from pytest_llmperf.outputs import write_output
from pytest_llmperf.places.url import ExistingServer
from pytest_llmperf.probing import Answer
from pytest_llmperf.report.annotations import Annotation, commands
from pytest_llmperf.report.outcome import outcomes
from pytest_llmperf.report.overview import overview, total
from pytest_llmperf.report.probes import probe_lines
from pytest_llmperf.report.progress import Progress
from pytest_llmperf.report.properties import properties
from pytest_llmperf.report.step_summary import VARIABLE, append_step_summary
from pytest_llmperf.session import PerformanceSession
from tests.judged import settings
from tests.report.entries import SLOW, Writer, latencies
from tests.report.page_records import failing
from tests.report.records import failure, judged, record, with_hostile_text
from tests.report.test_probes import PROBED
from tests.schemas import checked

Json = dict[str, Any]
WARM = {"medians_ms": [12.5, 12.0], "settled": True}
DIED = "llamacpp: the engine ended before it was ready\n  error: no such file"


def only_probes() -> Json:
    writer = Writer("tests/test_perf.py::test_prompts", ttft_ms=300)
    writer.result.probed = PROBED
    return {**writer.entry(), "verdict": "pass"}


def without_answers() -> Json:
    """All of whose probes the load generator was late for."""
    probed = {**PROBED, "answers": {"invalid": 14}, "last_broken": None}
    return {
        **only_probes(),
        "test": "tests/test_perf.py::test_late_prompts",
        "probed": probed,
        "verdict": "invalid",
        "error": "none of its probes says anything about the engine: 14 invalid",
    }


def invalid() -> Json:
    writer = Writer("tests/test_perf.py::test_invalid", ttft_ms=300)
    writer.launch(1, SLOW, latencies(), health={"problems": ("the load generator was late",)})
    return {**writer.entry(), "verdict": "invalid", "error": "the load generator was late"}


def ended_while_measured() -> Json:
    writer = Writer("tests/test_perf.py::test_dies", ttft_ms=300)
    writer.launch(1, SLOW, latencies())
    return {**writer.entry(), "verdict": "error", "error": DIED}


def everything() -> Json:
    """Side by side, with series, limits, changes, probes, and a launch that does not count."""
    entry = failing()
    entry["probed"] = PROBED
    entry["left_out"] = ["launch 3: the load generator was late"]
    return entry


def whole() -> Json:
    """The record."""
    tests = [
        *(only_probes(), without_answers(), invalid(), ended_while_measured(), everything()),
        *(judged("regressed", 1.2), judged("pass", nodeid="tests/test_perf.py::test_fine")),
    ]
    for entry in tests:
        for point in entry["points"]:
            for run in (*point["runs"], *point["base_runs"]):
                run["warm_up"] = WARM
    return record(
        *tests,
        id="20261122T020000Z-abcdef",
        repository={"commit": "c" * 40, "changed": True},
        failures=[failure("tests/test_perf.py::test_never_up", DIED)],
    )


def hostile() -> Json:
    content: Json = with_hostile_text(whole())
    kept = ("llmperf_record", "id", "started", "written", "status")
    return {**content, **{name: whole()[name] for name in kept}}


RECORDS: dict[str, Callable[[], Json]] = {
    "whole": whole,
    **{
        one.__name__: lambda one=one: record(one())  # type: ignore[misc]
        for one in (only_probes, without_answers, invalid, ended_while_measured, everything)
    },
    "an engine that never ran": lambda: record(failures=[failure("t.py::test_a", DIED)]),
    "nothing": record,
    "hostile": hostile,
}
every_record = pytest.mark.parametrize("content", [make() for make in RECORDS.values()], ids=RECORDS)


def written(kind: str, content: Json, directory: Path) -> str:
    write_output(kind, path := directory / "out", [content])
    return path.read_text(encoding="utf-8")


class _Words(HTMLParser):
    """What a page says outside of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words, self._silent = "", False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._silent = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._silent = False

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words += f"{data}\n"


def test_it_is_a_record() -> None:
    content = json.loads(json.dumps(whole()))
    checked({**content, "versions": {"pytest-llmperf": "0", "python": "3"}})


def test_a_session_writes_what_the_schema_has(tmp_path: Path) -> None:
    progress = Progress(lambda told, transient: None)
    session = PerformanceSession(settings(), tmp_path, {}, ExistingServer(), progress, lambda test: [test])
    checked(session.as_json("complete"))


def test_every_answer_of_a_probe_is_in_the_schema_and_has_words() -> None:
    probed = schema()["properties"]["tests"]["items"]["properties"]["probed"]
    answers = {*get_args(Answer), "engine failed"}
    assert set(probed["properties"]["answers"]["properties"]) == answers
    for answer in answers:
        (line,) = probe_lines({"probed": {**PROBED, "answers": {answer: 3}, "last_broken": None}})
        assert line.endswith(f": 3 {answer}") == (answer in ("undecided", "invalid"))


@every_record
@pytest.mark.parametrize("kind", OUTPUTS)
def test_every_output_is_made_of_it(kind: str, content: Json, tmp_path: Path) -> None:
    text = written(kind, content, tmp_path)
    assert len(text) > 10
    if "json" in kind:
        json.loads(text)
    assert "<script>alert" not in text or kind != "html"


@pytest.mark.parametrize("kind", ["html", "markdown"])
def test_people_are_told_of_probes(kind: str, tmp_path: Path) -> None:
    text = written(kind, record(only_probes()), tmp_path)
    said = _Words(text).words if kind == "html" else text
    assert "14 probes in 2 min 40 s: 4 met the limits, 7 broke them" in said
    assert "86 in / 1 out: TTFT p50 24 ms, limit 20 ms" in said
    assert "nothing was measured" not in said.lower()


@pytest.mark.parametrize("kind", ["html", "markdown"])
def test_every_test_is_named_and_so_is_what_failed(kind: str, tmp_path: Path) -> None:
    text = written(kind, whole(), tmp_path)
    said = _Words(text).words if kind == "html" else text
    for name in ("test_prompts", "test_late_prompts", "test_invalid", "test_dies", "test_chat_stays"):
        assert name in said
    assert "the engine ended before it was ready" in said


def test_what_failed_by_itself_is_told_with_what_broke_it_and_not_to_be_accepted(tmp_path: Path) -> None:
    text = written("markdown", record({**only_probes(), "verdict": "failed by itself"}), tmp_path)
    assert "the log of the job has it. The last that broke a limit: 86 in / 1 out" in text
    assert "# measure it again" in text
    assert "--llmperf-update" not in text


def test_benchmarks_are_of_what_was_measured_alone(tmp_path: Path) -> None:
    content = json.loads(written("benchmark-json", whole(), tmp_path))
    named = {entry["extra_info"]["test"].rpartition("::")[2] for entry in content["benchmarks"]}
    assert named == {"test_chat_stays_interactive", "test_chat", "test_fine"}
    assert content["commit_info"]["id"] == "c" * 40
    assert content["commit_info"]["dirty"] is True


@every_record
def test_a_history_takes_it_and_gives_it_back(content: Json, tmp_path: Path) -> None:
    history = HistoryFile(tmp_path / "h.sqlite")
    session = session_of(content, "r.json")
    history.add(session)
    (read,) = history.read()
    assert read.id == session.id
    assert [one.test for one in read.results] == [one.test for one in session.results]
    tests = {entry["test"] for entry in content["tests"] if any(_valid(point) for point in entry["points"])}
    assert {one.test for one in session.results} == tests


def _valid(point: Json) -> list[Json]:
    return [run for run in (*point["runs"], *point["base_runs"]) if not run["health"]["problems"]]


@every_record
def test_junit_takes_it(content: Json, tmp_path: Path) -> None:
    log = LogXML(str(tmp_path / "j.xml"), None)
    log.pytest_sessionstart()
    for number, entry in enumerate(content["tests"]):
        report = pytest.TestReport(
            *(f"t.py::t{number}", ("t.py", 1, f"t{number}"), {}, "passed", None, "call"),
            user_properties=properties(entry),
        )
        for report.when in ("setup", "call", "teardown"):
            log.pytest_runtest_logreport(report)
    log.pytest_sessionfinish()
    found = ElementTree.parse(tmp_path / "j.xml").iter("property")
    verdicts = [one.attrib["value"] for one in found if one.attrib["name"] == "llmperf.verdict"]
    assert verdicts == [entry["verdict"] for entry in content["tests"]]


def test_junit_has_the_probes() -> None:
    found = dict(properties(only_probes()))
    assert found["llmperf.probes"].startswith("14 probes in 2 min 40 s: 4 met the limits")


@every_record
def test_annotations_are_one_line_each(content: Json) -> None:
    lines = commands(Annotation(one, "t.py", 1) for one in outcomes(content) if one.word != "pass")
    assert len(lines) == min(10, len(lines))
    for line in lines:
        assert re.fullmatch(r"::(error|warning|notice) file=t\.py,line=1,title=[^\r\n]*::[^\r\n]+", line)


@every_record
@pytest.mark.parametrize("width", [None, 40, 200])
def test_the_overview_has_a_line_for_each(content: Json, width: int | None) -> None:
    rows = overview(content["tests"], width)
    assert [verdict for verdict, _ in rows] == [entry["verdict"] for entry in content["tests"]]
    assert all(line.isprintable() for _, line in rows)
    if content["tests"]:
        assert total(content["tests"], 12.0).endswith("12 s")


def test_the_overview_tells_what_probes_came_to() -> None:
    ((_, line),) = overview([only_probes()], 120)
    assert line == f"test_prompts  {probe_lines(only_probes())[0]}"
    ((_, line),) = overview([{**only_probes(), "verdict": "failed by itself"}], 120)
    assert line.startswith("test_prompts  86 in / 1 out: TTFT p50 24 ms, limit 20 ms")


@every_record
def test_a_step_is_summed_up(content: Json, tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    assert append_step_summary([content], {VARIABLE: str(path)}) == []
    assert "<!-- llmperf:" in path.read_text()
