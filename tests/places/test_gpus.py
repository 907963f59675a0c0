"""What nvidia-smi says, from a program of that name."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.gpus import Gpu, GpuProcess, GpuState, Nvidia, choose, throttling
from pytest_llmperf.places.machine import NoProgram, ProgramError, ThisMachine
from tests.places import smi

MIG = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-00000000-34ab-a064-c37c-7a4f75601cc5)
  MIG 2g.20gb     Device  0: (UUID: MIG-377e0049-554c-540b-93c6-d0976f8426cb)
  MIG 1g.10gb     Device  1: (UUID: MIG-f39aa248-6f1b-5769-b119-8d650bb34b27)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-00000001-34ab-a064-c37c-7a4f75601cc5)
"""


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> smi.Gpus:
    return smi.install(tmp_path / "bin", monkeypatch, 2)


@pytest.fixture
def nvidia() -> Nvidia:
    return Nvidia(ThisMachine())


def test_a_gpu_with_all_it_tells(two: smi.Gpus, nvidia: Nvidia) -> None:
    first, second = nvidia.gpus()
    assert first == Gpu(
        index=0,
        uuid=smi.uuid(0),
        name="NVIDIA H100 80GB HBM3",
        driver="570.86.15",
        memory_mib=81559,
        max_sm_mhz=1980,
        max_memory_mhz=2619,
        power_w=700,
        default_power_w=700,
        persistence="Enabled",
        compute_mode="Default",
    )
    assert (second.index, second.visible, second.label) == (1, "1", "1")
    assert first.clocks == "up to 1980 MHz SM, 2619 MHz memory"
    assert first.power_limit == "700 W"


@pytest.mark.parametrize(
    "word", ["[N/A]", "N/A", "[Not Supported]", "[Unknown Error]", "[Insufficient Permissions]"]
)
def test_what_it_cannot_tell_is_unknown(word: str, two: smi.Gpus, nvidia: Nvidia) -> None:
    two.say(0, {name: word for name in smi.H100 if name not in ("name", "driver_version")})
    gpu = nvidia.gpus()[0]
    assert gpu == Gpu(0, smi.uuid(0), "NVIDIA H100 80GB HBM3", "570.86.15")
    assert gpu.clocks == "up to unknown SM, unknown memory"
    assert gpu.power_limit == "unknown"
    assert nvidia.states([gpu]) == {smi.uuid(0): GpuState()}


def test_a_field_that_the_driver_does_not_know_is_left_out(two: smi.Gpus, nvidia: Nvidia) -> None:
    for name in ("mig.mode.current", "persistence_mode", "clocks.max.memory"):
        two.say(0, {name: None})
    assert [gpu.max_memory_mhz for gpu in nvidia.gpus()] == [None, None]
    assert [gpu.max_sm_mhz for gpu in nvidia.gpus()] == [1980, 1980]


def test_the_state_of_those_that_are_asked_for(two: smi.Gpus, nvidia: Nvidia) -> None:
    two.say(
        1, {"memory.used": "71234", "clocks.sm": "1980", "clocks_event_reasons.active": "0x00000000000000E8"}
    )
    two.say(1, {"clocks_event_reasons_counters.sw_thermal_slowdown": "1500000"})
    states = nvidia.states(nvidia.gpus()[1:])
    assert states == {
        smi.uuid(1): GpuState(
            memory_used_mib=71234,
            sm_mhz=1980,
            memory_mhz=2619,
            throttled=frozenset(
                {
                    "hardware slowdown",
                    "software thermal slowdown",
                    "hardware thermal slowdown",
                    "power brake",
                }
            ),
            throttled_us={
                "software thermal slowdown": 1.5e6,
                "hardware thermal slowdown": 0,
                "power brake": 0,
            },
        )
    }


@pytest.mark.parametrize("mask", ["0x0000000000000000", "0x0000000000000001", "0x0000000000000004"])
def test_an_idle_gpu_and_one_at_its_power_are_not_throttled(mask: str, two: smi.Gpus, nvidia: Nvidia) -> None:
    two.say(0, {"clocks_event_reasons.active": mask})
    assert nvidia.states(nvidia.gpus())[smi.uuid(0)].throttled == frozenset()


def test_an_old_driver_calls_it_throttling_and_counts_nothing(two: smi.Gpus, nvidia: Nvidia) -> None:
    fields = {name: None for name in smi.H100 if name.startswith("clocks_event")}
    two.say(0, {**fields, "clocks_throttle_reasons.active": "0x0000000000000040"})
    two.say(1, {**fields, "clocks_throttle_reasons.active": "0x0000000000000000"})
    state = nvidia.states(nvidia.gpus())[smi.uuid(0)]
    assert state.throttled == {"hardware thermal slowdown"}
    assert state.throttled_us == {}


def test_processes_of_the_gpus_that_are_asked_for(two: smi.Gpus, nvidia: Nvidia) -> None:
    two.set(
        processes=[
            ("4711", smi.uuid(0), "70000"),
            ("4712", smi.uuid(1), "300"),
            ("4713", smi.uuid(0), "[N/A]"),
            ("[Insufficient Permissions]", smi.uuid(0), "1"),
        ]
    )
    assert nvidia.processes(nvidia.gpus()[:1]) == [
        GpuProcess(4711, smi.uuid(0), 70000),
        GpuProcess(4713, smi.uuid(0), None),
    ]


@pytest.mark.parametrize(
    ("word", "version"),
    [("CUDA Version: 12.8", "12.8"), ("CUDA UMD Version: 13.3", "13.3"), ("CUDA Version: N/A", None)],
)
def test_the_cuda_version_is_in_the_banner(
    word: str, version: str | None, two: smi.Gpus, nvidia: Nvidia
) -> None:
    two.set(cuda=word)
    assert nvidia.cuda() == version


def test_instances_stand_for_a_gpu_that_is_partitioned(two: smi.Gpus, nvidia: Nvidia) -> None:
    two.say(0, {"mig.mode.current": "Enabled"})
    two.set(listing=MIG)
    large, small, whole = nvidia.gpus()
    assert (large.uuid, large.model) == (
        "MIG-377e0049-554c-540b-93c6-d0976f8426cb",
        "NVIDIA H100 80GB HBM3 MIG 2g.20gb",
    )
    assert large.visible == large.uuid
    assert small.visible == "MIG-f39aa248-6f1b-5769-b119-8d650bb34b27"
    assert whole.visible == "1"
    assert set(nvidia.states([large, small, whole])) == {whole.uuid}
    assert nvidia.states([large]) == {}


def test_a_partitioned_gpu_without_instances_is_of_no_use(two: smi.Gpus, nvidia: Nvidia) -> None:
    two.say(0, {"mig.mode.current": "Enabled"})
    assert [gpu.index for gpu in nvidia.gpus()] == [1]


def test_no_gpu_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nvidia: Nvidia) -> None:
    smi.install(tmp_path / "bin", monkeypatch, 0)
    assert nvidia.gpus() == []


@pytest.mark.parametrize("code", [0, 9])
def test_an_error_in_place_of_an_answer_is_quoted(code: int, two: smi.Gpus, nvidia: Nvidia) -> None:
    two.set(error=("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", code))
    with pytest.raises(ProgramError, match="couldn't communicate with the NVIDIA driver"):
        nvidia.gpus()


def test_a_gpu_that_fell_off_the_bus_is_an_error(two: smi.Gpus, nvidia: Nvidia) -> None:
    two.say(1, {"uuid": "[Unknown Error]"})
    with pytest.raises(ProgramError, match=r"without index or UUID: 1, \[Unknown Error\]"):
        nvidia.gpus()


def test_one_that_hangs_is_given_up(two: smi.Gpus) -> None:
    two.set(hangs=True)
    began = time.monotonic()
    with pytest.raises(ProgramError, match=r"nvidia-smi did not answer within 0.5 s"):
        ThisMachine().run("nvidia-smi", timeout_s=0.5)
    assert time.monotonic() - began < 60


def test_a_machine_without_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nvidia: Nvidia) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoProgram, match="there is no nvidia-smi here"):
        nvidia.gpus()


# --- choosing -----------------------------------------------------------------------------------------

GPUS = [Gpu(index, smi.uuid(index), "H100", "570") for index in range(3)]
INSTANCES = [Gpu(0, f"MIG-{letter}", "H100", "570", profile="1g.10gb") for letter in "ab"]


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        (["all"], [0, 1, 2]),
        (["1"], [1]),
        (["2", "0", "2"], [0, 2]),
        ([smi.uuid(1)], [1]),
        (["GPU-00000002"], [2]),
        ([], []),
    ],
)
def test_gpus_are_named_by_index_or_uuid(words: list[str], chosen: list[int]) -> None:
    assert [gpu.index for gpu in choose(GPUS, words, "here")] == chosen


def test_the_index_of_a_partitioned_gpu_means_all_its_instances() -> None:
    assert choose(INSTANCES, ["0"], "here") == INSTANCES
    assert choose(INSTANCES, ["MIG-b"], "here") == INSTANCES[1:]


@pytest.mark.parametrize("word", ["3", "-1", "GPU-", "GPU-9", "one"])
def test_one_that_is_not_there_is_an_error_that_lists_those_that_are(word: str) -> None:
    with pytest.raises(
        EngineError, match=rf"--llmperf-gpus: there is no GPU '{word}' here; there are: 0 \(H100,"
    ):
        choose(GPUS, [word], "--llmperf-gpus")
    with pytest.raises(EngineError, match="there are: none"):
        choose([], [word], "x")


def test_a_uuid_that_may_be_several_is_an_error() -> None:
    with pytest.raises(EngineError, match="'GPU-0000000' may be any of GPU-00000000"):
        choose(GPUS, ["GPU-0000000"], "x")


# --- throttling ---------------------------------------------------------------------------------------

HOT = "hardware thermal slowdown"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (GpuState(), GpuState(), ""),
        (None, GpuState(throttled_us={HOT: 5e6}), ""),
        (None, GpuState(throttled=frozenset({HOT})), HOT),
        (GpuState(throttled_us={HOT: 1e6}), GpuState(throttled_us={HOT: 1e6}), ""),
        (GpuState(throttled_us={HOT: 1e6}), GpuState(throttled_us={HOT: 2.26e6}), f"{HOT} for 1.3 s"),
        (GpuState(throttled_us={HOT: 9e6}), GpuState(throttled_us={HOT: 1e6}), ""),
        (
            GpuState(throttled_us={HOT: 0}),
            GpuState(throttled=frozenset({HOT, "power brake"}), throttled_us={HOT: 1e6}),
            f"{HOT} for 1.0 s, power brake",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_slowed_a_gpu_since_the_last_look(before: GpuState | None, after: GpuState, told: str) -> None:
    assert throttling(before, after) == told
