from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.keep.environment import environment_key
from pytest_llmperf.keep.files import write_json
from pytest_llmperf.report.benchmark import as_benchmarks
from tests.recorded import MACHINE, entry, point, record, run

REAL = Path(__file__).parents[2] / "bench/gpu/results"
LATENCIES = {"ttft_p50_ms": 48.0, "ttft_p95_ms": 80.0, "tpot_p50_ms": 10.0}
RATES = {"output_tokens_per_s": 2000.0, "requests_per_s": 16.0}
Ran = Callable[..., str]


def values(factor: float = 1.0) -> dict[str, float]:
    latencies = {name: value * factor for name, value in LATENCIES.items()}
    return {**latencies, **RATES, "goodput": 0.98, "cost_usd_per_mtok": 0.52}


def swept(**changed: Any) -> dict[str, Any]:
    points = [point(load, [run(n, values(load / 4 + n / 100)) for n in (1, 2, 3)]) for load in (4, 8)]
    return entry("vllm==0.24.0", points, **changed)


def side_by_side() -> dict[str, Any]:
    one = point(4, [run(n, values(1.1)) for n in (1, 2)])
    one["base_runs"] = [run(n, values()) for n in (1, 2)]
    one["changes"] = [
        {"metric": "ttft_p50_ms", "estimate": 0.1, "low": 0.05, "high": 0.15, "verdict": "regressed"}
    ]
    base = {"kind": "side by side", "text": "vllm==0.22.1", "fields": {"version": "0.22.1"}, "launches": 2}
    return entry("vllm==0.24.0", [one], compared_with=base, verdict="regressed")


def named(content: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    found = {one["name"]: one for one in content["benchmarks"]}
    assert len(found) == len(content["benchmarks"])
    return found


@pytest.fixture
def program(tmp_path: Path) -> Ran:
    """The real program, on records that are written as its files: what it prints, warnings included."""

    def ran(command: Sequence[str], *records: Mapping[str, Any]) -> str:
        names = []
        for number, one in enumerate(records, 1):
            names.append(f"{number:04}_run.json")
            write_json(tmp_path / names[-1], as_benchmarks(one))
        done = subprocess.run(
            [sys.executable, "-m", "pytest_benchmark", "--storage=.", *command, *names],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "Failed to load" not in done.stderr
        return done.stdout + done.stderr

    return ran


# -- what is in it --------------------------------------------------------------------------------------


def test_a_parameter_may_have_the_colons_of_a_node_id() -> None:
    test = swept(test="perf/test_a.py::test_it[http://[::1]:8000]")
    (told, *_) = as_benchmarks(record(test))["benchmarks"]
    assert told["fullname"].startswith("perf/test_a.py::test_it[http://[::1]:8000-4/s-")


def test_latencies_are_seconds_and_rates_are_seconds_for_one() -> None:
    found = named(as_benchmarks(record(swept())))
    assert found["test_it[4/s-ttft_p50]"]["stats"]["data"] == pytest.approx([0.04848, 0.04896, 0.04944])
    assert found["test_it[8/s-s_per_output_token]"]["stats"]["mean"] == pytest.approx(1 / 2000)
    assert found["test_it[8/s-s_per_request]"]["stats"]["ops"] == pytest.approx(16)
    assert found["test_it[8/s-s_per_request]"]["stats"]["rounds"] == 3


def test_shares_and_costs_are_no_times_and_stand_beside_them() -> None:
    content = as_benchmarks(record(swept()))
    assert not [name for name in named(content) if "goodput" in name or "error" in name or "cost" in name]
    extra = content["benchmarks"][0]["extra_info"]
    assert (extra["goodput"], extra["error_rate"], extra["cost_usd_per_mtok"]) == (0.98, 0.0, 0.52)


def test_each_says_what_it_is_of() -> None:
    one = named(as_benchmarks(record(swept())))["test_it[4/s-ttft_p95]"]
    assert one["fullname"] == "test_it.py::test_it[4/s-ttft_p95]"
    assert one["group"] == "test_it.py::test_it ttft_p95"
    assert one["params"] == {"load": "4/s", "metric": "ttft_p95", "side": "candidate"}
    assert one["param"] == "4/s-ttft_p95"
    extra = one["extra_info"]
    assert extra["fingerprint"] == environment_key(MACHINE)
    assert (extra["subject"], extra["version"], extra["verdict"]) == ("vllm==0.24.0", "0.24.0", "pass")
    assert (extra["slo"], extra["requests"]) == (["TTFT p95 ≤ 300 ms"], 600)


def test_the_base_stands_beside_the_candidate_in_one_group() -> None:
    found = named(as_benchmarks(record(side_by_side())))
    candidate, base = found["test_it[4/s-ttft_p50]"], found["test_it[4/s-ttft_p50-base]"]
    assert candidate["group"] == base["group"]
    assert (base["extra_info"]["subject"], base["extra_info"]["version"]) == ("vllm==0.22.1", "0.22.1")
    assert "verdict" not in base["extra_info"]
    change = candidate["extra_info"]["change"]
    assert (change["low"], change["high"], change["from"]) == (0.05, 0.15, "vllm==0.22.1")
    assert "change" not in found["test_it[4/s-ttft_p95]"]["extra_info"]


@pytest.mark.parametrize("verdict", ["invalid", "error"])
def test_of_a_test_that_says_nothing_about_its_engine_there_is_nothing(verdict: str) -> None:
    assert as_benchmarks(record(swept(verdict=verdict)))["benchmarks"] == []


def test_launches_that_were_left_out_are_left_out() -> None:
    runs = [run(1, values()), run(2, values(9.0), problems=["late"]), run(3, values())]
    found = named(as_benchmarks(record(entry("vllm", [point(4, runs)]))))
    assert found["test_it[4/s-ttft_p50]"]["stats"]["data"] == [0.048, 0.048]
    assert found["test_it[4/s-ttft_p50]"]["extra_info"]["requests"] == 400


def test_what_nobody_was_served_in_has_no_time() -> None:
    runs = [
        run(1, {**values(), "good_requests_per_s": 0.0}),
        run(2, {**values(), "good_requests_per_s": 4.0}),
    ]
    found = named(as_benchmarks(record(entry("vllm", [point(4, runs)]))))
    assert "test_it[4/s-s_per_good_request]" not in found
    assert "test_it[4/s-s_per_request]" in found


def test_a_start_is_told_once_and_a_batch_has_no_latencies() -> None:
    content = as_benchmarks(json.loads((REAL / "2026-11-22-h100-curves/vllm-0.24.0.json").read_text()))
    found = named(content)
    assert [name for name in found if name.startswith("test_curve[") and "startup" in name] == [
        "test_curve[cold_startup]"
    ]
    batch = [name for name in found if name.startswith("test_batch")]
    assert sorted(batch) == [
        "test_batch[batch of 512-s_per_good_request]",
        "test_batch[batch of 512-s_per_output_token]",
        "test_batch[batch of 512-s_per_request]",
        "test_batch[cold_startup]",
    ]
    capacity = found["test_capacity[capacity-s_per_request_at_capacity]"]
    assert 1 < capacity["stats"]["ops"] < 100


def test_points_of_one_load_are_told_apart_by_all_that_they_are() -> None:
    one, other = point(4, [run(1, values())]), point(4, [run(1, values())])
    other["key"] = "2048 in / 128 out, 4/s"
    content = as_benchmarks(record(entry("vllm", [one, other], test="t.py::test_it[x]")))
    assert "test_it[x-2048 in / 128 out, 4/s-ttft_p50]" in named(content)


def test_the_machine_is_what_all_tests_agree_on_and_the_commit_what_a_hook_said() -> None:
    tests = [
        swept(environment={**MACHINE, "machine": "Linux x86_64", "cpu": "AMD EPYC", "cpus": "2"}),
        swept(environment={**MACHINE, "machine": "Linux x86_64", "cpu": "AMD EPYC", "cpus": "4"}),
    ]
    content = as_benchmarks(record(*tests, commit="abc123"))
    machine = content["machine_info"]
    assert (machine["system"], machine["machine"]) == ("Linux", "x86_64")
    assert machine["cpu"] == {"brand_raw": "AMD EPYC"}
    assert content["commit_info"]["id"] == "abc123"
    assert as_benchmarks(record())["commit_info"]["id"] == "unknown"


# -- what the program makes of it -----------------------------------------------------------------------


def test_compare_reads_a_sweep_load_by_load(program: Ran) -> None:
    told = program(["compare", "--columns=mean,rounds", "--sort=name"], record(swept()))
    table = told[told.index("test_it.py::test_it ttft_p50'") :].splitlines()
    assert table[1].split() == ["Name", "(time", "in", "ms)", "Mean", "Rounds"]
    assert table[3].split() == ["test_it[4/s-ttft_p50]", "48.9600", "(1.0)", "3"]
    assert table[4].split()[:2] == ["test_it[8/s-ttft_p50]", "96.9600"]


def test_compare_tells_how_much_slower_the_candidate_is(program: Ran) -> None:
    told = program(["compare", "--columns=mean"], record(side_by_side()))
    table = told[told.index("test_it.py::test_it ttft_p50'") :].splitlines()
    assert table[3].split() == ["test_it[4/s-ttft_p50-base]", "48.0000", "(1.0)"]
    assert table[4].split() == ["test_it[4/s-ttft_p50]", "52.8000", "(1.10)"]


def test_compare_has_the_change_from_one_session_to_another(program: Ran) -> None:
    slower = swept()
    for one in slower["points"]:
        for measured in one["runs"]:
            measured["values"]["ttft_p50_ms"] *= 1.5
    told = program(["compare", "--between=mean", "-k", "ttft_p50"], record(swept()), record(slower))
    rows = [line.split() for line in told.splitlines() if line.startswith("test_it[")]
    assert [(row[0], row[-1]) for row in rows] == [
        ("test_it[4/s-ttft_p50]", "+50.0%"),
        ("test_it[8/s-ttft_p50]", "+50.0%"),
    ]


def test_list_histogram_and_csv_work(program: Ran, tmp_path: Path) -> None:
    program(["compare", "--csv=out.csv", "--histogram=box", "-k", "p50"], record(side_by_side()))
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert {row["param:side"] for row in rows} == {"candidate", "base"}
    assert {row["param:load"] for row in rows} == {"4/s"}
    pictures = sorted(path.name for path in tmp_path.glob("box-*.svg"))
    assert pictures == ["box-test_it.py_test_it_tpot_p50.svg", "box-test_it.py_test_it_ttft_p50.svg"]
    assert "test_it[4/s-ttft_p50-base]" in (tmp_path / pictures[1]).read_text()
    assert "0001_run.json" in program(["list"])


def test_records_of_real_engines_are_read(program: Ran) -> None:
    records = [json.loads(path.read_text()) for path in sorted(REAL.glob("*/*.json"))]
    sessions = [one for one in records if "llmperf_record" in one]
    told = program(["compare", "--columns=mean,stddev,ops,rounds", "--sort=name"], *sessions)
    for test in (test for session in sessions for test in session["tests"]):
        assert f"{test['test'].rpartition('::')[2]}[" in told


def test_a_session_of_nothing_is_a_file_of_nothing(program: Ran) -> None:
    assert "benchmark" not in program(["compare"], record())


HOSTILE = st.sampled_from(
    [
        "<script>alert(1)</script>",
        "a\nb\x1b[31m",
        '"quoted" | `tick`',
        "\u202eabc\u200b",
        "x" * 10_000,
        "\udcff",
    ]
) | st.text(max_size=20)


@given(name=HOSTILE, load=HOSTILE, subject=HOSTILE)
def test_names_of_any_kind_are_one_line_and_stay_what_they_are(name: str, load: str, subject: str) -> None:
    one = {**point(4, [run(1, values())]), "load": load, "key": load}
    other = {**point(8, [run(1, values())]), "load": f"{load}2", "key": f"{load}2"}
    hostile = entry("vllm", [one, other], test=f"t.py::test_{name}")
    hostile["subject"]["text"] = subject
    content = as_benchmarks(record(hostile))
    found = [benchmark["fullname"] for benchmark in content["benchmarks"]]
    assert len(found) == 10
    for benchmark in content["benchmarks"]:
        shown = (benchmark["name"], benchmark["fullname"], benchmark["group"], benchmark["param"])
        assert all(text.isprintable() and len(text) < 600 for text in shown)
    if load.isprintable():
        assert len(set(found)) == 10
    json.dumps(content, allow_nan=False)


def test_hostile_names_go_through_the_program(program: Ran) -> None:
    hostile = entry(
        "vllm", [point(4, [run(1, values())])], test="t.py::test_\x1b[31m<b>&\u202e" + "y" * 10_000
    )
    told = program(["compare", "--columns=mean", "--histogram=box", "-k", "ttft_p50"], record(hostile))
    assert "\x1b[31m<" not in told
    assert "\u202e" not in told
