from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from _pytest.junitxml import LogXML

from pytest_llmperf.report.properties import MOST, properties
from tests.report.entries import SLOW, Writer, latencies
from tests.report.records import judged, with_hostile_text


def test_what_was_measured_and_judged_is_there_by_name() -> None:
    found = dict(properties(judged("regressed", 1.2, ttft_ms=300)))
    assert found["llmperf.verdict"] == "regressed"
    assert found["llmperf.subject"] == "vllm --max-num-seqs 256"
    assert (found["llmperf.version"], found["llmperf.launches"]) == ("0.24.0", "8")
    assert (found["llmperf.base"], found["llmperf.base.kind"]) == ("vllm==0.23.0", "baseline")
    assert float(found["llmperf.ttft_p50_ms at 1/s"]) == pytest.approx(120)
    assert float(found["llmperf.error_rate at 4/s"]) == 0
    assert found["llmperf.ttft_p95_ms at 1/s, limit"] == "300 (pass)"
    assert found["llmperf.tpot_p50_ms at 4/s, change"] == "+20% (regressed; 95% interval +14% to +26%)"


def test_each_has_a_name_of_its_own_and_there_are_not_many() -> None:
    found = properties(judged("regressed", 1.2, ttft_ms=300))
    assert len(dict(found)) == len(found) < 40


def test_of_very_many_the_rest_is_counted() -> None:
    writer = Writer("t.py::test_a")
    for n in range(1, 60):
        writer.launch(1, type(SLOW)(rate=float(n), duration_s=30.0), latencies())
    writer.judge()
    found = properties(writer.entry())
    assert len(found) == MOST + 1
    assert re.fullmatch(r"\d+ more in the record", dict(found)["llmperf.left_out"])


def test_hostile_names_make_valid_xml(tmp_path: pytest.TempPathFactory) -> None:
    found = properties(with_hostile_text(judged("regressed", 1.2)))
    path = f"{tmp_path}/junit.xml"
    log = LogXML(path, None)
    report = pytest.TestReport(
        "t.py::t", ("t.py", 1, "t"), {}, "passed", None, "call", user_properties=found
    )  # fmt: skip
    log.pytest_sessionstart()
    for report.when in ("setup", "call", "teardown"):
        log.pytest_runtest_logreport(report)
    log.pytest_sessionfinish()
    tree = ElementTree.parse(path)
    names = [element.attrib["name"] for element in tree.iter("property")]
    assert names == [name for name, _ in found]
    assert all(len(name) < 250 for name in names)
