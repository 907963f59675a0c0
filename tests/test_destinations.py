"""What no output of a session takes the place of; nothing is measured for it."""

from __future__ import annotations

import pytest

import pytest_llmperf.activate  # noqa: F401  (what it imports can be loaded once in a process)


def refused(pytester: pytest.Pytester, *options: str) -> str:
    result = pytester.runpytest_inprocess("--llmperf", *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    return result.stderr.str()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--llmperf-html", "x.html", "--llmperf-markdown", "sub/../x.html"], "what --llmperf-html writes"),
        (["--llmperf-html", "link.html", "--llmperf-json", "real.html"], "what --llmperf-json writes"),
        (["--llmperf-html", "x", "--junitxml", "./x"], "what --junitxml writes"),
        (["--llmperf-html", ".llmperf/history.sqlite"], "is the history"),
        (["--llmperf-html", "h", "--llmperf-history", "h"], "is the history"),
        (["--llmperf-json", ".llmperf/baselines/a.json"], "is a baseline"),
        (["--llmperf-json", "golden/a.json", "--llmperf-baseline", "./golden"], "is a baseline"),
        (["--llmperf-json", ".llmperf/runs/a.json"], "is a record"),
        (["--llmperf-markdown", "-"], "--llmperf-markdown: '-' names no file"),
        (["--llmperf-html", ""], "--llmperf-html: '' names no file"),
    ],
)
def test_no_output_takes_the_place_of_another_or_of_what_is_kept(
    options: list[str], said: str, pytester: pytest.Pytester
) -> None:
    for folder in ("sub", "golden", ".llmperf/runs", ".llmperf/baselines"):
        (pytester.path / folder).mkdir(parents=True)
        (pytester.path / folder / "a.json").write_text("{}")
    (pytester.path / "link.html").symlink_to("real.html")
    assert said in refused(pytester, *options)
    assert not (pytester.path / "x.html").exists()


@pytest.mark.parametrize("name", ["test_b.py", "pyproject.toml", "other.sqlite", "SETUP.CFG", "trace.jsonl"])
def test_no_output_takes_the_place_of_what_it_cannot_be(name: str, pytester: pytest.Pytester) -> None:
    (path := pytester.path / name).write_text("[x]\n")
    assert "no output of ours is a" in refused(pytester, "--llmperf-json", name)
    assert path.read_text() == "[x]\n"


@pytest.mark.parametrize("name", ["new.py", "old.json", "old", "link.json", ".llmperf/runs/new.json"])
def test_what_is_new_or_may_be_ours_is_not_refused(name: str, pytester: pytest.Pytester) -> None:
    for old in ("old.json", "old", "real.json"):
        (pytester.path / old).write_text("old")
    (pytester.path / "link.json").symlink_to("real.json")
    result = pytester.runpytest_inprocess("--llmperf", "--llmperf-json", name)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
