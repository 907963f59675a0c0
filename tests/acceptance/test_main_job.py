"""A real engine is started, loaded, judged against an SLO and a baseline; the build fails for a reason."""

from __future__ import annotations

import json
import os
import shlex

import pytest

from tests.acceptance.conftest import CHAT, Project


@pytest.fixture(autouse=True)
def one_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing else is said: how many launches a decision takes is tested elsewhere."""
    monkeypatch.setenv("LLMPERF_LAUNCHES", "1")


def test_a_sweep_within_its_slo_passes_and_leaves_a_record(project: Project) -> None:
    project.write(test_it=CHAT)
    result = project.run("--llmperf", "--llmperf-rates", "2,6", "--llmperf-json", "out.json")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "*llmperf: starting llamacpp*",
            "*llmperf: test_chat: measuring at 2/s, about 1 s*",
            "test_it.py::test_chat  pass",
            "  load  TTFT p50 *p95 *p99 *TPOT p50 *ITL p99 *tok/s *req/s *errors",
            "  2/s *✓*",
            "  6/s *✓*",
            "record: *",
        ]
    )
    (record,) = project.records()
    assert record == json.loads((project.path / "out.json").read_text())
    assert record["status"] == "complete"
    (test,) = record["tests"]
    assert test["verdict"] == "pass"
    assert test["environment"]["place"] == "local process"
    assert [point["load"] for point in test["points"]] == ["2/s", "6/s"]
    (run,) = test["points"][1]["runs"]
    assert run["requests"] == 6
    assert run["errors"] == {}
    assert run["values"]["requests_per_s"] > 0
    assert run["health"]["problems"] == []
    assert run["counters"]["prompt_tokens"] == 6 * 64
    assert run["cache_reset"] is True
    assert record["launches"][0]["startup_s"]["healthy"] > 0


@pytest.mark.beside_others
def test_a_broken_slo_fails_the_test_in_plain_words(project: Project) -> None:
    project.write(test_it=CHAT)
    result = project.run("--llmperf", "--llmperf-slo", "ttft_p50_ms=0.01")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "TTFT p50 at 4/s is * ms, limit 0.01 ms: test_chat misses its SLO (llamacpp).",
            "*SLO *TTFT p50 at 4/s is * ms (95% interval * to *; 1 launch), limit 0.01 ms, *% over",
            "*Next:",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    assert project.records()[0]["tests"][0]["verdict"] == "slo broken"


def test_a_flag_that_makes_it_worse_fails_against_the_baseline(project: Project) -> None:
    # Four streams that share one slot wait for each other: several times the TTFT, on any machine.
    crowd = CHAT.replace("rates=[4], duration=1", "concurrency=[4], requests=16")
    project.write(test_it=crowd.replace("output_tokens=16", "output_tokens=64"))
    accepted = project.run("--llmperf", "--llmperf-update", "--llmperf-launches", "2")
    accepted.assert_outcomes(passed=1)
    accepted.stdout.fnmatch_lines(["*accepted as the new baseline: *test_it-test_chat-*.json"])
    (baseline,) = project.baselines()
    before = baseline.read_bytes()

    slower, again = "llamacpp --parallel 1", "pytest --llmperf test_it.py::test_chat"
    result = project.run("--llmperf", "--llmperf-launches", "2", "--llmperf-engine", slower)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            f"TTFT p50 at 4 at once: * ms → * ms, +*%: test_chat is worse than its baseline ({slower}).",
            "*worse *TTFT p50 at 4 at once: * ms → * ms, +*% (95% interval +*% to +*%; 2 + 2 launches; *)",
            "*compared with llamacpp, accepted *, 2 launches*",
            "*flags * + --parallel 1",
            "*Likely: waiting",
            "*at 4 at once what the engine's own prefill time leaves of TTFT is * ms a request (mean), *",
            f"*: {again} --llmperf-engine '{slower}' --llmperf-against llamacpp",
            f"*: {again} --llmperf-engine '{slower}' --llmperf-update",
        ]
    )
    assert baseline.read_bytes() == before
    assert project.starts() == 4
    for line in result.outlines:
        if ": pytest --llmperf" in line:
            _, *options = shlex.split(line.partition(": ")[2])
            assert project.run(*options, "--collect-only").ret == 0


@pytest.mark.beside_others
def test_a_baseline_is_not_accepted_from_a_broken_slo(project: Project) -> None:
    project.write(test_it=CHAT)
    result = project.run("--llmperf", "--llmperf-update", "--llmperf-slo", "ttft_ms=0.01")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*not accepted as a baseline, because the SLO is broken"])
    assert project.baselines() == []


def test_a_comparison_that_cannot_be_decided_warns_or_fails_as_asked(project: Project) -> None:
    project.write(test_it=CHAT)
    once = ("--llmperf", "--llmperf-launches", "1", "--llmperf-gate", "requests_per_s")
    accepting = (*once, "--llmperf-update")
    project.run(*accepting).assert_outcomes(passed=1)
    # One launch a side cannot decide about a tolerance of a tenth of a percent.
    undecided = (*once, "--llmperf-tolerance", "0.1%")
    warned = project.run(*undecided)
    warned.assert_outcomes(passed=1)
    warned.stdout.fnmatch_lines(["test_it.py::test_chat  inconclusive", "*undecided *requests at 4/s: *"])
    project.run(*undecided, "--llmperf-inconclusive", "fail").assert_outcomes(failed=1)


@pytest.mark.beside_others
def test_another_environment_is_named_and_not_compared(project: Project) -> None:
    project.write(test_it=CHAT)
    project.run("--llmperf", "--llmperf-update").assert_outcomes(passed=1)
    (baseline,) = project.baselines()
    content = json.loads(baseline.read_text())
    content["environment"]["cpu"] = "Another CPU"
    baseline.with_name(baseline.name.replace(".json", "x.json")).write_text(json.dumps(content))
    baseline.unlink()
    result = project.run("--llmperf")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["*not compared: the baseline is from another environment (cpu: Another CPU → *"]
    )


@pytest.mark.beside_others
def test_a_test_asserts_on_what_it_measured_itself(project: Project) -> None:
    project.write(
        test_it="""
        from pytest_llmperf import DeclarationError, Measurements, Workload
        import httpx, pytest

        def test_chat_and_completions(llmperf):
            for chat in (True, False):
                workload = Workload(input_tokens=64, output_tokens=8, chat=chat)
                m = llmperf(workload, concurrency=2, requests=6)
                assert isinstance(m, Measurements)
                assert m[0].requests == 6
                assert m.value("error_rate") == 0
                assert m.value("ttft_p50_ms") <= m.value("ttft_p99_ms") <= m.value("e2e_p99_ms")
                assert m.at(concurrency=2).health.wrong_prompt_lengths == 0
                with pytest.raises(DeclarationError, match="no load point"):
                    m.at(rate=3)

        def test_the_engine_can_be_asked(llmperf):
            models = httpx.get(f"{llmperf.url}/v1/models").json()
            assert models["data"][0]["id"] == llmperf.model
            llmperf(Workload(input_tokens=8, output_tokens=4), requests=2)

        def test_that_fails_by_itself(llmperf):
            m = llmperf(Workload(input_tokens=8, output_tokens=4), requests=4)
            assert m.value("ttft_p50_ms") < 0

        def test_that_measures_nothing(llmperf):
            pass
        """
    )
    result = project.run("--llmperf")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["E *assert * < 0", "nothing was measured: the test never called*"])
    assert project.starts() == 1


@pytest.mark.beside_others
def test_a_url_subject_is_measured_and_left_running(project: Project) -> None:
    project.write(
        test_it=CHAT,
        serve="""
        import subprocess, sys, time, httpx
        from pytest_llmperf.declare.subject import parse_subject
        from pytest_llmperf.engines.llamacpp import LlamaCpp
        from pytest_llmperf.engines.protocol import Runtime
        from pytest_llmperf.places.ports import free_port

        port = free_port()
        engine = LlamaCpp()
        subject = parse_subject("llamacpp")
        command = engine.command(subject, engine.model(None), Runtime(sys.executable), "127.0.0.1", port)
        server = subprocess.Popen(command.argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{port}"
        try:
            with httpx.Client(base_url=url) as client:
                while not engine.is_ready(client, subject):
                    time.sleep(0.05)
            options = ["--llmperf", "--llmperf-engine", url + "/v1/"]
            code = subprocess.call([sys.executable, "-m", "pytest", *options])
            assert server.poll() is None
        finally:
            server.terminate()
            server.wait()
        sys.exit(code)
        """,
    )
    result = project.pytester.runpython(project.path / "serve.py")
    result.assert_outcomes(passed=1)
    (record,) = project.records()
    environment = record["tests"][0]["environment"]
    assert environment["place"] == "a server that runs on this machine"
    assert record["launches"][0]["startup_s"] is None


@pytest.mark.beside_others
def test_what_the_baseline_lacks_is_named(project: Project) -> None:
    project.write(test_it=CHAT)
    project.run("--llmperf", "--llmperf-update").assert_outcomes(passed=1)
    result = project.run("--llmperf", "--llmperf-rates", "4,6", "--llmperf-gate", "ttft_p50_ms itl_p50_ms")
    result.stdout.fnmatch_lines(["*compared with llamacpp, *; not compared: ITL p50 at 4/s, 6/s*"])


def test_a_gate_that_must_decide_fails_where_nothing_was_compared(project: Project) -> None:
    # Of a few requests not even a tolerance of 90 % could be decided.
    project.write(test_it=CHAT.replace("rates=[4], duration=1", "concurrency=[1], requests=60"))
    strict = (
        *("--llmperf", "--llmperf-inconclusive", "fail"),
        *("--llmperf-tolerance", "90%", "--llmperf-gate", "tpot_p50_ms"),
    )
    result = project.run(*strict, "--llmperf-requests", "4")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*test_chat was not compared with a baseline in everything*", "*no baseline yet*"]
    )
    project.run("--llmperf", "--llmperf-update").assert_outcomes(passed=1)
    project.run(*strict).assert_outcomes(passed=1)
    project.run(*strict, "--llmperf-concurrency", "1,2").assert_outcomes(failed=1)


@pytest.mark.beside_others
def test_points_that_an_update_loses_are_named(project: Project) -> None:
    project.write(test_it=CHAT)
    project.run("--llmperf", "--llmperf-update", "--llmperf-rates", "4,5").assert_outcomes(passed=1)
    result = project.run("--llmperf", "--llmperf-update")
    result.stdout.fnmatch_lines(
        ["*no longer in it, because not measured now: 64 in / 16 out, poisson 5/s for 1 s*"]
    )


@pytest.mark.beside_others
def test_a_link_stays_a_link_and_a_device_a_device(project: Project) -> None:
    project.write(test_it=CHAT)
    (project.path / "real.json").write_text("old")
    (project.path / "link.json").symlink_to("real.json")
    project.run("--llmperf", "--llmperf-json", "link.json").assert_outcomes(passed=1)
    assert (project.path / "link.json").is_symlink()
    assert json.loads((project.path / "real.json").read_text())["status"] == "complete"
    os.mkfifo(project.path / "fifo")
    assert project.run("--llmperf", "--llmperf-json", "fifo").ret == pytest.ExitCode.USAGE_ERROR
