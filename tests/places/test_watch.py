"""Disturbances and memory, told by a program named nvidia-smi."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pytest_llmperf.places import watch
from pytest_llmperf.places.gpus import Nvidia
from pytest_llmperf.places.machine import ThisMachine
from pytest_llmperf.places.watch import GpuWatch
from tests.places import smi


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> smi.Gpus:
    return smi.install(tmp_path / "bin", monkeypatch, 2)


@pytest.fixture(autouse=True)
def _is_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PATIENCE_BEFORE_S", 0)
    monkeypatch.setattr(watch, "PATIENCE_AFTER_S", 0)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PATIENCE_BEFORE_S", 60)
    monkeypatch.setattr(watch, "PATIENCE_AFTER_S", 60)


def begun() -> GpuWatch:
    nvidia = Nvidia(ThisMachine())
    made = GpuWatch(nvidia, nvidia.gpus(), "vllm==0.24.0")
    made.begin()
    return made


def later(action: threading.Timer) -> threading.Timer:
    action.start()
    return action


def test_gpus_for_themselves_disturb_nothing(two: smi.Gpus) -> None:
    watched = begun()
    assert watched.disturbances() == []
    two.say(0, {"memory.used": "71000", "clocks_event_reasons.active": "0x0000000000000004"})
    two.set(processes=[(str(os.getpid()), smi.uuid(0), "71000"), ("999999999", smi.uuid(0), "71000")])
    assert watched.disturbances() == []
    two.say(0, {"memory.used": "4"})
    assert watched.end() == ""


def test_a_gpu_that_somebody_uses_is_named_with_them(two: smi.Gpus) -> None:
    two.say(1, {"memory.used": "20480"})
    two.set(processes=[("1", smi.uuid(1), "20000")])
    watched = begun()
    (told,) = watched.disturbances()
    init = Path("/proc/1/comm").read_text().strip()
    assert told == (
        f"GPU 1 is shared: 20480 MiB were in use before vllm==0.24.0 started (pid 1 {init}, 20000 MiB)"
    )
    assert watched.disturbances() == [told]


def test_memory_of_nobody_known_is_named_too(two: smi.Gpus) -> None:
    two.say(0, {"memory.used": "300"})
    assert begun().disturbances() == ["GPU 0 is shared: 300 MiB were in use before vllm==0.24.0 started"]


@pytest.mark.usefixtures("patient")
def test_what_an_earlier_process_still_gives_back_is_waited_for(two: smi.Gpus) -> None:
    two.say(0, {"memory.used": "70000"})
    timer = later(threading.Timer(0.3, two.say, (0, {"memory.used": "4"})))
    assert begun().disturbances() == []
    timer.join()


def test_somebody_who_comes_later_is_named(two: smi.Gpus) -> None:
    watched = begun()
    # Not a descendant of this process: its parent is gone.
    code = "import os, time; print(os.fork() or time.sleep(60), flush=True)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        stranger = int(parent.stdout.readline())
        parent.wait()
        try:
            two.set(processes=[(str(stranger), smi.uuid(0), "[N/A]")])
            (told,) = watched.disturbances()
        finally:
            os.kill(stranger, 9)
    assert told.startswith(f"GPU 0 is shared with others (pid {stranger} python")


def test_throttling_is_told_once_for_each_time_it_happened(two: smi.Gpus) -> None:
    watched = begun()
    two.say(1, {"clocks_event_reasons_counters.hw_thermal_slowdown": "2500000"})
    assert watched.disturbances() == ["GPU 1 was throttled: hardware thermal slowdown for 2.5 s"]
    assert watched.disturbances() == []
    two.say(1, {"clocks_event_reasons.active": "0x0000000000000080"})
    assert watched.disturbances() == ["GPU 1 was throttled: power brake"]


def test_a_lowered_power_limit_is_named(two: smi.Gpus) -> None:
    two.say(0, {"power.limit": "350.00"})
    assert begun().disturbances() == ["GPU 0 is limited to 350 W, where 700 W are its default"]


@pytest.mark.usefixtures("patient")
def test_memory_that_comes_back_late_is_waited_for(two: smi.Gpus) -> None:
    watched = begun()
    two.say(0, {"memory.used": "70000"})
    timer = later(threading.Timer(0.3, two.say, (0, {"memory.used": "4"})))
    assert watched.end() == ""
    timer.join()
    assert [gpu["memory_after_mib"] for gpu in watched.as_json()] == [4, 4]


def test_memory_that_does_not_come_back_is_named(two: smi.Gpus) -> None:
    watched = begun()
    two.say(0, {"memory.used": "70000"})
    two.set(processes=[("999999999", smi.uuid(0), "69000"), ("999999998", smi.uuid(1), "5")])
    assert watched.end() == (
        "GPU 0 still has 70000 MiB in use 0 s after vllm==0.24.0 ended, and had 4 MiB before it started "
        "(pid 999999999, 69000 MiB)"
    )


def test_what_was_shared_before_may_be_shared_after(two: smi.Gpus) -> None:
    two.say(0, {"memory.used": "20480"})
    assert begun().end() == ""


def test_an_nvidia_smi_that_breaks_meanwhile_is_named_and_ends_nothing(two: smi.Gpus) -> None:
    watched = begun()
    two.set(error=("Unable to determine the device handle for GPU0000:01:00.0: Unknown Error", 255))
    (told,) = watched.disturbances()
    assert "Unable to determine the device handle" in told
    assert "gave its GPU memory back is not known" in watched.end()
    fresh = GpuWatch(Nvidia(ThisMachine()), watched.gpus, "x")
    fresh.begin()
    assert "Unable to determine the device handle" in fresh.disturbances()[0]
    assert fresh.end() == ""


def test_without_gpus_nothing_is_asked(two: smi.Gpus) -> None:
    two.set(hangs=True)
    watched = GpuWatch(Nvidia(ThisMachine()), [], "llamacpp")
    began = time.monotonic()
    watched.begin()
    assert watched.disturbances() == []
    assert watched.end() == ""
    assert watched.as_json() == []
    assert watched.cuda() is None
    assert time.monotonic() - began < 15
