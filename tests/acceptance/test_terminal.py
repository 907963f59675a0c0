"""What a person sees while it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from pytest_llmperf.report.width import cells
from tests.acceptance.conftest import CHAT, Project
from tests.pseudo_terminal import run_on_a_terminal, shown, without_colours
from tests.servers import TruthServer


@pytest.fixture
def url() -> Iterator[str]:
    with TruthServer(ttft_s=0.002, itl_s=0.001) as server:
        yield server.url


def on_a_terminal(project: Project, *args: str) -> str:
    written, code = run_on_a_terminal(project.path, 70, *args)
    assert code == 0
    return written


@pytest.mark.beside_others
def test_progress_is_written_in_place_and_gives_the_line_back(project: Project) -> None:
    project.write(test_it=CHAT + "\ndef test_plain():\n    pass\n")
    written = on_a_terminal(project, "--llmperf", "--color=no")
    lines = shown(written)
    assert "\r  starting llamacpp" in written
    assert "\r  test_chat: measuring at 4/s" in written
    assert not any("measuring" in line or "stopping" in line for line in lines)
    assert [line for line in lines if line.startswith("test_it.py .")] == [f"{'test_it.py ..':<63}[100%]"]


@pytest.mark.beside_others
@pytest.mark.parametrize("options", [("-qq",), ("-q", "--no-header", "--no-summary")])
def test_quiet_runs_have_no_progress(project: Project, options: tuple[str, ...]) -> None:
    project.write(test_it=CHAT)
    result = project.run("--llmperf", *options)
    assert project.records()[0]["status"] == "complete"
    result.stdout.no_fnmatch_line("*measuring*")


@pytest.mark.beside_others
def test_it_runs_without_a_terminal_reporter(project: Project) -> None:
    project.write(test_it=CHAT)
    result = project.run("--llmperf", "-p", "no:terminal")
    assert result.ret == 0
    assert project.records()[0]["tests"][0]["verdict"] == "pass"


@pytest.mark.beside_others
def test_twenty_tests_fit_on_one_screen(project: Project, url: str) -> None:
    limited = "\n".join(
        f"""
@slo(ttft_ms={2000 if number < 16 else 0.001})
@sweep(concurrency=[1], requests=2)
def test_{number}(llmperf):
    llmperf(Workload(input_tokens=16, output_tokens=4))
"""
        for number in range(20)
    )
    project.write(test_it=f"from pytest_llmperf import Workload, slo, sweep\n{limited}")
    options = ("--llmperf", "--llmperf-engine", url, "--tb=no", "-rN")
    written, code = run_on_a_terminal(project.path, 100, *options)
    assert code == 1
    lines = shown(without_colours(written))
    begin = next(i for i, line in enumerate(lines) if line.strip("= ") == "llmperf")
    section = [line for line in lines[begin:] if line]
    assert len(section) <= 50
    assert all(cells(line) <= 100 for line in section if not line.startswith("record: "))
    named = [line for line in section if re.match(r"(pass|invalid|slo broken) +test_\d+ ", line)]
    assert len(named) == 20
    assert re.fullmatch(r"llmperf: (\d+ [a-z ]+(, |; )){1,3}1 launch; .*s", section[-2])


@pytest.mark.beside_others
def test_a_worker_of_xdist_is_heard_in_long_phases_too(project: Project, url: str) -> None:
    project.pytester.makeconftest("import pytest_llmperf.report.progress as p\np._BEAT_S = 0.3")
    project.write(test_it=CHAT)
    options = ("--llmperf-duration", "3", "-n", "1", "--llmperf-workers", "1")
    result = project.run("--llmperf", "--llmperf-engine", url, *options)
    signs = [line for line in result.outlines if re.search(r"measuring at 4/s: \d+ of \d+ requests", line)]
    assert 1 <= len(signs) <= 8
    assert any(
        line.startswith("  llmperf: test_chat: measuring at 4/s, about 3 s") for line in result.outlines
    )
