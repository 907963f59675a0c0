from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.cli import main
from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.whole import read_record
from tests.keep.test_schema import RECORDS

SMALL = min(RECORDS, key=lambda path: path.stat().st_size)


def of(change: Callable[[dict[str, Any]], object], directory: Path) -> Path:
    content = json.loads(SMALL.read_text(encoding="utf-8"))
    change(content)
    (path := directory / "r.json").write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_real_records_are_whole(path: Path) -> None:
    assert read_record(path) == json.loads(path.read_text(encoding="utf-8"))


def _a_run(record: dict[str, Any]) -> dict[str, Any]:
    run: dict[str, Any] = record["tests"][0]["points"][0]["runs"][0]
    return run


WRONG: dict[str, Callable[[dict[str, Any]], object]] = {
    "tests is missing": lambda r: r.pop("tests"),
    "tests is null, not a list": lambda r: r.update(tests=None),
    "tests[0] is 7, not an object": lambda r: r.update(tests=[7]),
    "tests[0].points is missing": lambda r: r["tests"][0].pop("points"),
    "tests[0].launches is true, not a whole number": lambda r: r["tests"][0].update(launches=True),
    'tests[0].verdict is "fine", not one of "pass"': lambda r: r["tests"][0].update(verdict="fine"),
    "tests[0].points[0].runs[0].health is missing": lambda r: _a_run(r).pop("health"),
    "tests[0].points[0].runs[0].values is a list, not an object": lambda r: _a_run(r).update(values=[]),
    'runs[0].values.ttft_p50_ms is "1", not a number': lambda r: _a_run(r)["values"].update(ttft_p50_ms="1"),
    "runs[0].values.ttft_p50_ms is NaN, not": lambda r: _a_run(r)["values"].update(ttft_p50_ms=float("nan")),
    'started is "<script>", not a time, as in 2026-': lambda r: r.update(started="<script>"),
    "tests[0].environment.a b is 1, not text": lambda r: r["tests"][0]["environment"].update({"a\nb": 1}),
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_wrong_is_told_with_its_place(said: str, tmp_path: Path) -> None:
    path = of(WRONG[said], tmp_path)
    with pytest.raises(StoreError) as caught:
        read_record(path)
    assert str(caught.value).startswith(f"{path} is not a whole record: ")
    assert said in str(caught.value)
    assert str(caught.value).endswith("; leave it out, or move it away")


@given(
    added=st.recursive(
        st.none() | st.integers() | st.text(), lambda one: st.lists(one) | st.dictionaries(st.text(), one)
    )
)
def test_what_a_hook_adds_is_let_be(added: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = of(lambda record: record.update(mine=added), tmp_path_factory.getbasetemp())
    assert read_record(path)["mine"] == added


@pytest.mark.parametrize("command", [["report", "r.json", "--json", "x.json"], ["history", "add", "r.json"]])
def test_what_is_nested_as_deeply_as_can_be_read_is_an_error_and_no_crash(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = of(lambda record: record.update(mine="DEEP"), tmp_path)
    text = path.read_text()
    for deep in (900, 5_000, 100_000):
        path.write_text(text.replace('"DEEP"', "[" * deep + "]" * deep))
        assert main(command) in (0, 2)
        assert "a mistake of ours" not in capsys.readouterr().err


def test_advice_is_of_the_kind_of_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for content in ("{", "{}", '{"llmperf_record": 2}'):
        Path("foreign.json").write_text(content)
        for command in (["report", "foreign.json", "--markdown", "-"], ["history", "add", "foreign.json"]):
            assert main(command) == 2
            said = capsys.readouterr().err
            assert "leave it out, or move it away" in said
            assert "git" not in said
            assert "accept" not in said
