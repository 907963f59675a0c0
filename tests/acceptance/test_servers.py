"""Servers at a URL: those that behave, and those that answer nonsense, die, hang or flood."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack

import pytest

from tests.acceptance.conftest import CHAT, Project, was_measured
from tests.servers import SCRIPTS, TruthServer, Wire, scripted_server

SHORT = ("--llmperf-request-timeout", "1")


def for_each(urls: Mapping[str, str]) -> str:
    """A test against each of several servers, by a name for each."""
    tests = (
        CHAT.replace("@slo", f"@pytest.mark.engine({url!r})\n@slo").replace("_chat", f"_{name}")
        for name, url in urls.items()
    )
    return "import pytest\n" + "".join(tests)


def errors_of(result: pytest.RunResult) -> dict[str, pytest.LineMatcher]:
    """What is told of each of those tests."""
    heading = r"^_+ ERROR at \w+ of test_(\w+) _+$"
    _, *found = re.split(heading, result.stdout.str(), flags=re.MULTILINE)
    told = map(pytest.LineMatcher, map(str.splitlines, found[1::2]))
    return dict(zip(found[::2], told, strict=True))


def against(url: str, *options: str) -> tuple[str, ...]:
    return ("--llmperf", "--llmperf-engine", url, *options)


NONSENSE = {
    "html": "*not a stream: the answer is 'text/html': '<html>*",
    "not_found": "*HTTP 404: *",
    "unauthorized": "*HTTP 401*",
    "redirect": "*HTTP 307: redirected to 'https://elsewhere.test/v1'; name that URL instead",
    "half_event": "*truncated: the stream ended within an event: *",
    "wrong_count": "*token count: 7 output tokens instead of 8",
    "no_usage": "*no usage: the server does not count its tokens*",
    "hang_in_stream": "*timeout: not complete after 1 s",
    "flood": "*flood: more than * bytes in one response",
    "reset_in_stream": "*reset: Connection reset by peer",
    "close_without_answer": "*truncated: the connection was closed without an answer",
    "not_http": "*not HTTP: *",
}


@pytest.mark.beside_others
def test_a_server_that_never_answers_properly_is_an_error_before_any_load(project: Project) -> None:
    with ExitStack() as servers:
        urls = {script: servers.enter_context(scripted_server(script)) for script in NONSENSE}
        project.write(test_it=for_each(urls))
        result = project.run("--llmperf", *SHORT)
    result.assert_outcomes(errors=len(NONSENSE))
    assert errors_of(result).keys() == NONSENSE.keys()
    for script, told in errors_of(result).items():
        told.fnmatch_lines([f"{urls[script]}: the first streamed answer was not as asked", NONSENSE[script]])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.beside_others
@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("server_error", "*4 × HTTP 500: *CUDA out of memory*"),
        ("hang_before_head", "*4 × timeout: not complete after 1 s"),
        ("error_in_stream", "*4 × stream error: *engine died*"),
    ],
)
def test_a_server_that_breaks_under_load_fails_the_test_with_the_kinds_of_its_errors(
    project: Project, script: str, cause: str
) -> None:
    project.write(test_it=CHAT)
    with scripted_server(script, well_before=1) as url:
        result = project.run(*against(url, *SHORT))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*SLO *error rate at 4/s is 100% (1 launch), limit 0%", cause])
    (record,) = project.records()
    (run,) = record["tests"][0]["points"][0]["runs"]
    assert sum(error["count"] for error in run["errors"].values()) == run["requests"] == 4


@pytest.mark.beside_others
def test_a_server_that_answers_nothing_properly_is_given_up(project: Project) -> None:
    scripts = ("flood", "hang_after_head", "close_without_answer", "not_http", "server_error")
    with ExitStack() as servers:
        urls = {one: servers.enter_context(scripted_server(one, everything=True)) for one in scripts}
        project.write(test_it=for_each(urls))
        result = project.run("--llmperf", "--llmperf-startup-timeout", "1", *SHORT)
    result.assert_outcomes(errors=len(scripts))
    assert errors_of(result).keys() == urls.keys()
    for script, told in errors_of(result).items():
        told.fnmatch_lines([f"{urls[script]}: *", "server: * which was not started from here"])


def half(wire: Wire) -> None:
    """Every other request of a run fails."""
    SCRIPTS["server_error" if int(wire.request.id[-1]) % 2 else "well"](wire)


@pytest.mark.beside_others
@pytest.mark.parametrize(("allowed", "outcome"), [(0.5, "passed"), (0.01, "failed")])
def test_errors_may_be_allowed_by_the_slo(project: Project, allowed: float, outcome: str) -> None:
    project.write(test_it=CHAT)
    with scripted_server(half) as url:
        result = project.run(*against(url, "--llmperf-slo", f"error_rate={allowed}"))
    assert result.parseoutcomes() == {outcome: 1}
    result.stdout.fnmatch_lines(["  4/s * 2/4*"])


def test_what_the_server_really_did_is_what_is_reported(project: Project) -> None:
    project.write(test_it=CHAT.replace("rates=[4], duration=1", "rates=[10], duration=2"))
    with TruthServer(ttft_s=0.05, itl_s=0.01) as server:
        result = project.run(*against(server.url))
        served = len(server.log())
    result.assert_outcomes(passed=1)
    (test,) = project.records()[0]["tests"]
    (run,) = test["points"][0]["runs"]
    assert run["requests"] == 20
    assert served >= 20 + 1 + 8  # the first answer, and two bursts of at least four to warm up
    assert run["values"]["ttft_p50_ms"] >= 50
    assert run["values"]["tpot_p50_ms"] >= 9
    assert run["values"]["e2e_p50_ms"] >= 50 + 15 * 9
    assert test["environment"]["place"] == "a server that runs on this machine"


@pytest.mark.beside_others
def test_cached_prompts_make_a_run_invalid(project: Project) -> None:
    project.write(test_it=CHAT)
    with TruthServer(cached_tokens=60) as server:
        result = project.run(*against(server.url))
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "the measurement is invalid:",
            "*4/s, launch 1: 94% of the prompt tokens came from the engine's prefix cache *",
        ]
    )
    assert project.records()[0]["tests"][0]["verdict"] == "invalid"


@pytest.mark.beside_others
def test_rounds_against_a_url_are_one_launch(project: Project) -> None:
    project.write(test_it=CHAT)
    with TruthServer() as server:
        result = project.run(*against(server.url, "--llmperf-launches", "2"))
    result.assert_outcomes(passed=1)
    (test,) = project.records()[0]["tests"]
    assert test["launches"] == 1
    assert len(test["points"][0]["runs"]) == 2


@pytest.mark.beside_others
def test_a_start_up_limit_makes_no_sense_for_a_server_that_runs(project: Project) -> None:
    project.write(test_it=CHAT.replace("@slo(", "@slo(startup_s=60, "))
    with TruthServer() as server:
        result = project.run(*against(server.url))
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "*the SLO start-up ≤ 60 s cannot be judged: http://127.0.0.1:* runs already and was not started "
            "from here; leave startup_s out, or name an engine to start (--llmperf-engine *)"
        ]
    )


@pytest.mark.beside_others
def test_the_api_key_is_sent_and_never_shown(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write(test_it=CHAT)
    monkeypatch.setenv("LLMPERF_API_KEY", "hunter2")
    with TruthServer() as server:
        result = project.run(*against(server.url), "-vv")
        headers = [served.headers for served in server.log().values()]
    assert was_measured(result)
    assert {sent["authorization"] for sent in headers} == {"Bearer hunter2"}
    assert "hunter2" not in result.stdout.str() + result.stderr.str()
    assert not [path for path in project.path.rglob("*.json") if "hunter2" in path.read_text()]
