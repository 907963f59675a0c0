from __future__ import annotations

import json
import re
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pytest_llmperf.cli import main
from pytest_llmperf.cli_history import read_since
from pytest_llmperf.errors import DeclarationError
from pytest_llmperf.keep.history_file import HistoryFile
from tests import recorded
from tests.keep.histories import HERE, TEST, TTFT, result, session
from tests.keep.test_trend import upgraded

Said = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LLMPERF_HISTORY", raising=False)
    return tmp_path


@pytest.fixture
def history(project: Path) -> HistoryFile:
    history = HistoryFile(project / ".llmperf" / "history.sqlite")
    for one in upgraded():
        history.add(one)
    return history


def out(capsys: Said, code: int, *words: str | Path) -> str:
    """What the command prints; to the standard error, if it does not end well."""
    assert main(["history", *map(str, words)]) == code
    said = capsys.readouterr()
    assert bool(said.err) == (code != 0)
    return said.err if code else said.out


def usage(capsys: Said, *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["history", *words])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.mark.usefixtures("history")
def test_the_tests_are_listed(capsys: Said) -> None:
    assert re.search(rf"^ +30  2026-09-30 02:00  {TEST}$", out(capsys, 0), re.MULTILINE)
    (row,) = json.loads(out(capsys, 0, "--json"))
    assert row == {"test": TEST, "sessions": 30, "last": "2026-09-30T02:00:00+00:00"}


@pytest.mark.usefixtures("history")
def test_a_test_may_be_named_by_a_part(capsys: Said) -> None:
    assert out(capsys, 0, TEST) == out(capsys, 0, "test_it.py")
    assert "here: version: 0.22.1 → 0.24.0" in out(capsys, 0, "it")
    assert "has no test absent; it has test_it.py::test_it" in out(capsys, 1, "absent")


def test_a_part_of_two_names_is_neither(history: HistoryFile, capsys: Said) -> None:
    history.add(session(90, result(1.0, test="test_it.py::test_other")))
    said = out(capsys, 2, "test_it")
    assert "test_it may be any of these: test_it.py::test_it, test_it.py::test_other" in said


@pytest.mark.usefixtures("history")
def test_what_is_looked_at_can_be_narrowed(capsys: Said) -> None:
    def sessions(*words: str) -> int:
        (found,) = json.loads(out(capsys, 0, "it", "--json", *words))
        return len(found["sessions"])

    assert sessions("--limit", "12") == 12
    assert sessions("--since", "2026-09-21") == 10
    assert sessions("--load", "4/s", "--metric", TTFT) == 30
    assert sessions("--environment", "H100") == 30
    assert "no load has 9/s in it; there is 1024 in / 128 out, poisson 4/s for 30 s\n" in out(
        capsys, 1, "it", "--load", "9/s"
    )
    assert "nothing of that load" in out(capsys, 1, "it", "--metric", "tpot_p50_ms")
    assert "no environment is A100; there are" in out(capsys, 1, "it", "--environment", "A100")
    assert "no session since 2027-01-01 measured" in out(capsys, 1, "it", "--since", "2027-01-01")
    assert "that has a base measured" in out(capsys, 1, "it", "--side", "base")


def test_unlike_environments_are_never_in_one_trend(history: HistoryFile, capsys: Said) -> None:
    history.add(session(80, result(500.0, environment={**HERE, "driver": "560"})))
    (found,) = json.loads(out(capsys, 0, "it", "--json"))
    assert [one["value"] for one in found["sessions"]] == [500.0]
    assert "not in it: 30 sessions of environment" in out(capsys, 0, "it")
    assert "may be any of" in out(capsys, 2, "it", "--environment", "H100")


@pytest.mark.usefixtures("history")
def test_a_page_is_written(capsys: Said, project: Path) -> None:
    assert out(capsys, 0, "it", "--html", "out/t.html") == "out/t.html\n"
    assert (project / "out/t.html").read_text().startswith("<!DOCTYPE html>")
    (project / "file").write_text("")
    assert "cannot be written" in out(capsys, 2, "it", "--html", "file/t.html")
    assert "--json and --html: one of them" in usage(capsys, "it", "--html", "t.html", "--json")


def test_a_name_that_no_file_can_have_is_no_history(capsys: Said) -> None:
    assert "there is no history at" in out(capsys, 2, "--history", "x" * 300)


def test_records_are_added_once_and_bad_ones_named(capsys: Said, project: Path) -> None:
    good = recorded.record(recorded.entry("vllm==1", [recorded.point(4, [recorded.run(1, {TTFT: 5.0})])]))
    recorded.write(project / "a.json", good)
    recorded.write(project / "copy.json", good)
    recorded.write(project / "empty.json", recorded.record())
    assert out(capsys, 0, "add", "a.json") == "1 added to .llmperf/history.sqlite\n"
    said = out(capsys, 0, "add", "--history", ".llmperf/history.sqlite", "copy.json", "empty.json")
    assert "empty.json: nothing was measured in it" in said
    assert said.endswith("history.sqlite, 1 there already\n")
    (project / "bad.json").write_text("{")
    assert main(["history", "add", "bad.json", "a.json"]) == 2
    ended = capsys.readouterr()
    assert "bad.json is damaged" in ended.err
    assert "1 there already" in ended.out


def test_pruning_leaves_records_and_baselines(history: HistoryFile, capsys: Said, project: Path) -> None:
    others = [project / ".llmperf" / name for name in ("runs/x.json", "baselines/b.json")]
    for path in others:
        recorded.write(path, {})
    assert out(capsys, 0, "prune", "--keep-sessions", "10").startswith("20 sessions forgotten in ")
    assert out(capsys, 0, "prune", "--keep", "2026-09-30").startswith("9 sessions forgotten in ")
    assert len(history.read()) == 1
    assert all(path.exists() for path in others)
    assert out(capsys, 0, "prune", "--keep", "2030-01-01").startswith("1 session forgotten in ")
    assert "is empty" in out(capsys, 0, "prune", "--keep-sessions", "1")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("prune",), "prune: what stays? --keep 180d, --keep-sessions 500, or both"),
        (("prune", "it", "--keep", "3d"), "prune it: it is of all tests together"),
        (("add",), "add: which records?"),
        (("it", "--keep", "3d"), "--keep belongs to llmperf history prune"),
        (("add", "x.json", "--metric", TTFT), "--metric means nothing to add"),
        (("--metric", TTFT), "--metric is of one test: llmperf history TEST"),
        (("it", "other"), "it other: one test"),
        (("it", "--metric", "ttft_p42_ms"), "unknown metric 'ttft_p42_ms'"),
        (("it", "--since", "never"), "'never': as in 180d, 12w, 6m, 1y, or 2026-10-01"),
        (("it", "--limit", "0"), "0"),
    ],
)
def test_what_means_nothing_is_said_on_one_line(words: tuple[str, ...], told: str, capsys: Said) -> None:
    assert told in usage(capsys, *words)


def test_where_none_is_kept_it_is_said(capsys: Said, monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    assert "there is no history at" in out(capsys, 2)
    monkeypatch.setenv("LLMPERF_HISTORY", "none")
    assert "none: no history is kept" in out(capsys, 2)
    monkeypatch.setenv("LLMPERF_HISTORY", (project / "shared").as_uri())
    assert "there is no history at file://" in out(capsys, 2)
    (project / "x.db").write_text("no database, however long it may be")
    assert "not an SQLite file" in out(capsys, 2, "--history", "x.db")


def test_a_history_of_a_newer_release_is_named(history: HistoryFile, capsys: Said) -> None:
    with sqlite3.connect(history.name) as database:
        database.execute("PRAGMA user_version = 2")
    assert "is a history of version 2, this release reads version 1" in out(capsys, 2, "it")


@pytest.mark.parametrize(
    ("text", "days"), [("36h", 1.5), ("180d", 180), ("2w", 14), ("6m", 180), ("1y", 365)]
)
def test_a_time_ago_is_that_long_ago(text: str, days: float) -> None:
    assert abs(datetime.now(UTC) - read_since(text) - timedelta(days=days)) < timedelta(minutes=1)


@pytest.mark.parametrize("text", ["", "d", "-3d", "nan d", "9999999999y", "2026-13-01", "x"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(DeclarationError):
        read_since(text)
