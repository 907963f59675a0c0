from __future__ import annotations

from typing import Any

import pytest

from pytest_llmperf.declare.launches import Launches
from pytest_llmperf.declare.load import ARRIVALS, Ramp, Sweep
from pytest_llmperf.declare.metrics import STATISTICS, MetricKey
from pytest_llmperf.declare.options import DEFAULT_GATE, OPTIONS, OUTPUTS
from pytest_llmperf.declare.settings import Settings
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.declare.tolerance import Tolerances, parse_tolerances
from pytest_llmperf.errors import DeclarationError

VALUED = [option for option in OPTIONS if option.metavar is not None]

Said = dict[str, str]


def resolve(typed: Said | None = None, exported: Said | None = None, ini: Said | None = None) -> Settings:
    return Settings.resolve(typed or {}, exported or {}, ini or {})


def test_without_a_word_the_documented_defaults_hold() -> None:
    settings = resolve()
    assert settings.below.engine == Subject("llamacpp")
    assert settings.below.sweep == Sweep(arrivals="poisson")
    assert settings.below.slo == Slo()
    assert (settings.above.engine, settings.above.sweep, settings.above.slo) == (None, Sweep(), Slo())
    assert (settings.model, settings.place, settings.outputs) == (None, None, {})
    assert (settings.percentile, settings.launches, settings.tolerances) == (
        "p95",
        Launches(None, 8),
        Tolerances(0.05),
    )
    assert (settings.against, settings.baseline, settings.budget_s) == (None, None, None)
    assert settings.exit_codes == "pytest"
    assert settings.gate == (
        MetricKey("ttft", "p50"),
        MetricKey("ttft", "p95"),
        MetricKey("tpot", "p50"),
        MetricKey("output_tokens"),
        MetricKey("capacity"),
    )
    assert (settings.inconclusive, settings.directory, settings.update) == ("warn", ".llmperf", False)
    assert (settings.startup_timeout_s, settings.request_timeout_s) == (600, 120)
    assert (settings.gpus, settings.lease_timeout_s) == (None, 3600)


def test_every_setting_has_the_same_spelling_everywhere() -> None:
    spellings = {option.name: (option.flag, option.variable, option.ini) for option in OPTIONS}
    assert spellings["request-timeout"] == (
        "--llmperf-request-timeout",
        "LLMPERF_REQUEST_TIMEOUT",
        "llmperf_request_timeout",
    )


def test_helps_are_written_for_people_and_leave_escapes_to_the_plugin() -> None:
    assert not [option.name for option in OPTIONS if "%%" in option.help]


@pytest.mark.parametrize(
    "option", [o for o in VALUED if o.default is not None], ids=lambda option: option.name
)
def test_every_default_passes_the_checks_that_a_typed_value_has_to_pass(option: Any) -> None:
    resolve({option.name: option.default})


# Three valid values of each setting that has no say of the test in between, and what they come to.
PLAIN = {
    "model": ("m1", "m2", "m3"),
    "percentile": ("p50", "p90", "p99"),
    "launches": ("2", "3..4", "4"),
    "tolerance": ("2%", "3", "4 %"),
    "budget": ("90", "20m", "1h30m"),
    "against": ("llamacpp", "vllm==0.22.1", "http://host"),
    "baseline": ("main", "v1.0", "../other/.llmperf"),
    "exit-codes": ("pytest", "bisect", "pytest"),
    "gate": ("ttft_p50_ms", "tpot_p50_ms", "itl_p50_ms"),
    "inconclusive": ("fail", "warn", "fail"),
    "dir": ("d1", "d2", "d3"),
    **dict.fromkeys(OUTPUTS, ("o1", "o2", "o3")),
    "startup-timeout": ("1", "2", "3"),
    "request-timeout": ("1", "2", "3.5"),
    "gpus": ("0", "0, 1", "all"),
    "lease-timeout": ("1", "2", "3.5"),
    "lease-dir": ("/a", "/b", "/c"),
    "cache-limit": ("1GB", "500MB", "1.5 TB"),
}
FIELDS = {
    "tolerance": "tolerances",
    "budget": "budget_s",
    "exit-codes": "exit_codes",
    "lease-timeout": "lease_timeout_s",
    "lease-dir": "lease_directory",
    "cache-limit": "cache_limit",
    "dir": "directory",
    **dict.fromkeys(OUTPUTS, "outputs"),
    "startup-timeout": "startup_timeout_s",
    "request-timeout": "request_timeout_s",
}


@pytest.mark.parametrize("name", PLAIN)
def test_the_command_line_outranks_the_environment_which_outranks_the_configuration(name: str) -> None:
    low, middle, high = PLAIN[name]
    option = next(option for option in OPTIONS if option.name == name)
    ini, exported, typed = {name: low}, {option.variable: middle}, {name: high}

    def value(settings: Settings) -> object:
        return getattr(settings, FIELDS.get(name, name))

    assert value(resolve(ini=ini)) == value(resolve({name: low}))
    assert value(resolve(exported=exported, ini=ini)) == value(resolve({name: middle}))
    assert value(resolve(typed, exported, ini)) == value(resolve(typed))
    assert value(resolve({name: low})) != value(resolve({name: middle})) != value(resolve({name: high}))


def test_what_is_typed_or_exported_is_above_the_test_and_the_configuration_below() -> None:
    settings = resolve({"rates": "1,2"}, {"LLMPERF_ENGINE": "vllm"}, {"slo": "ttft_ms=300", "rates": "9"})
    assert settings.above.sweep == Sweep(rates=(1.0, 2.0))
    assert settings.above.engine == Subject("vllm")
    assert settings.below.slo == Slo.of({"ttft_ms": 300})
    assert settings.below.sweep == Sweep(rates=(9.0,), arrivals="poisson")


@pytest.mark.parametrize(
    ("typed", "exported", "sweep"),
    [
        ({"rates": "4"}, {"LLMPERF_CONCURRENCY": "8"}, Sweep(rates=(4.0,))),
        ({"concurrency": "8"}, {"LLMPERF_RATES": "4"}, Sweep(concurrency=(8,))),
        ({"replay": "2"}, {"LLMPERF_RATES": "4", "LLMPERF_CONCURRENCY": "8"}, Sweep(replay=(2.0,))),
        ({"rates": "1..4"}, {"LLMPERF_REPLAY": "2"}, Sweep(rates=(Ramp(1, 4),))),
        ({"duration": "5"}, {"LLMPERF_REQUESTS": "9"}, Sweep(duration_s=5.0)),
        ({"requests": "9"}, {"LLMPERF_DURATION": "5"}, Sweep(requests=9)),
        ({"requests": "9", "duration": "5"}, {"LLMPERF_DURATION": "7"}, Sweep(duration_s=5.0, requests=9)),
        ({"rates": "4"}, {"LLMPERF_DURATION": "7"}, Sweep(rates=(4.0,), duration_s=7.0)),
    ],
)
def test_typing_one_kind_of_load_takes_back_an_exported_other(
    typed: Said, exported: Said, sweep: Sweep
) -> None:
    assert resolve(typed, exported).above.sweep == sweep


@pytest.mark.parametrize(
    ("typed", "exported", "ini", "message"),
    [
        (
            {"rates": "4", "concurrency": "8"},
            {},
            {},
            "--llmperf-rates: either this or --llmperf-concurrency, not both",
        ),
        (
            {},
            {"LLMPERF_RATES": "4", "LLMPERF_CONCURRENCY": "8"},
            {},
            "LLMPERF_RATES: either this or LLMPERF_CONCURRENCY, not both",
        ),
        (
            {},
            {},
            {"rates": "4", "concurrency": "8"},
            "llmperf_rates: either this or llmperf_concurrency, not both",
        ),
        (
            {"replay": "4", "concurrency": "8"},
            {},
            {},
            "--llmperf-concurrency: either this or --llmperf-replay, not both",
        ),
    ],
)
def test_two_kinds_of_load_from_one_source_are_refused(
    typed: Said, exported: Said, ini: Said, message: str
) -> None:
    with pytest.raises(DeclarationError) as caught:
        resolve(typed, exported, ini)
    assert str(caught.value) == message


def test_limits_and_tolerances_that_are_typed_are_merged_with_exported_ones() -> None:
    settings = resolve(
        {"slo": "ttft_ms=300", "tolerance": "ttft_ms=10%"},
        {"LLMPERF_SLO": "ttft_ms=100 tpot_ms=40", "LLMPERF_TOLERANCE": "3% ttft_ms=20%"},
    )
    assert settings.above.slo == Slo.of({"ttft_ms": 300, "tpot_ms": 40})
    assert settings.above.tolerances == settings.tolerances == parse_tolerances("3% ttft_ms=10%")


@pytest.mark.parametrize(
    ("typed", "exported", "ini", "against", "baseline"),
    [
        ({"against": "llamacpp"}, {"LLMPERF_BASELINE": "main"}, {}, Subject("llamacpp"), None),
        ({"against": "llamacpp"}, {}, {"baseline": "main"}, Subject("llamacpp"), None),
        ({"baseline": "v1"}, {"LLMPERF_AGAINST": "llamacpp"}, {"against": "vllm"}, None, "v1"),
        ({}, {"LLMPERF_BASELINE": "v1"}, {"against": "vllm"}, None, "v1"),
        ({}, {}, {"against": "vllm"}, Subject("vllm"), None),
    ],
)
def test_what_to_compare_with_is_one_thing_from_the_highest_place(
    typed: Said, exported: Said, ini: Said, against: Subject | None, baseline: str | None
) -> None:
    settings = resolve(typed, exported, ini)
    assert (settings.against, settings.baseline) == (against, baseline)


def test_one_place_cannot_name_two_things_to_compare_with() -> None:
    with pytest.raises(
        DeclarationError, match=r"^llmperf_against: either this or llmperf_baseline, not both$"
    ):
        resolve(ini={"against": "vllm", "baseline": "main"})


def test_accepting_a_baseline_takes_back_a_configured_side_by_side_but_no_typed_one() -> None:
    settings = Settings.resolve({}, {}, {"against": "vllm"}, update=True)
    assert (settings.against, settings.update) == (None, True)
    with pytest.raises(DeclarationError, match=r"^--llmperf-against: .* it has none to update$"):
        Settings.resolve({"against": "vllm"}, {}, {}, update=True)


BAD = [
    ("engine", "vllm 'x", "engine: no closing quotation"),
    ("engine", " ", "expected an engine, as in 'llamacpp' or 'http://host:8000'"),
    ("rates", "1,fast", "'fast' is not a number"),
    ("rates", "1,1", "rates=[1.0, 1.0]: the same point twice"),
    ("rates", " ", "rates=[]: at least one load point"),
    ("rates", "1e9", "rates=1000000000.0: more than 100000 requests/s cannot be driven"),
    ("concurrency", "0", "'0': a number greater than 0"),
    ("concurrency", "1.5", "concurrency=1.5: a whole number"),
    ("rates", "1..x", "rates='1..x': a ramp is written as '1..10'"),
    ("replay", "0", "'0': a number greater than 0"),
    ("arrivals", "bursty", "arrivals='bursty': valid: poisson, constant, gamma:SHAPE"),
    ("arrivals", "gamma:-1", "arrivals='gamma:-1': the shape is a number from 0.01 to 1000, as in gamma:0.5"),
    ("duration", "nan", "'nan': a number greater than 0"),
    ("requests", "2.5", "requests=2.5: a whole number"),
    ("slo", "ttft_ms=", "'ttft_ms=': expected NAME=NUMBER, as in ttft_ms=300"),
    ("slo", "ttft_ms=inf", "ttft_ms=inf: a limit is a finite number"),
    ("percentile", "p98", "'p98': valid: p50, p90, p95, p99, mean"),
    ("launches", "0", "'0': a number greater than 0"),
    ("launches", "1.5", "'1.5': a whole number"),
    ("launches", "many", "'many' is not a number"),
    ("launches", "8..3", "'8..3': from the fewest to the most, as in 3..8"),
    ("launches", "3..", "'' is not a number"),
    ("launches", "x", "'x' is not a number"),
    ("budget", "soon", "'soon': a time, as in 90s, 20m, 1h30m or 1200"),
    ("against", "vllm 'x", "engine: no closing quotation"),
    ("baseline", " ", "names no baselines: a directory, a file, or a branch, tag or commit"),
    ("exit-codes", "git", "'git': valid: pytest, bisect"),
    ("tolerance", "five", "'five' is not a number"),
    ("tolerance", "-5%", "'-5': a number greater than 0"),
    ("tolerance", "5% 6%", "'6%': a second tolerance for all metrics that are not named"),
    ("tolerance", "100%", "'100%': below 100%"),
    ("gate", " , ", "names no metric"),
    ("inconclusive", "ignore", "'ignore': valid: warn, fail"),
    ("startup-timeout", "inf", "'inf': a number greater than 0"),
    ("request-timeout", "-1", "'-1': a number greater than 0"),
    ("gpus", " , ", "names no GPU"),
    ("gpus", "0, first", "'first': all, or indices and UUIDs of GPUs as in 0,1 or GPU-8932f937"),
    ("gpus", "all, 1", "'all': all, or indices and UUIDs of GPUs as in 0,1 or GPU-8932f937"),
    ("gpus", "-1", "'-1': all, or indices and UUIDs of GPUs as in 0,1 or GPU-8932f937"),
    ("lease-timeout", "0", "'0': a number greater than 0"),
    ("lease-dir", "leases", "'leases': an absolute path, since it is the same for every project"),
]


@pytest.mark.parametrize(("name", "text", "why"), BAD)
@pytest.mark.parametrize("source", ["flag", "variable", "ini"])
def test_a_bad_value_is_refused_by_the_name_of_its_source(
    name: str, text: str, why: str, source: str
) -> None:
    option = next(option for option in OPTIONS if option.name == name)
    said: dict[str, dict[str, Said]] = {
        "flag": {"typed": {name: text}},
        "variable": {"exported": {option.variable: text}},
        "ini": {"ini": {name: text}},
    }
    with pytest.raises(DeclarationError) as caught:
        resolve(**said[source])
    assert str(caught.value) == f"{getattr(option, source)}: {why}"


def test_an_unknown_metric_in_the_gate_is_answered_with_the_valid_ones() -> None:
    with pytest.raises(
        DeclarationError, match=r"^LLMPERF_GATE: unknown metric 'ttft' \(did you mean 'ttft_ms'"
    ):
        resolve(exported={"LLMPERF_GATE": "ttft"})


def test_a_variable_of_ours_that_is_no_setting_is_left_alone() -> None:
    assert resolve(exported={"LLMPERF_API_KEY": "hunter2", "PATH": "x"}) == resolve()


@pytest.mark.parametrize("text", ["5%", "5", "5 %", " 5% ", "5.0"])
def test_a_tolerance_is_a_percentage_with_or_without_its_sign(text: str) -> None:
    assert resolve({"tolerance": text}).tolerances == Tolerances(0.05)


@pytest.mark.parametrize("text", ["1,2,4", "1 2 4", "1, 2,4,"])
def test_a_list_takes_commas_or_spaces(text: str) -> None:
    assert resolve({"rates": text}).above.sweep.rates == (1.0, 2.0, 4.0)


def test_the_percentile_completes_limits_and_gate_of_every_source() -> None:
    settings = resolve(
        {"percentile": "p99", "slo": "ttft_ms=300"}, {"LLMPERF_GATE": "tpot_ms"}, {"slo": "e2e_ms=1"}
    )
    assert [limit.key.name for limit in settings.above.slo.limits] == ["ttft_p99_ms"]
    assert [limit.key.name for limit in settings.below.slo.limits] == ["e2e_p99_ms"]
    assert [key.name for key in settings.gate] == ["tpot_p99_ms"]


def test_the_default_gate_names_its_statistics_so_that_no_option_moves_it() -> None:
    assert resolve({"percentile": "mean"}).gate == resolve().gate
    assert resolve({"gate": DEFAULT_GATE}).gate == resolve().gate


def test_an_empty_variable_says_nothing() -> None:
    settings = resolve({}, {"LLMPERF_LAUNCHES": "", "LLMPERF_SLO": ""}, {"launches": "3"})
    assert settings.launches == Launches(3, 3)


@pytest.mark.parametrize("text", ["0.05", "0.4"])
def test_a_tolerance_that_may_be_a_share_or_a_percentage_is_asked_about(text: str) -> None:
    with pytest.raises(
        DeclarationError, match=f"write {text}% or {float(text) * 100:g}%, whichever is meant"
    ):
        Settings.resolve({"tolerance": text}, {}, {})
    assert Settings.resolve({"tolerance": f"{text}%"}, {}, {}).tolerances.others == float(text) / 100


def test_a_variable_of_our_name_that_is_no_setting_is_a_slip_of_the_pen() -> None:
    with pytest.raises(
        DeclarationError, match=r"LLMPERF_RATE: not a setting \(did you mean LLMPERF_RATES\?\)"
    ):
        Settings.resolve({}, {"LLMPERF_RATE": "3"}, {})
    Settings.resolve({}, {"LLMPERF_API_KEY": "x", "OTHER": "y"}, {})


def test_the_help_names_what_is_valid() -> None:
    helps = {option.name: option.help for option in OPTIONS}
    assert all(name in helps["arrivals"] for name in ARRIVALS)
    assert all(name in helps["percentile"] for name in STATISTICS)
