"""The command lines of ``llmperf bisect`` and ``llmperf step``: what is wrong is said on one line."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pytest_llmperf import cli
from pytest_llmperf.bisect.commits import Recipe
from pytest_llmperf.bisect.order import BisectOrder
from pytest_llmperf.cli_bisect import _order, for_git
from pytest_llmperf.declare.order import Exit, StepCode
from tests.git import Git

ENDS = ("--good", "vllm==0.22.0", "--bad", "vllm==0.24.0")
COMMITS = ("--good", "v1", "--bad", "main", "--subject", "vllm@{checkout}")
AFTER = ("--", "tests/test_chat.py")


def order(*arguments: str) -> BisectOrder:
    ours, theirs = cli._halves(("bisect", *arguments))
    said = cli.parser().parse_args(ours)
    said.after = theirs
    return _order(said)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is said of a command line, on one line; nothing is measured, and nothing kept."""
    try:
        code = cli.main(arguments)
    except SystemExit as left:
        code = int(left.code or 0)
    assert code == (StepCode.STOP if arguments[0] == "step" else Exit.USAGE)
    out, err = capsys.readouterr()
    assert out == ""
    assert not Path(".llmperf").exists()
    (line,) = err.splitlines()
    assert line.startswith("llmperf: ")
    return line.removeprefix("llmperf: ").removesuffix(f" (see llmperf {arguments[0]} --help)")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--good and --bad missing: between what and what?"),
        (("--good", "vllm", *AFTER), "--bad missing: between what and what?"),
        (ENDS, "nothing after --: which tests measure it? For example: -- tests/perf/test_chat.py"),
        ((*ENDS, "--"), "nothing after --: which tests measure it? For example: -- tests/perf/test_chat.py"),
        (
            (*ENDS, "tests/test_chat.py"),
            "tests/test_chat.py: expected releases, commits, flags or log; what is for pytest goes after --",
        ),
        ((*ENDS, "releases", "tests/test_chat.py"), "tests/test_chat.py: pytest's arguments go after --"),
        ((*ENDS, "-k", "chat", *AFTER), "unrecognized arguments: -k; what is for pytest goes after --"),
        (
            (*ENDS, "commits", *AFTER),
            "commits: --subject says what is started at one, as in 'vllm@{checkout}'",
        ),
        ((*COMMITS, "flags", *AFTER), "--subject belongs to commits, not to flags"),
        ((*COMMITS, "--pre", *AFTER), "--pre belongs to releases"),
        ((*COMMITS, "--yanked", *AFTER), "--yanked belongs to releases"),
        (
            (*ENDS, "--build", "make", *AFTER),
            "--build belongs to commits: --subject says what is started at one",
        ),
        (
            (*ENDS, "--paths", "a", *AFTER),
            "--paths belongs to commits: --subject says what is started at one",
        ),
        (
            (*ENDS, "--repository", "../vllm", *AFTER),
            "--repository belongs to commits: --subject says what is started at one",
        ),
        (
            (*ENDS, "--confidence", "100", *AFTER),
            "argument --confidence: '100': below 100%",
        ),
        (
            (*ENDS, "--confidence", "0.95", *AFTER),
            "argument --confidence: 0.95: expected a percentage from 50% to below 100%",
        ),
        (
            (*ENDS, "--budget", "soon", *AFTER),
            "argument --budget: 'soon': a time, as in 90s, 20m, 1h30m or 1200",
        ),
        (
            (*ENDS, "--build-timeout", "7200", *AFTER),
            "--build-timeout belongs to commits: --subject says what is started at one",
        ),
        (("log", *AFTER), "log takes no arguments of pytest: tests/test_chat.py"),
        (("log", "--good", "v1"), "--good means nothing to log, which takes DIR or --out alone"),
        (("log", "--json", "a.json"), "--json means nothing to log, which takes DIR or --out alone"),
        (("log", "--retry-unusable"), "--retry-unusable means nothing to log"),
        (("log", "--build-timeout=7200"), "--build-timeout means nothing to log"),
        (("log", "kept", "--out", "other"), "--out means nothing to log, which takes DIR alone"),
        # What only the ends tell.
        (
            ("--good", "vllm==0.22.0", "--bad", "vllm==0.24.0 --x", *AFTER),
            "--good and --bad differ in version and in flags",
        ),
        (
            ("--good", "vllm", "--bad", "vllm --x", "releases", *AFTER),
            "between --good vllm and --bad vllm --x lie flags, not releases; leave releases out",
        ),
        (
            ("--good", "http://127.0.0.1:1", "--bad", "http://127.0.0.1:2", "flags", *AFTER),
            "--good http://127.0.0.1:1: a server at a URL cannot be launched",
        ),
        (("--good", "", "--bad", "vllm", *AFTER), "--good: "),
        (("--good", "vllm '", "--bad", "vllm", *AFTER), "--good: engine: no closing quotation"),
        (
            ("--good", "vlm==1", "--bad", "vlm==2", *AFTER),
            "engine 'vlm' is not known; valid: ",
        ),
        (
            ("--good", "command -- ./a", "--bad", "command -- ./b", *AFTER, "--llmperf-engine=x"),
            "--llmperf-engine=x: the ends are given by --good and --bad",
        ),
        (
            ("--good", "vllm", "--bad", "vllm --x", "--metric", "ttft_p50_ms", *AFTER, "--llmperf-gate", "x"),
            "--metric ttft_p50_ms and --llmperf-gate: give one of them",
        ),
        ((*COMMITS, *AFTER), "is in no git repository that can be read"),
    ],
)
def test_a_wrong_command_line_is_answered_with_one_line_that_has_the_way_out(
    arguments: tuple[str, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", os.getcwd())
    if words.startswith("--good and --bad differ"):
        assert cli.main(["bisect", *arguments]) == Exit.USAGE
        first, *commands = capsys.readouterr().err.splitlines()
        assert first.startswith(f"llmperf: {words}: bisect one, then the other:")
        assert [command.split()[:3] for command in commands] == [["llmperf", "bisect", "--good"]] * 2
    else:
        assert words in refused(capsys, "bisect", *arguments)


@pytest.mark.parametrize("name", ["--metric", "--pairs", "--budget", "--confidence", "--build-timeout"])
@pytest.mark.parametrize("value", ["", "x", "-1", "0", "nan", "1e400"])
def test_no_option_takes_what_means_nothing(
    name: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, "bisect", *COMMITS, f"{name}={value}", *AFTER).startswith(f"argument {name}: ")


def test_all_that_is_said_is_ordered() -> None:
    words = (
        *(
            "--metric",
            "ttft_p50_ms",
            "--pairs",
            "12",
            "--confidence",
            "99%",
            "--budget",
            "2h",
            "--out",
            "kept",
        ),
        *("--json", "a.json", "--markdown", "a.md", "--retry-unusable", "--repository", "../vllm"),
        *("--paths", "a", "--paths", "b", "--build", "make", "--build-timeout", "60"),
    )
    found = order(*COMMITS, *words, *AFTER, "-k", "a or b", "--", "c")
    assert (found.metric, found.pairs, found.confidence, found.budget_s) == ("ttft_p50_ms", 12, 0.99, 7200.0)
    assert (found.out, found.json, found.markdown) == (Path("kept"), Path("a.json"), Path("a.md"))
    assert (found.retries_unusable, found.repository, found.paths) == (True, Path("../vllm"), ["a", "b"])
    assert found.recipe is not None
    assert (found.recipe.build, found.recipe.build_timeout_s) == ("make", 60.0)
    # Only the first -- parts the two.
    assert list(found.arguments) == ["tests/test_chat.py", "-k", "a or b", "--", "c"]
    assert order(*ENDS, "--pre", *AFTER).with_pre
    assert order(*ENDS, "--yanked", *AFTER).with_yanked
    assert order(*ENDS, "--list").lists


@pytest.mark.parametrize(
    ("words", "halves"),
    [
        ([], ([], [])),
        (["a"], (["a"], [])),
        (["a", "--"], (["a"], [])),
        (["--", "b"], ([], ["b"])),
        (["a", "--", "b", "--", "c"], (["a"], ["b", "--", "c"])),
    ],
)
def test_what_is_after_the_first_two_dashes_is_for_pytest(
    words: list[str], halves: tuple[list[str], list[str]]
) -> None:
    assert cli._halves(words) == halves


@pytest.mark.parametrize("command", ["load", "cache", "matrix"])
def test_other_commands_have_nothing_for_pytest(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    needed = {"load": ["http://127.0.0.1:1"], "matrix": ["grid.toml"]}.get(command, [])
    with pytest.raises(SystemExit) as left:
        cli.main([command, *needed, "--", "x"])
    assert left.value.code == Exit.USAGE
    assert re.search(r"^llmperf: .*unrecognized arguments: (-- )?x", capsys.readouterr().err)


# -- what git bisect run would take for a bad commit ---------------------------------------------------

STEP = ("--subject", "vllm@{checkout}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing after --: which tests measure it?"),
        (STEP, "nothing after --: which tests measure it?"),
        (AFTER, "--subject says what is started at a commit, as in 'vllm@{checkout}'"),
        ((*STEP, "--bogus", *AFTER), "unrecognized arguments: --bogus"),
        ((*STEP, "--pairs", "no", *AFTER), "argument --pairs: "),
        ((*STEP, "--pairs", "1", *AFTER), "--pairs 1: a commit is judged by 2 pairs at least, one in either"),
        ((*STEP, *AFTER), "no good commit: begin with git bisect start BAD GOOD, or give --good and --bad"),
        ((*STEP, "--good", "v9", "--bad", "HEAD", *AFTER), "good v9: no commit of "),
        (
            (*STEP, "--metric", "ttft_p50_ms", *AFTER, "--llmperf-gate=x"),
            "--metric ttft_p50_ms and --llmperf-gate: give one of them",
        ),
        (("--subject", "vllm", *AFTER, "-x"), "-x: every pair has to measure all tests"),
        (
            ("--subject", "vllm", "--good", "HEAD~2", "--bad", "HEAD~1", *AFTER),
            "--subject vllm: nothing in it depends on the commit",
        ),
    ],
)
def test_no_mistake_of_the_command_line_is_taken_for_a_bad_commit(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    git = Git(tmp_path)
    for _ in range(3):
        git.commit()
    assert refused(capsys, "step", *arguments).startswith(words)


def test_outside_of_a_repository_git_is_stopped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", os.getcwd())
    assert "is in no git repository" in refused(capsys, "step", *STEP, *AFTER)


@pytest.mark.parametrize(
    ("code", "git_is_told"),
    [(0, 0), (1, 1), (125, 125), (129, 129), (130, 130), (Exit.USAGE, 129), (Exit.DEFECT, 129)],
)
def test_only_what_was_judged_is_good_or_bad(code: int, git_is_told: int) -> None:
    assert for_git(lambda: code) == git_is_told


def test_every_template_in_the_help_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("bisect", "step"):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        help_text = " ".join(capsys.readouterr().out.split())
        _, _, templates = help_text.partition("what starts at a commit: ")
        shown = re.findall("'([^']*)'", templates.partition(" --build ")[0])
        assert len(shown) == 3
        for one in shown:
            Recipe(one, wheel="https://a/{commit}.whl" if "{wheel}" in one else None).parsed()


def test_help_is_no_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("bisect", "step"):
        with pytest.raises(SystemExit) as left:
            cli.main([command, "--help"])
        assert left.value.code == 0
        assert "exit codes" in capsys.readouterr().out
