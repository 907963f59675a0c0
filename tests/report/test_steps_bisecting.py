"""The bisections that are proposed under a failed test."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import pytest

from pytest_llmperf.bisect.kind import kind_of
from pytest_llmperf.bisect.run import run_bisection
from pytest_llmperf.declare.subject import parse_subject
from tests.git import Git
from tests.report.entries import FAST, SLOW, Writer, latencies
from tests.report.worsenings import AGAIN, TEST, bisected, steps, worse


@pytest.mark.parametrize(
    ("candidate", "base", "before", "now", "ends"),
    [
        ("vllm==0.24.0", "vllm==0.22.1", "0.22.1", "0.24.0", ("vllm==0.22.1", "vllm==0.24.0")),
        # What was just the installed one is known by its version.
        ("vllm --x 1", "vllm --x 1", "0.22.1", "0.24.0rc1", ("vllm==0.22.1 --x 1", "vllm==0.24.0rc1 --x 1")),
        # Of both, the old flags, which the step ahead of it asks about.
        (
            "vllm==0.24.0 --x 1",
            "A=1 vllm==0.22.1 --x 2",
            "0.22.1",
            "0.24.0",
            ("A=1 vllm==0.22.1 --x 2", "A=1 vllm==0.24.0 --x 2"),
        ),
        ("sglang", "sglang", "0.5.16.post1", "0.5.17", ("sglang==0.5.16.post1", "sglang==0.5.17")),
    ],
)
def test_between_two_releases_the_culprit_is_searched(
    candidate: str, base: str, before: str, now: str, ends: tuple[str, str]
) -> None:
    order = bisected(worse(candidate, base, before=before, now=now), "find the release")
    assert (order.good, order.bad) == ends
    assert order.arguments == [TEST]
    assert kind_of(order.good, order.bad) == "releases"


@pytest.mark.parametrize(
    ("candidate", "base", "before", "now"),
    [
        ("vllm==0.24.0", "vllm==0.24.0 --x", "0.24.0", "0.24.0"),
        ("vllm", "vllm", "0.22.1", "0.24.1.dev3+g3f2a91c"),  # no index has that
        ("vllm", "vllm", "0.22.1", "unknown"),
        ("vllm@/src/vllm", "vllm==0.22.1", "0.22.1", "0.24.0"),
        ("vllm==0.24.0", "vllm@dist/vllm-0.22.1-py3-none-any.whl", "0.22.1", "0.24.0"),
        ("vllm==0.24.0", "http://gpu.example:8000", "0.22.1", "0.24.0"),
        ("command -- ./b", "command -- ./a", "1", "2"),
        ("vllm==0.24.0 --api-key '[redacted]'", "vllm==0.22.1", "0.22.1", "0.24.0"),
    ],
)
def test_where_no_releases_lie_between_no_bisection_is_proposed(
    candidate: str, base: str, before: str, now: str
) -> None:
    assert not any(
        command[:1] == ["llmperf"]
        for command in steps(worse(candidate, base, before=before, now=now)).values()
    )


def test_it_is_bisected_at_the_load_that_got_worst_without_what_a_bisection_refuses() -> None:
    writer = Writer(TEST)
    typed = (
        *(
            "--llmperf-engine",
            "vllm==0.24.0",
            "--llmperf-rates=1,4",
            "--llmperf-slo",
            "ttft_ms=300 tpot_ms=40",
        ),
        *(
            "--llmperf-baseline",
            "main",
            "--llmperf-launches=3",
            "--llmperf-json",
            "a.json",
            "--llmperf-update",
        ),
        *("--llmperf-against=vllm==0.23.0", "-x", "-n4", "--llmperf-model=/models/m"),
    )
    writer.result.command = [*AGAIN, *typed]
    writer.result.subject_text = "vllm==0.24.0"
    for launch in (1, 2, 3):
        writer.launch(launch, SLOW, values=latencies(1.3))
        writer.launch(launch, FAST, values=latencies(1.6))
    writer.judge(ttft_p50_ms=[100] * 3)
    order = bisected(writer, "find the release")
    assert order.arguments == [
        *(TEST, "--llmperf-slo", "ttft_ms=300 tpot_ms=40", "--llmperf-model=/models/m"),
        *("--llmperf-rates", "4"),
    ]


@pytest.mark.parametrize(
    ("candidate", "base", "good"),
    [
        ("vllm --a 1 --b 2 3 --c", "vllm --a 1", "vllm --a 1"),
        # The same version, as it turned out.
        ("vllm==0.24.0 --b 2 3 --c", "vllm", "vllm==0.24.0"),
        ("vllm --b 2 3 --c", "vllm==0.24.0", "vllm"),
        ("B=1 command -- ./s --c {port}", "command -- ./s {port}", "command -- ./s '{port}'"),
    ],
)
def test_of_several_flags_the_culprit_is_searched(candidate: str, base: str, good: str) -> None:
    writer = worse(
        candidate, base, differences=["flag --b: (none) → 2 3", "flag --c: (none) → on", "wheel: 1 → 2"]
    )
    order = bisected(writer, "find the flag")
    assert (order.good, parse_subject(order.bad)) == (good, parse_subject(candidate))
    assert kind_of(order.good, order.bad) == "flags"


@pytest.mark.parametrize("path", ["/src/my vllm", ".", "../vllm"])
@pytest.mark.parametrize(
    ("flags", "subject"), [("", "vllm@{checkout}"), (" --x 'a b'", "vllm@{checkout} --x 'a b'")]
)
def test_between_two_commits_of_a_checkout_the_culprit_is_searched(
    path: str, flags: str, subject: str
) -> None:
    text = shlex.join([f"vllm@{path}"]) + flags
    writer = worse(text, text, before="0.24.1.dev1", fields={"commit": "aaaaaaaaaaaa"})
    writer.result.subject = {**writer.result.subject, "commit": "bbbbbbbbbbbb"}
    order = bisected(writer, "find the commit")
    assert (order.good, order.bad, str(order.repository)) == ("aaaaaaaaaaaa", "bbbbbbbbbbbb", path)
    assert order.recipe is not None
    assert order.recipe.subject == subject


def test_the_commits_between_are_found_from_wherever_the_tests_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    git = Git(tmp_path / "my source")
    commits = [git.commit(f"number {number}") for number in range(4)]
    (tmp_path / "my tests").mkdir()
    monkeypatch.chdir(tmp_path / "my tests")
    subject = shlex.join(["vllm@../my source"])
    writer = worse(subject, subject, before="1", fields={"commit": commits[0][:12]})
    writer.result.subject = {**writer.result.subject, "commit": commits[-1][:12]}
    order = bisected(writer, "find the commit")
    assert run_bisection(dataclasses.replace(order, lists=True)) == 0
    assert [line.rpartition("  ")[2] for line in capsys.readouterr().out.splitlines()] == [
        f"number {number}" for number in range(4)
    ]
