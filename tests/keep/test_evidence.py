from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf import sweeping
from pytest_llmperf.declare.load import Sweep
from pytest_llmperf.declare.metrics import CAPACITY
from pytest_llmperf.declare.slo import parse_slo
from pytest_llmperf.errors import StoreError
from pytest_llmperf.judge.advice import Candidate, capacity
from pytest_llmperf.judge.fit import ANYWHERE
from pytest_llmperf.keep.evidence import CLOSED, Configuration, read_evidence
from pytest_llmperf.keep.result import TestResult
from pytest_llmperf.load.bounds import Bounds
from pytest_llmperf.sweeping import explore
from tests import sweeps
from tests.recorded import MACHINE, entry, point, record, run, write

SLO = parse_slo("ttft_ms=300")
LAX = parse_slo("ttft_ms=100000")
H100 = Path(__file__).parents[2] / "bench/gpu/results/2026-11-22-h100"


def values(ttft_ms: float, **more: float) -> dict[str, float]:
    return {"ttft_p95_ms": ttft_ms, "requests_per_s": 2.0, "output_tokens_per_s": 256.0, **more}


def test_launches_of_several_sessions_are_put_together(tmp_path: Path) -> None:
    for number in (1, 2):
        runs = [run(launch, values(40.0 + 10 * number + launch)) for launch in (1, 2)]
        content = record(entry("vllm==1.0", [point(2, runs), point(4, runs)]), started=f"2026-11-2{number}")
        write(tmp_path / f"{number}.json", content)
    (scene,) = read_evidence([tmp_path]).scenes
    (found,) = scene.configurations
    assert (scene.workload, scene.load, scene.is_closed) == ("1024 in / 128 out", "poisson", False)
    assert (found.text, found.model, found.sessions, len(found.runs)) == ("vllm==1.0", "org/m", 2, 4)
    assert found.tokens_per_request == pytest.approx(128)
    assert [[p.load for p in launch.points] for launch in found.launches(SLO)] == [[2.0, 4.0]] * 4


def test_a_run_that_is_in_two_records_counts_once(tmp_path: Path) -> None:
    content = record(entry("vllm", [point(2, [run(1, values(50))])]))
    paths = [write(tmp_path / where / "r.json", content) for where in ("runs", "cells")]
    (scene,) = read_evidence([tmp_path, *paths]).scenes
    (runs,) = scene.configurations[0].runs.values()
    assert len(runs) == 1


def test_unlike_machines_workloads_and_kinds_of_load_are_never_put_together(tmp_path: Path) -> None:
    runs = [run(1, values(50))]
    other = {**MACHINE, "accelerators": "NVIDIA L4"}
    content = record(
        entry("vllm", [point(2, runs), point(2, runs, is_closed=True)]),
        entry("vllm", [point(2, runs)], environment=other),
        entry("vllm", [{**point(2, runs), "workload": "1 in / 1 out"}]),
    )
    write(tmp_path / "r.json", content)
    scenes = read_evidence([tmp_path]).scenes
    assert len(scenes) == 4
    assert [scene.load for scene in scenes] == ["poisson", CLOSED, "poisson", "poisson"]


def test_ramps_replays_and_batches_are_no_load_to_compare_at(tmp_path: Path) -> None:
    ramp, replay = point(2, [run(1, values(50))]), point(2, [run(1, values(50))])
    ramp["declared"]["load"]["rate"] = "1..10"
    replay["declared"]["load"] = {"replay": 1.0}
    batch = point(2, [run(1, values(50))])
    batch["declared"]["load"] = {"concurrency": 100, "requests": 100, "batch": 100}
    write(tmp_path / "r.json", record(entry("vllm", [ramp, replay, batch])))
    assert read_evidence([tmp_path]).scenes == []


def test_what_says_nothing_is_left_out_and_said(tmp_path: Path) -> None:
    late = run(1, values(50), ["the load generator was late"])
    content = record(
        entry("vllm", [point(2, [late, run(2, values(60))])]),
        entry("sglang", [point(2, [run(1, values(9))])], verdict="error", error="out of memory\nlog: x"),
        entry("llamacpp", [], verdict="invalid", error="late"),
    )
    write(tmp_path / "r.json", content)
    write(tmp_path / "cells" / "r.json", content)
    write(tmp_path / "s.json", {"other": 1})
    (tmp_path / "t.json").write_text("{")
    evidence = read_evidence([tmp_path])
    (scene,) = evidence.scenes
    assert [one.text for one in scene.configurations] == ["vllm"]
    assert list(scene.configurations[0].runs) == [("2026-11-22T02:00:00+00:00", "runs", "2")]
    assert evidence.left_out[:2] == [
        "sglang, 2026-11-22T02:00:00+00:00: error: out of memory log: x",
        "llamacpp, 2026-11-22T02:00:00+00:00: invalid: late",
    ]
    assert [why.partition(" ")[0] for why in evidence.left_out[2:]] == [
        str(tmp_path / "s.json"),
        str(tmp_path / "t.json"),
    ]


@pytest.mark.parametrize("text", ["{", '{"other": 1}', '{"llmperf_record": 1}'])
def test_a_file_that_was_named_and_is_no_record_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(StoreError, match=r"r\.json is "):
        read_evidence([path])


def test_a_server_that_runs_already_is_one_launch_in_all_sessions(tmp_path: Path) -> None:
    for number in (1, 2):
        served = entry("http://h:1", [point(2, [run(1, values(40.0 * number))])])
        write(tmp_path / f"{number}.json", record(served, started=str(number)))
    (scene,) = read_evidence([tmp_path]).scenes
    ((launched),) = scene.configurations[0].launches(SLO)
    assert launched.points[0].values["ttft_p95_ms"] == pytest.approx((40 * 80) ** 0.5)


def test_the_other_side_of_a_comparison_is_evidence_as_well(tmp_path: Path) -> None:
    beside = {**point(2, [run(1, values(50))]), "base_runs": [run(1, values(60))]}
    base = {"kind": "side by side", "text": "vllm==0.9", "fields": {"engine": "vllm", "version": "0.9"}}
    write(tmp_path / "r.json", record(entry("vllm==1.0", [beside], compared_with=base)))
    (scene,) = read_evidence([tmp_path]).scenes
    assert [one.text for one in scene.configurations] == ["vllm==1.0", "vllm==0.9"]


def test_a_capacity_counts_under_the_slo_that_it_was_searched_for(tmp_path: Path) -> None:
    probe = {"values": {"output_tokens_per_s": 900.0, "requests_per_s": 9.0}}
    found = {**run(1, {CAPACITY: 7.5}), "capacity": {"kind": "found"}, "probes": [probe]}
    found["uncertainty"][CAPACITY] = 0.02
    search = point(2, [found])
    search["declared"]["load"] = {"duration_s": 30.0, "seeks": "TTFT p95 ≤ 300 ms, error rate ≤ 0%"}
    write(tmp_path / "r.json", record(entry("vllm", [search])))
    (scene,) = read_evidence([tmp_path]).scenes
    ((same),) = scene.configurations[0].launches(SLO)
    ((other),) = scene.configurations[0].launches(parse_slo("ttft_ms=200"))
    assert [(one.rate, one.deviation) for one in same.searched] == [(7.5, 0.02)]
    assert (same.points, other.searched) == ((), ())
    assert scene.configurations[0].tokens_per_request == pytest.approx(100)


# -- rates at which an engine was saturated ----------------------------------------------------------


def sweep(*rates: float | None, side: str = "candidate") -> dict[str, Any]:
    """What a sweep that found its own rates says of those at which it gave up."""
    beyond: list[dict[str, Any]] = [
        {"rate": rate, "requests": 90, "values": {}, "gave_up": True} for rate in rates
    ]
    return {"workload": "1024 in / 128 out", "side": side, "rates": [1, 4], "saturated": beyond}


def driven(*launches: int, **more: Any) -> dict[str, Any]:
    return {**point(4, [run(launch, values(50)) for launch in launches]), **more}


def loads(configuration: Configuration) -> list[list[tuple[float, bool]]]:
    """Of each launch, and whether it was saturated there."""
    return [[(p.load, p.is_saturated) for p in launch.points] for launch in configuration.launches(SLO)]


def test_a_rate_that_saturated_counts_with_the_launch_that_looked_for_rates(tmp_path: Path) -> None:
    content = record(entry("vllm", [driven(1, 2)], sweeps=[sweep(5.2, None, 6.0)]))
    for where in ("runs", "cells"):  # it counts once
        write(tmp_path / where / "r.json", content)
    (scene,) = read_evidence([tmp_path]).scenes
    (found,) = scene.configurations
    assert loads(found) == [[(4, False), (5.2, True), (6, True)], [(4, False)]]
    carried = capacity(Candidate("vllm", tuple(found.launches(SLO))), SLO)
    assert carried is not None
    assert (carried.kind, carried.is_saturated, len(carried.rates)) == ("found", True, 2)
    assert 4 <= carried.rate <= 5.2


def test_side_by_side_it_is_the_base_that_looked(tmp_path: Path) -> None:
    base = {"kind": "side by side", "text": "vllm==0.9", "fields": {"engine": "vllm", "version": "0.9"}}
    beside = driven(1, base_runs=[run(1, values(60))])
    content = record(entry("vllm==1.0", [beside], compared_with=base, sweeps=[sweep(5.2, side="base")]))
    write(tmp_path / "r.json", content)
    (scene,) = read_evidence([tmp_path]).scenes
    assert [(one.text, loads(one)) for one in scene.configurations] == [
        ("vllm==1.0", [[(4, False)]]),
        ("vllm==0.9", [[(4, False), (5.2, True)]]),
    ]


def test_a_sweep_says_nothing_of_other_workloads_arrivals_and_launches(tmp_path: Path) -> None:
    other = driven(1, workload="1 in / 1 out")
    constant = driven(1)
    constant["declared"]["load"]["arrivals"] = "constant"
    content = record(
        entry("a", [driven(1), other], sweeps=[sweep(5.2)]),
        entry("b", [constant], sweeps=[sweep(5.2)]),
        entry("c", [driven(2)], sweeps=[sweep(5.2)]),  # the first launch was disturbed, and left out
    )
    write(tmp_path / "r.json", content)
    found = {
        (scene.workload, scene.load, one.text): loads(one)
        for scene in read_evidence([tmp_path]).scenes
        for one in scene.configurations
    }
    both = [[(4, False), (5.2, True)]]
    assert found == {
        ("1024 in / 128 out", "poisson", "a"): both,
        ("1024 in / 128 out", "poisson", "c"): [[(4, False)]],
        ("1 in / 1 out", "poisson", "a"): [[(4, False)]],
        ("1024 in / 128 out", "constant", "b"): both,
    }


def test_a_server_that_runs_already_is_saturated_as_the_one_launch_that_it_is(tmp_path: Path) -> None:
    write(tmp_path / "r.json", record(entry("http://h:1", [driven(1)], sweeps=[sweep(5.2)])))
    (scene,) = read_evidence([tmp_path]).scenes
    assert loads(scene.configurations[0]) == [[(4, False), (5.2, True)]]


def test_what_was_saturated_at_every_rate_is_said(tmp_path: Path) -> None:
    alone = point(1, [run(1, values(50))], is_closed=True)
    content = record(entry("vllm", [alone], sweeps=[sweep(0.5)]))
    write(tmp_path / "runs" / "r.json", content)
    write(tmp_path / "cells" / "r.json", content)
    evidence = read_evidence([tmp_path])
    assert [scene.load for scene in evidence.scenes] == [CLOSED]
    assert evidence.left_out == [
        "vllm, 2026-11-22T02:00:00+00:00: saturated at 0.5/s, and how requests arrived is not recorded"
    ]


@pytest.mark.parametrize(
    ("kind", "probed", "expected"),
    [
        ("above", (6.0, 9.0), ("found", True)),
        ("above", (), ("above", False)),
        ("found", (6.0,), ("found", False)),
        ("below", (6.0,), ("below", False)),
    ],
)
def test_a_search_that_was_saturated_found_what_the_engine_carries(
    tmp_path: Path, kind: str, probed: Sequence[float], expected: tuple[str, bool]
) -> None:
    good = {"rate": 5.0, "saturated": False, "values": {}}
    probes = [good, *({"rate": rate, "saturated": True, "values": {}} for rate in probed)]
    found = {**run(1, {CAPACITY: 5.0}), "capacity": {"kind": kind}, "probes": probes}
    search = driven(runs=[found])
    search["declared"] = {"load": {"arrivals": "poisson", "seeks": "TTFT p95 ≤ 300 ms, error rate ≤ 0%"}}
    write(tmp_path / "r.json", record(entry("vllm", [search])))
    (scene,) = read_evidence([tmp_path]).scenes
    ((launch),) = scene.configurations[0].launches(SLO)
    (one,) = launch.searched
    assert (one.kind, one.is_saturated, one.rate) == (*expected, 5.0)
    gap = ANYWHERE * math.log(6 / 5) if one.is_saturated else 0.0
    assert one.deviation == pytest.approx(gap)


def test_what_a_real_sweep_says_when_it_has_ended_is_read(tmp_path: Path) -> None:
    """As it is written, of a queue that takes 20 requests/s."""
    declared = Sweep.of(rates="adaptive:6", duration=10, budget=10_000)
    bounds = Bounds(latency_s=0.1, throughput=sweeps.MOST, at_once=16, is_flat=True)
    found = explore(declared, SLO, bounds, sweeps.run, 10_000)
    told = sweeping.told(str(sweeps.WORKLOAD), "candidate", declared, SLO, bounds, found)
    result = TestResult("t", SLO, subject_text="vllm", subject={"engine": "vllm"}, environment=MACHINE)
    for at in found.points:
        result.add(sweeps.WORKLOAD, at, found.runs[at], of_base=False)
    result.sweeps["w"] = told
    content = {**result.as_json(), "verdict": "pass", "command": []}
    write(tmp_path / "r.json", record(json.loads(json.dumps(content))))
    (scene,) = [scene for scene in read_evidence([tmp_path]).scenes if not scene.is_closed]
    carried = capacity(Candidate("vllm", tuple(scene.configurations[0].launches(LAX))), LAX)
    assert told["saturated"]
    assert carried is not None
    assert (carried.kind, carried.is_saturated) == ("found", True)
    assert max(told["rates"]) <= carried.rate <= told["saturated"][0]["rate"]


def test_configurations_that_are_written_alike_are_told_apart(tmp_path: Path) -> None:
    runs = [run(1, values(50))]
    one, other = entry("vllm", [point(2, runs)]), entry("vllm", [point(4, runs)])
    other["subject"]["fields"] = {**other["subject"]["fields"], "packages": "abc"}
    write(tmp_path / "r.json", record(one, other))
    (scene,) = read_evidence([tmp_path]).scenes
    assert scene.names() == ["vllm (1.0)", "vllm (1.0) (packages: (none) → abc)"]


def test_what_an_h100_gave_is_evidence() -> None:
    """Records of real sessions, two of them side by side with another."""
    (scene,) = read_evidence(sorted(H100.glob("*-*.json"))).scenes
    slo = parse_slo("ttft_ms=100 tpot_ms=12")
    carried = {}
    for name, one in zip(scene.names(), scene.configurations, strict=True):
        found = capacity(Candidate(name, tuple(one.launches(slo))), slo)
        assert found is not None
        flag = one.fields.get("flag --max-num-batched-tokens", "")
        called = f"{one.fields['engine']} {one.fields['version']} {flag}".strip()
        carried[called] = (found.kind, len(found.rates), round(found.rate, 1))
    assert carried == {
        "vllm 0.24.0": ("found", 5, 13.8),
        "vllm 0.24.0 512": ("below", 0, 0.0),
        "vllm 0.22.1": ("above", 2, 14.0),
        "sglang 0.5.16": ("found", 1, 3.9),
    }
