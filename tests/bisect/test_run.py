"""What ``llmperf bisect`` does around a search. What is measured here is in the diary already."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pytest_llmperf.bisect.commits import Recipe
from pytest_llmperf.bisect.diary import Replay, keeping
from pytest_llmperf.bisect.finding import Finding, Outcome
from pytest_llmperf.bisect.flags import Flags, smallest_set
from pytest_llmperf.bisect.order import BisectOrder
from pytest_llmperf.bisect.pair import Pair
from pytest_llmperf.bisect.position import Axis, Unusable
from pytest_llmperf.bisect.run import _Errand, run_bisection, show_log
from pytest_llmperf.bisect.search import bisect
from pytest_llmperf.declare.order import Bisected
from pytest_llmperf.declare.subject import parse_subject
from tests.bisect.histories import TTFT
from tests.git import Git
from tests.package_index import ServedIndex, json_page

Level = Callable[[Axis, int], float]
VERSIONS = ("0.22.0", "0.22.1", "0.23.0rc1", "0.23.0", "0.23.1", "0.24.0")


def order(good: str, bad: str, **more: object) -> BisectOrder:
    words = BisectOrder(good, bad, None, ["t.py"], Path("kept"), confidence=0.95, pairs=64)
    return dataclasses.replace(words, **more)  # type: ignore[arg-type]


class Measured:
    """An oracle: TTFT has a level at every position, and launches vary by 2 %."""

    def __init__(self, axis: Axis, level: Level) -> None:
        self._axis, self._level, self._number = axis, level, 0
        self._random = np.random.default_rng(7)

    def compare(self, left: int, right: int) -> Pair:
        self._number += 1
        values = [self._value(index) for index in (left, right)]
        return Pair(left, right, {TTFT: (values[0], values[1])}, self._number, 60.0)

    def _value(self, index: int) -> float:
        level = self._level(self._axis, index)
        if math.isnan(level):
            raise Unusable(index, "it does not start:\n\x1b[31m| no GPU |")
        return level * math.exp(0.02 * self._random.standard_normal())


def measured(order: BisectOrder, level: Level) -> Path:
    """Write the diary of all that will be asked; the directory."""
    errand = _Errand(order)
    lines = 0

    def line(axis: Axis) -> Finding:
        nonlocal lines
        lines += 1
        directory = errand.directory / (f"line-{lines}" if lines > 1 else "")
        with keeping(directory, errand._asked, axis.positions, print) as diary:
            replay = Replay(Measured(axis, level), diary)
            return bisect(len(axis.positions) - 1, replay, confidence=0.95, most_pairs=order.pairs)

    if isinstance(errand._axis, Flags):
        smallest_set(parse_subject(order.good), parse_subject(order.bad), line)
    else:
        line(errand._axis)
    return errand.directory


def stepped(at: int, factor: float = 1.2) -> Level:
    return lambda axis, index: 100.0 * (factor if index >= at else 1.0)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def index(served: ServedIndex, monkeypatch: pytest.MonkeyPatch) -> ServedIndex:
    """Has the releases of vLLM."""
    files = [
        {
            "filename": f"vllm-{version}-py3-none-any.whl",
            "upload-time": f"2026-0{n + 1}-02T03:04:05Z",
            "yanked": "broken" if version == "0.23.1" else False,
        }
        for n, version in enumerate(VERSIONS)
    ]
    served.put("/simple/vllm/", json_page(*files))
    for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"):
        monkeypatch.setenv(name, f"{served.url}/simple/")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    return served


@pytest.fixture
def releases(index: ServedIndex) -> BisectOrder:
    return order("vllm==0.22.0 --x 'a b'", "vllm==0.24.0 --x 'a b'")


# -- what lies between --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ({}, ["0.22.0  2026-01-02", "0.22.1  2026-02-02", "0.23.0  2026-04-02", "0.24.0  2026-06-02"]),
        (
            {"with_pre": True, "with_yanked": True},
            [f"{version}  2026-0{n + 1}-02" for n, version in enumerate(VERSIONS)],
        ),
    ],
)
def test_the_releases_between_are_listed(
    more: dict[str, bool], shown: list[str], releases: BisectOrder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_bisection(dataclasses.replace(releases, lists=True, **more)) == Bisected.FOUND  # type: ignore[arg-type]
    assert capsys.readouterr().out.splitlines() == shown
    assert not Path("kept").exists()


def test_the_commits_between_are_listed_whatever_their_authors_wrote(
    git: Git, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        git.commit(f"number {number} \x1b[2J\u202e|")
    asked = order("HEAD~2", "HEAD", recipe=Recipe("vllm@{checkout}"), repository=git.directory, lists=True)
    assert run_bisection(asked) == Bisected.FOUND
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ", 3)[2:] for line in lines] == [
        ["A. Developer", f"number {number}  [2J |"] for number in range(3)
    ]
    assert all(line.isprintable() for line in lines)


def test_the_flags_between_are_listed_by_what_they_change(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_bisection(order("vllm --a 1 --b", "X=1 vllm --a 2", lists=True)) == Bisected.FOUND
    assert capsys.readouterr().out.splitlines() == ["good", "X=1", "--a 2 (was --a 1)", "without --b"]


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        (
            "vllm==0.22.0",
            "vllm==0.25.0",
            "the package index has no vllm 0.25.0; nearest: 0.23.0, 0.23.1, 0.24.0",
        ),
        ("vllm==0.22.0", "vllm==0.22", "--good and --bad are the same release, 0.22.0"),
        ("command -- ./a", "command -- ./a", "--good and --bad are the same subject"),
    ],
)
def test_ends_that_the_index_knows_nothing_between_are_an_error_in_one_line(
    good: str, bad: str, words: str, index: ServedIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_bisection(order(good, bad)) == Bisected.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not Path("kept").exists()


def test_an_index_that_cannot_be_asked_is_an_error(
    releases: BisectOrder, index: ServedIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    index.pages.clear()
    assert run_bisection(releases) == Bisected.USAGE
    assert capsys.readouterr().err.startswith("llmperf: ")


@pytest.mark.parametrize(
    ("name", "words"), [("json", "it is not a regular file"), ("markdown", "it is not a regular file")]
)
def test_an_answer_that_cannot_be_written_is_known_beforehand(
    name: str, words: str, releases: BisectOrder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_bisection(dataclasses.replace(releases, **{name: tmp_path})) == Bisected.USAGE  # type: ignore[arg-type]
    assert words in capsys.readouterr().err


# -- the answer ---------------------------------------------------------------------------------------


def test_a_culprit_is_told_on_the_terminal_as_json_and_as_markdown(
    releases: BisectOrder, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = dataclasses.replace(releases, json=Path("a/b.json"), markdown=Path("c/d.md"))
    directory = measured(asked, stepped(2))
    capsys.readouterr()
    assert run_bisection(asked) == Bisected.FOUND
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"llmperf: 4 releases from 0.22.0 to 0.24.0; kept in {directory}\n")
    assert "\nRelease 0.23.0 made TTFT p50 at 4/s worse, +" in out
    told = json.loads(Path("a/b.json").read_text())
    assert told == json.loads((directory / "answer.json").read_text())
    assert [one["name"] for one in told["suspects"]] == ["0.23.0"]
    assert told["suspects"][0]["about"] == {"date": "2026-04-02"}
    assert told["launches"] >= 10
    markdown = Path("c/d.md").read_text()
    assert markdown.startswith("**Release 0.23.0 made TTFT p50 at 4/s worse, +")
    assert "--llmperf-engine 'vllm==0.23.0 --x '" in markdown


@pytest.mark.parametrize(
    ("level", "words", "code"),
    [
        (stepped(9), "No difference between 0.22.0 and 0.24.0", Bisected.NOT_FOUND),
        (stepped(2, 0.8), "0.24.0 is not worse than 0.22.0, but better", Bisected.NOT_FOUND),
        (
            lambda axis, index: math.nan if index == 3 else 100.0,
            "Not bisected: the end point 0.24.0 cannot be measured.",
            Bisected.INVALID,
        ),
    ],
)
def test_without_a_culprit_the_exit_code_says_so(
    level: Level, words: str, code: Bisected, releases: BisectOrder, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(releases, level)
    capsys.readouterr()
    assert run_bisection(releases) == code
    out = capsys.readouterr().out
    assert f"\n{words}" in out
    assert all(line.isprintable() for line in out.splitlines())


def test_when_the_pairs_are_spent_the_answer_is_undecided(
    releases: BisectOrder, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = dataclasses.replace(releases, pairs=4)
    measured(asked, stepped(2))
    capsys.readouterr()
    assert run_bisection(asked) == Bisected.NOT_FOUND
    out = capsys.readouterr().out
    assert "\nNot found: what made TTFT p50 at 4/s worse is between 0.22.0 and 0.24.0; " in out
    assert "go on with more pairs: llmperf bisect --good 'vllm==0.22.0 --x '" in out
    assert " --pairs 8 " in out


def test_the_culprit_among_commits_has_an_author_and_its_hash(
    git: Git, capsys: pytest.CaptureFixture[str]
) -> None:
    hashes = [git.commit(f"number {number} | `x`") for number in range(5)]
    asked = order(
        "HEAD~4", "HEAD", recipe=Recipe("vllm@{checkout}"), repository=git.directory, markdown=Path("a.md")
    )
    measured(asked, stepped(3))
    assert run_bisection(asked) == Bisected.FOUND
    out = capsys.readouterr().out
    assert ": number 3 | `x`; A. Developer; 20" in out
    assert f"; commit {hashes[3]}\n" in out
    markdown = Path("a.md").read_text()
    assert r": number 3 \| \`x\`; A. Developer; 20" in markdown
    assert f"--repository '{git.directory}' --subject 'vllm@{{checkout}}' --out kept -- t.py" in markdown
    assert git("status", "--porcelain") == ""


def test_flags_that_add_up_are_both_named_with_the_launches_of_all_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def level(axis: Axis, index: int) -> float:
        args = axis.subject(index).args
        return 100.0 * (1.2 if "--a" in args else 1.0) * (1.3 if "--c" in args else 1.0)

    asked = order("vllm", "vllm --a --b --c", json=Path("a.json"))
    directory = measured(asked, level)
    capsys.readouterr()
    assert run_bisection(asked) == Bisected.FOUND
    assert "\n--a together with --c made TTFT p50 at 4/s worse, +" in capsys.readouterr().out
    told = json.loads(Path("a.json").read_text())
    lines = [directory, *sorted(directory.glob("line-*"))]
    texts = [(part / "diary.jsonl").read_text() for part in lines]
    events = [json.loads(line) for text in texts for line in text.splitlines()]
    assert told["launches"] == 2 * sum(event["event"] == "pair" for event in events)
    assert [one["change"] for one in told["suspects"]] == ["--a", "--c"]
    sure = [e["confidence"] for e in events if e["event"] == "found" and e["outcome"] == Outcome.CULPRIT]
    assert len(sure) >= 2
    assert told["confidence"] == pytest.approx(math.prod(sure), rel=1e-5)
    assert show_log(None, Path("kept")) == Bisected.FOUND
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if line.startswith("kept")] == [str(one) for one in lines]


def test_what_later_lines_of_flags_skipped_is_in_the_answer_and_each_says_what_it_asks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def level(axis: Axis, index: int) -> float:
        args = axis.subject(index).args
        if "--a" in args and "--b" in args and "--c" not in args:
            return math.nan
        return 100.0 * (1.2 if "--a" in args else 1.0) * (1.3 if "--d" in args else 1.0)

    asked = order("vllm", "vllm --a --b --c --d", json=Path("a.json"))
    measured(asked, level)
    capsys.readouterr()
    assert run_bisection(asked) == Bisected.FOUND
    out = capsys.readouterr().out
    told = json.loads(Path("a.json").read_text())
    assert [one["change"] for one in told["suspects"]] == ["--a", "--d"]
    lines = [line for line in out.splitlines() if " taken over: " in line and line.startswith("llmperf")]
    asks = [line.partition(" taken over: ")[2] for line in lines]
    assert asks == ["is there anything else?"] * 2 + ["is that all it takes?"] * 2
    later = [one["name"] for one in told["skipped"] if one["name"].endswith(" taken over")]
    assert later == ["+ --b with --a taken over"]
    assert all(f"Not measured: {name}: it does not start" in out for name in later)


def test_no_secret_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    asked = order(
        "HF_TOKEN=s3cret vllm --api-key s3cret",
        "HF_TOKEN=s3cret vllm --api-key s3cret --x",
        markdown=Path("a.md"),
    )
    measured(asked, stepped(1))
    assert run_bisection(asked) == Bisected.FOUND
    kept = [path for path in Path().rglob("*") if path.is_file()]
    assert len(kept) >= 3
    assert not any("s3cret" in str(path) or b"s3cret" in path.read_bytes() for path in kept)
    assert "s3cret" not in capsys.readouterr().out


# -- the log ------------------------------------------------------------------------------------------


def test_a_log_that_is_not_there_is_an_error_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for directory in (None, Path("elsewhere")):
        assert show_log(directory, Path("kept")) == Bisected.USAGE
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("llmperf: ")
