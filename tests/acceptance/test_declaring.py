"""Wrong markers, options and settings: one error each that says where, what and what would be right."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import CHAT, Project, was_measured

pytestmark = pytest.mark.beside_others
HEAD = "import pytest\nfrom pytest_llmperf import Workload, slo, sweep\n"


BAD_MARKERS = [
    (
        "@slo(tfft_ms=300)",
        "@slo(tfft_ms=300): unknown metric 'tfft_ms' (did you mean 'ttft_ms'?); valid: *",
    ),
    ("@slo(ttft_ms=-1)", "@slo(ttft_ms=-1): ttft_ms=-1: a limit is greater than 0"),
    ("@slo(goodput=99)", "@slo(goodput=99): goodput=99: a share lies between 0 and 1"),
    ("@slo()", "@slo(): says nothing; expected slo(ttft_ms=300, tpot_ms=40)"),
    ("@pytest.mark.slo(300)", "@slo(300): takes named values only, *"),
    ("@sweep(rates=[])", "@sweep(rates=[[]]): rates=[[]]: at least one load point"),
    ("@sweep(rates=[1, 0])", "@sweep(rates=[[]1, 0]): rates=0: a number greater than 0"),
    (
        "@sweep(rates=[1], concurrency=[1])",
        "@sweep(*): give either rates (open loop), concurrency *",
    ),
    (
        "@sweep(rates=[1], arrivals='burst')",
        "@sweep(*): arrivals='burst': valid: poisson, constant, gamma:SHAPE",
    ),
    (
        "@pytest.mark.tolerance(ttft='5%')",
        "@tolerance(ttft='5%'): unknown metric 'ttft' (did you mean 'ttft_ms'?); valid: ttft_ms, *",
    ),
    ("@pytest.mark.sweep(rate=[1])", "@sweep(rate=[[]1]): unknown rate; valid: rates, *"),
    ("@pytest.mark.engine('vlm')", "engine 'vlm' is not known; known: command, llamacpp, *"),
    ("@pytest.mark.engine()", "@engine(*): takes one string, *"),
    ("@pytest.mark.engine('http://u:pw@h/')", "@engine(*): *no credentials in a URL*LLMPERF_API_KEY"),
]


def test_a_bad_marker_is_an_error_of_the_collection(project: Project) -> None:
    tests = {
        f"test_{number:02}": f"{HEAD}{marker}\ndef test_chat(llmperf):\n    pass\n"
        for number, (marker, _) in enumerate(BAD_MARKERS)
    }
    project.write(**tests)
    result = project.run("--llmperf", "--collect-only")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.assert_outcomes(errors=len(BAD_MARKERS))
    result.stdout.fnmatch_lines(
        [f"{name}.py:3: test_chat: {message}" for name, (_, message) in zip(tests, BAD_MARKERS, strict=True)]
    )
    result.stdout.no_fnmatch_line("*pw@*")


def test_a_bad_marker_is_found_without_llmperf_too(project: Project) -> None:
    project.write(test_it=f"{HEAD}@slo(nope=1)\ndef test_chat(llmperf):\n    pass\n")
    project.run().assert_outcomes(errors=1)


def test_a_bad_marker_of_a_parameter_names_the_item(project: Project) -> None:
    project.write(
        test_it=f"""{HEAD}
@pytest.mark.parametrize("n", [1, pytest.param(2, marks=slo(nope=1))])
def test_chat(llmperf, n):
    pass
"""
    )
    for options in ([], ["-n", "2"]):
        result = project.run("--llmperf", *options)
        result.assert_outcomes(failed=1, errors=1)
        result.stdout.fnmatch_lines(["test_it.py::test_chat[[]2]: @slo(nope=1): unknown metric 'nope'*"])


def test_a_test_is_judged_by_its_own_tolerances(project: Project) -> None:
    marker = "@pytest.mark.tolerance('7%', e2e_p50_ms='20%')\n"
    project.write(test_it=CHAT.replace("@slo", f"{marker}@slo").replace("\nfrom", "\nimport pytest\nfrom", 1))
    gate = ("--llmperf-launches", "1", "--llmperf-gate", "ttft_p50_ms e2e_p50_ms requests_per_s")
    project.run("--llmperf", *gate, "--llmperf-update").assert_outcomes(passed=1)
    project.run("--llmperf", *gate, "--llmperf-tolerance", "e2e_p50_ms=30% requests_per_s=2%")
    project.run("--llmperf", *gate)
    typed, marked = (
        {change["metric"]: change["tolerance"] for change in record["tests"][0]["points"][0]["changes"]}
        for record in project.records()[-2:]
    )
    assert typed == {"ttft_p50_ms": 0.07, "e2e_p50_ms": 0.3, "requests_per_s": 0.02}
    assert marked == {"ttft_p50_ms": 0.07, "e2e_p50_ms": 0.2, "requests_per_s": 0.07}


def test_a_marker_without_the_fixture_is_an_error(project: Project) -> None:
    project.write(test_it=f"{HEAD}@slo(ttft_ms=1)\ndef test_chat():\n    pass\n")
    project.run().assert_outcomes(passed=1)
    result = project.run("--llmperf")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*@slo has no effect: the test does not use the llmperf fixture*"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--llmperf-rates", "1,x"], "--llmperf-rates: 'x' is not a number"),
        (
            ["--llmperf-rates", "1", "--llmperf-concurrency", "1"],
            "--llmperf-rates: either this or *, not both",
        ),
        (["--llmperf-launches", "0"], "--llmperf-launches: '0': a number greater than 0"),
        (["--llmperf-launches", "1.5"], "--llmperf-launches: '1.5': a whole number"),
        (["--llmperf-slo", "ttft_ms"], "--llmperf-slo: 'ttft_ms': expected NAME=NUMBER*"),
        (["--llmperf-percentile", "p42"], "--llmperf-percentile: 'p42': valid: p50, p90, p95, p99, mean"),
        (["--llmperf-tolerance", "200%"], "--llmperf-tolerance: '200%': below 100%"),
        (
            ["--llmperf-launches", "8..3"],
            "--llmperf-launches: '8..3': from the fewest to the most, as in 3..8",
        ),
        (["--llmperf-budget", "soon"], "--llmperf-budget: 'soon': a time, as in 90s, 20m, 1h30m or 1200"),
        (["--llmperf-against", "vlm"], "--llmperf-against: engine 'vlm' is not known; known: command, *"),
        (["--llmperf-baseline", "./none"], "--llmperf-baseline: './none': no such file or directory"),
        (
            ["--llmperf-against", "llamacpp", "--llmperf-baseline", "main"],
            "--llmperf-against: either this or --llmperf-baseline, not both",
        ),
        (
            ["--llmperf-against", "llamacpp", "--llmperf-update"],
            "--llmperf-against: compares with no baseline, so it has none to update",
        ),
        (["--llmperf-gate", "speed"], "--llmperf-gate: unknown metric 'speed'*"),
        (["--llmperf-inconclusive", "ignore"], "--llmperf-inconclusive: 'ignore': valid: warn, fail"),
        (["--llmperf-engine", "'"], "--llmperf-engine: engine: no closing quotation"),
        (["--llmperf-json", "."], "--llmperf-json: * cannot be written: it is not a regular file"),
        (["--llmperf-json", "test_it.py/x"], "--llmperf-json: *test_it.py/x cannot be written: *"),
        (
            ["--llmperf-tolerance", "0.05"],
            "--llmperf-tolerance: '0.05': write 0.05% or 5%, whichever is meant",
        ),
    ],
)
def test_a_bad_option_is_a_usage_error(project: Project, options: list[str], message: str) -> None:
    project.write(test_it=CHAT)
    result = project.run("--llmperf", *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])


def test_an_engine_that_lacks_something_is_a_usage_error(project: Project) -> None:
    project.write(
        conftest="""
        class Half:
            name = "half"
            distribution = None
            stop_grace_s = 1.0
            model = model_identity = command = image = gpus = api_key = is_ready = describe = print

        def pytest_llmperf_engines():
            return [Half()]
        """,
        test_it=CHAT,
    )
    result = project.run("--llmperf")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: pytest_llmperf_engines: the engine half has no startup, exact_length, counters, *"]
    )


def test_variables_and_configuration_are_named_when_they_are_wrong(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(test_it=CHAT)
    project.pytester.makeini("[pytest]\nllmperf_duration = soon\n")
    result = project.run("--llmperf")
    result.stderr.fnmatch_lines(["ERROR: llmperf_duration: 'soon' is not a number"])
    monkeypatch.setenv("LLMPERF_REQUESTS", "2.5")
    result = project.run("--llmperf", "-o", "llmperf_duration=1")
    result.stderr.fnmatch_lines(["ERROR: LLMPERF_REQUESTS: requests=2.5: a whole number"])


def test_the_command_line_outranks_the_marker_and_the_marker_the_configuration(project: Project) -> None:
    project.write(test_it=CHAT.replace("rates=[4], duration=1", "rates=[4]"))
    project.pytester.makeini("[pytest]\nllmperf_rates = 9\nllmperf_duration = 0.5\n")
    assert was_measured(project.run("--llmperf", "--llmperf-slo", "ttft_ms=3000"))
    (test,) = project.records()[0]["tests"]
    assert [point["key"] for point in test["points"]] == ["64 in / 16 out, poisson 4/s for 0.5 s"]
    assert test["slo"] == ["TTFT p95 ≤ 3000 ms", "TPOT p95 ≤ 500 ms"]


def test_bad_arguments_of_the_call_fail_at_the_line_of_the_call(project: Project) -> None:
    project.write(
        test_it="""
        from pytest_llmperf import Workload

        def test_rate(llmperf):
            llmperf(Workload(input_tokens=8, output_tokens=4), rate=-1)

        def test_length(llmperf):
            llmperf(Workload(input_tokens=8, output_tokens=0))

        def test_type(llmperf):
            llmperf({"input_tokens": 8})
        """
    )
    result = project.run("--llmperf")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            ">       llmperf(Workload(input_tokens=8, output_tokens=4), rate=-1)",
            "E *rates=-1: a number greater than 0",
            "E *Workload(output_tokens=0): a whole number of tokens, at least 1",
            "E *expected a Workload",
        ]
    )


def test_markers_and_options_are_documented_by_pytest_itself(project: Project) -> None:
    markers = project.run("--markers")
    markers.stdout.fnmatch_lines(
        ["@pytest.mark.slo(ttft_ms=300, tpot_ms=40): *", "@pytest.mark.sweep(*", "*engine(*"]
    )
    help_text = project.run("--help")
    help_text.stdout.fnmatch_lines(
        ["*--llmperf-engine=SUBJECT*", "*--llmperf-update*", "*llmperf_rates (string)*"]
    )
    project.write(test_it=CHAT)
    project.run("--strict-markers", "--strict-config").assert_outcomes(skipped=1)


def test_lists_and_numbers_of_toml_are_understood(project: Project) -> None:
    project.write(test_it=CHAT.replace("@sweep(rates=[4], duration=1)", ""))
    project.pytester.makepyprojecttoml(
        "[tool.pytest.ini_options]\nllmperf_rates = [4, 5]\n"
        "llmperf_duration = 1\nllmperf_slo = ['ttft_ms=2000']\n"
    )
    assert was_measured(project.run("--llmperf"))
    (test,) = project.records()[0]["tests"]
    assert [point["load"] for point in test["points"]] == ["4/s", "5/s"]


def test_a_fixture_that_is_asked_for_too_late_says_so(project: Project) -> None:
    project.write(test_it="def test_late(request):\n    request.getfixturevalue('llmperf')\n")
    project.run().assert_outcomes(skipped=1)
    result = project.run("--llmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*take llmperf as an argument of the test*"])
