"""The page as it is written: what stands in it without a browser."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable
from importlib.resources import files
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pytest_llmperf.cli import main
from pytest_llmperf.errors import StoreError
from pytest_llmperf.outputs import write_output
from pytest_llmperf.report.document import asset
from pytest_llmperf.report.markdown import markdown
from pytest_llmperf.report.page import page
from pytest_llmperf.report.page_series import insides, within
from pytest_llmperf.report.printable import printable
from pytest_llmperf.report.steps import next_steps
from tests.recorded import write
from tests.report import records
from tests.report.page_records import failing, record
from tests.report.records import failure, judged
from tests.report.test_markup import Reader

ROOT = Path(__file__).parents[2]
REAL = sorted(path for path in (ROOT / "bench/gpu/results").glob("*/*.json") if path.stat().st_size > 20_000)
HOSTILE = (
    "<script>document.title='taken'</script>",
    "</script><script>document.title='taken'</script>",
    '"><img src=x onerror="document.title=\'taken\'">',
    "a|b `c` 'd' \"e\" & f; \\u003c ]]> <!-- ",
    "line\nline\r\n\ttab\x00nul\x1b[31mred\x07",
    "\u202egnp.exe\u2066x\u200b\u200d\ufeff שלום مرحبا",
    "{{ 7 * 7 }} ${7*7} javascript:alert(1)",
    "n" * 10_000,
    "\ud800 surrogate \U0001f600",
)


@pytest.fixture(scope="module")
def failed() -> dict[str, Any]:
    return record(failing())


def visible(text: str) -> str:
    """The text of the page, without scripts and styles."""
    return Reader(re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)).text


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_a_page_is_made_of_every_record_that_there_is(path: Path) -> None:
    content = json.loads(path.read_text())
    text = visible(page([content]))
    for entry in content["tests"]:
        assert entry["test"].rpartition("::")[2] in text
        assert f" {entry['verdict']}" in text
        assert entry["subject"]["fields"]["version"] in text


def test_verdicts_sentences_and_next_steps_stand_there_without_a_script(failed: dict[str, Any]) -> None:
    text, (entry,) = visible(page([failed])), failed["tests"]
    assert "The test failed" in text
    assert "test_chat_stays_interactive misses its SLO and is worse than vllm, measured side by side" in text
    steps = next_steps(entry)
    assert len(steps) > 2
    for step in steps:
        assert step in text
    assert (
        "vllm --max-num-batched-tokens 512 (0.24.0) against vllm (0.22.1), side by side on NVIDIA H100"
        in text
    )
    assert "scheduler.max_num_batched_tokens: 8192 → 512" in text
    assert "580.159.04" in text
    assert "20261122-vllm-launch3.log" in text


def test_the_page_asks_for_nothing_and_allows_its_own_scripts_alone(failed: dict[str, Any]) -> None:
    read = Reader(page([failed]))
    named = [
        one[name]
        for one in read.attributes
        for name in ("src", "href", "action", "style", "srcset")
        if name in one
    ]
    assert all(one is not None and one.startswith(("#", "data:,")) for one in named), named
    (policy,) = [one["content"] for one in read.attributes if one.get("http-equiv")]
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert policy.count("sha256-") == 6
    assert read.tags.count("script") == 6  # of which one is JSON
    assert not [name for one in read.attributes for name in one if name.startswith("on")]


def test_the_libraries_are_those_that_their_note_says() -> None:
    note = asset("vendor/README.md")
    told = dict(re.findall(r"^\| `([a-z0-9.]+)` \|.*`([0-9a-f]{64})` \|$", note, re.MULTILINE))
    assert set(told) == {"d3.min.js", "plot.min.js"}
    vendored = files("pytest_llmperf.report").joinpath("assets", "vendor")
    for name, expected in told.items():
        assert hashlib.sha256(vendored.joinpath(name).read_bytes()).hexdigest() == expected
        licence = vendored.joinpath(f"{name.partition('.')[0]}.LICENSE").read_text()
        assert "Permission to use, copy, modify, and/or distribute" in licence


def test_several_records_have_an_index_and_a_place_each(failed: dict[str, Any]) -> None:
    other = record(failing("t.py::test_other", (4.0,)), started="2026-11-23T02:00:00+00:00")
    text = page([failed, other])
    read = Reader(text)
    assert visible(text).startswith("To the results2 records") or "2 records" in visible(text)[:200]
    links = [one["href"] for one in read.attributes if "href" in one and one["href"] != "data:,"]
    places = [one["id"] for one in read.attributes if "id" in one]
    assert len(places) == len(set(places))
    assert {f"#{place}" for place in places} >= set(links)
    assert "#r1t0" in links


def test_the_command_writes_one_page_of_several_records(
    failed: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [write(tmp_path / f"{name}.json", failed) for name in "ab"]
    assert main(["report", *map(str, paths), "--html", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'page.html'}\n"
    assert (tmp_path / "page.html").read_text("utf-8") == page([failed, failed])


def test_an_empty_session_is_a_page_that_says_why() -> None:
    failure = {
        "test": "t.py::test_it",
        "side": "base",
        "text": "vllm",
        "is_hindered": False,
        "error": "out of memory",
    }
    text = visible(page([record() | {"failures": [failure]}]))
    assert "Nothing was measured" in text
    assert "test_it: vllm (base): out of memory" in text
    failure["error"] = "it died\ncommand: vllm serve\n  | out of memory"
    assert "<pre>command: vllm serve\n  | out of memory\n</pre>" in page([record() | {"failures": [failure]}])


@pytest.mark.parametrize(
    ("verdicts", "failures", "said", "colour"),
    [
        (["pass", "pass"], [False], "1 of 3 tests could not be measured", "bad"),
        (["pass"], [True], "1 of 2 tests could not be measured", "unsure"),
        (["pass", "regressed", "invalid"], [], "1 of 3 tests failed, 1 could not be measured", "bad"),
        (["invalid"], [], "The test could not be measured", "bad"),
        (["pass", "not judged"], [], "1 of 2 tests not judged", "unsure"),
        (
            ["pass", "not judged", "inconclusive"],
            [],
            "1 of 3 tests undecided, 1 not judged",
            "unsure",
        ),
        (["pass", "improved"], [], "All 2 tests passed", "good"),
        ([], [True], "Nothing was measured", "unsure"),
    ],
)
def test_nobody_reads_that_all_passed_where_an_engine_did_not_start(
    verdicts: list[str], failures: list[bool], said: str, colour: str
) -> None:
    entries = [judged(verdict, nodeid=f"t.py::test_{n}") for n, verdict in enumerate(verdicts)]
    failed = [failure(f"t.py::other_{n}", is_hindered=is_hindered) for n, is_hindered in enumerate(failures)]
    text = page([records.record(*entries, failures=failed)])
    assert f'<h1 class="{colour}">{said}</h1>' in text
    assert f"<title>{said} · llmperf</title>" in text


@pytest.mark.parametrize("field", ["tests", "started", "status"])
def test_a_damaged_record_is_named_as_one(failed: dict[str, Any], field: str, tmp_path: Path) -> None:
    broken = {name: value for name, value in failed.items() if name != field}
    with pytest.raises(StoreError, match=f"KeyError: '{field}'; page[a-z_]*.py:[0-9]+.*damaged"):
        write_output("html", tmp_path / "page.html", [broken])
    assert not (tmp_path / "page.html").exists()


def test_a_record_from_before_there_was_a_series_says_so_briefly(failed: dict[str, Any]) -> None:
    old = copy.deepcopy(failed)
    for point in old["tests"][0]["points"]:
        for run in (*point["runs"], *point["base_runs"]):
            del run["series"]
    assert "engine over time: not recorded" in visible(page([old]))
    assert "not recorded" not in visible(page([failed]))


def test_a_big_session_stays_under_two_megabytes_and_keeps_all_verdicts() -> None:
    rates = [2.0 * n for n in range(1, 9)]
    one = failing(rates=rates, launches=8)
    big = record(*({**one, "test": f"t.py::test_{n}"} for n in range(20)))
    text = page([big])
    assert len(text.encode()) < 2_000_000
    assert all(f"test_{n} misses its SLO" in text for n in range(20))
    assert "Left out to keep the page small" in text
    drawn = json.loads(re.findall(r'<script type="application/json" id="figures">(.*?)</script>', text)[0])
    inside = [figures["points"] for figures in drawn.values() if figures["kind"] == "inside"]
    assert sum("quantiles" in point for points in inside for point in points) == 160


@given(st.integers(0, 40_000))
@settings(max_examples=15, deadline=None)
def test_what_is_taken_fits_and_distributions_go_first(budget: int) -> None:
    entries = [
        {**failing(rates=(2.0, 8.0), launches=2), "verdict": verdict} for verdict in ("pass", "regressed")
    ]
    of_tests = [(entry, insides(entry)) for entry in entries]
    kept = within(budget, of_tests)
    parts = [
        (test, kind, part)
        for test, points in enumerate(kept)
        for point in points
        for kind, part in point.items()
    ]
    sizes = [
        len(json.dumps(part, separators=(",", ":"))) for _, kind, part in parts if isinstance(part, dict)
    ]
    assert sum(sizes) <= budget
    for points, (_, all_of_them) in zip(kept, of_tests, strict=True):
        for point, whole in zip(points, all_of_them, strict=True):
            assert bool(point.get("is_cut")) == (len(point.keys() - {"load", "is_cut"}) < len(whole) - 1)


# -- texts of others ----------------------------------------------------------------------------------


def with_texts(content: dict[str, Any], text: Callable[[], str]) -> dict[str, Any]:
    """The record with such a text in every place where one can be of somebody's making."""
    changed = copy.deepcopy(content)
    for launch in changed["launches"]:
        launch.update(
            text=text(), log=text(), subject={text(): text()}, notes=[text()], disturbances=[text()]
        )
    changed["failures"] = [
        {"test": text(), "side": text(), "text": text(), "is_hindered": False, "error": text()}
    ]
    changed["versions"]["pytest-llmperf"] = text()
    for entry in changed["tests"]:
        entry.update(test=text(), error=text(), baseline=text(), left_out=[text()], command=[text(), text()])
        entry["subject"] = {"text": text(), "fields": {"engine": text(), "version": text(), text(): text()}}
        entry["environment"] = {text(): text(), "accelerators": text()}
        entry["subject_differences"] = [text(), f"flag {text()}: {text()} → {text()}"]
        entry["compared_with"].update(text=text(), fields={"version": text()})
        for point in entry["points"]:
            point.update(workload=text(), load=text(), key=text())
            for run in (*point["runs"], *point["base_runs"]):
                run["errors"] = {text(): {"count": 1, "example": text()}}
                run["disturbances"] = [text()]
                run["health"]["clock"] = text()
                for row in run["series"].get("waterfall", {"rows": []})["rows"][:2]:
                    row[5] = text()
            for told in (*point["changes"], *point["objectives"]):
                told["label"] = text()
    return changed


SMALL = record(failing(rates=(2.0, 8.0), launches=2))
CLEAN = Reader(page([SMALL]))


@given(st.lists(st.text(max_size=30) | st.sampled_from(HOSTILE), min_size=1, max_size=12))
@settings(max_examples=20, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
def test_no_text_of_a_record_becomes_an_element_an_attribute_or_a_script(texts: list[str]) -> None:
    following = cycle(texts)
    written = page([with_texts(SMALL, lambda: next(following))])
    written.encode("utf-8")  # no lone surrogate
    read = Reader(written)
    assert set(read.tags) <= {*CLEAN.tags, "li", "ul", "pre"}
    assert read.tags.count("script") == CLEAN.tags.count("script")
    names = {name for one in read.attributes for name in one}
    assert names <= {*(name for one in CLEAN.attributes for name in one), "title"}
    shown = visible(written)
    assert printable(texts[0])[:3999] in shown  # the first launch's name


def test_a_name_of_any_length_takes_a_line_and_no_command_is_cut() -> None:
    name = f"test_it[{'x' * 1_500}{'y' * 1_500}]"
    test = failing(f"t.py::{name}")
    test["command"] = ["pytest", "--llmperf", f"t.py::{name}"]
    read = Reader(text := page([record(test)]))
    shown = visible(text)
    assert "test_it[xxx" in shown
    assert "yyy] is worse" in shown or "yyy] misses" in shown
    assert "x" * 200 not in shown
    assert "y" * 200 not in shown
    assert name in [one.get("title") for one in read.attributes]
    assert "characters, too many to show them" in shown
    assert "pytest --llmperf" not in shown
    told = markdown([record(test)])
    assert "# (a command of 3" in told
    assert "pytest --llmperf" not in told
