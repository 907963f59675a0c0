from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_llmperf.places.gpus import Gpu
from pytest_llmperf.places.machine import (
    NoProgram,
    ProgramError,
    ThisMachine,
    cpu_model,
    facts,
    uname,
    usable_cores,
)
from tests.leftovers import open_files


class Elsewhere:
    """A machine that is what is written here."""

    def __init__(self, files: Mapping[str, str], programs: Mapping[str, str] | None = None) -> None:
        self._files, self._programs = files, programs or {}

    def run(self, *argv: str, timeout_s: float = 20.0) -> str:
        if " ".join(argv) not in self._programs:
            raise NoProgram(f"there is no {argv[0]} here")
        return self._programs[" ".join(argv)]

    def read(self, path: str) -> str:
        return self._files.get(path, "")


CONTAINER = Elsewhere(
    {
        "/proc/cpuinfo": "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Platinum 8480C\nflags\t\t: fpu\n",
        "/proc/self/status": "Name:\tcat\nCpus_allowed:\tff\nCpus_allowed_list:\t0-3,8,10-11\n",
    },
    {"uname -srm": "Linux 6.8.0-45-generic x86_64\n"},
)


def test_a_machine_is_read_wherever_it_is() -> None:
    assert facts(CONTAINER, []) == {
        "machine": "Linux x86_64",
        "kernel": "6.8",
        "cpu": "Intel(R) Xeon(R) Platinum 8480C",
        "cpus": "7",
    }
    assert uname(CONTAINER) == ("Linux", "6.8.0-45-generic", "x86_64")


def test_the_gpus_that_are_used_are_counted() -> None:
    h100 = Gpu(0, "GPU-a", "H100", "570.86", max_sm_mhz=1980, max_memory_mhz=2619, power_w=700)
    a10 = Gpu(1, "GPU-b", "A10", "570.86", max_sm_mhz=1695, max_memory_mhz=6251, power_w=150)
    assert list(facts(CONTAINER, [h100, h100], "12.8").items())[4:] == [
        ("accelerators", "2 × H100"),
        ("driver", "570.86"),
        ("cuda", "12.8"),
        ("clocks", "up to 1980 MHz SM, 2619 MHz memory"),
        ("power limit", "700 W"),
    ]
    mixed = facts(CONTAINER, [h100, a10])
    assert mixed["accelerators"] == "A10, H100"
    assert mixed["power limit"] == "150 W, 700 W"
    assert mixed["cuda"] == "unknown"


def test_this_machine_is_known() -> None:
    here = facts(ThisMachine(), [])
    assert set(here) == {"machine", "kernel", "cpu", "cpus"}
    assert "unknown" not in here.values()
    assert here["machine"] == f"{os.uname().sysname} {os.uname().machine}"
    assert re.fullmatch(r"\d+\.\d+", here["kernel"])
    assert here == facts(ThisMachine(), [])


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000\n", 7), ("400000 100000\n", 4), ("50000 100000\n", 1), ("9900000 100000\n", 7), ("", 7)],
)
def test_a_container_may_not_use_all_it_sees(quota: str, cores: int) -> None:
    files = {"/proc/self/status": CONTAINER.read("/proc/self/status"), "/sys/fs/cgroup/cpu.max": quota}
    assert usable_cores(Elsewhere(files)) == cores


def test_without_proc_there_are_other_ways() -> None:
    programs = {"getconf _NPROCESSORS_ONLN": "10\n", "sysctl -n machdep.cpu.brand_string": "Apple M4\n"}
    assert usable_cores(Elsewhere({}, programs)) == 10
    assert cpu_model(Elsewhere({}, programs)) == "Apple M4"


def test_a_machine_that_tells_nothing_is_unknown() -> None:
    silent = Elsewhere({})
    assert facts(silent, []) == {
        "machine": "unknown unknown",
        "kernel": "unknown",
        "cpu": "unknown",
        "cpus": "1",
    }


def test_an_arm_core_is_known_by_its_numbers() -> None:
    text = "processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd4f\n"
    assert cpu_model(Elsewhere({"/proc/cpuinfo": text})) == "implementer 0x41, part 0xd4f"


# --- running programs ---------------------------------------------------------------------------------


def test_what_a_program_prints() -> None:
    assert ThisMachine().run(
        sys.executable, "-c", r"import sys; print('a'); sys.stdout.buffer.write(b'\xff')"
    )


def test_a_program_that_fails_is_quoted() -> None:
    code = "import sys; print('first'); print('second', file=sys.stderr); sys.exit(3)"
    with pytest.raises(ProgramError, match="failed: first\nsecond") as caught:
        ThisMachine().run(sys.executable, "-c", code)
    assert caught.value.said == "first\nsecond"
    with pytest.raises(ProgramError, match="exit code 4, without a word"):
        ThisMachine().run(sys.executable, "-c", "raise SystemExit(4)")


def test_a_program_that_may_not_be_run(tmp_path: Path) -> None:
    (tmp_path / "program").write_text("")
    with pytest.raises(ProgramError, match=r"cannot be run: .*Permission denied"):
        ThisMachine().run(str(tmp_path / "program"))


def test_one_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    before = open_files()
    code = f"""
import os, time
from pathlib import Path
child = os.fork()
if child:
    Path({str(tmp_path / "pid")!r}).write_text(str(child))
time.sleep(60)
"""
    with pytest.raises(ProgramError, match="did not answer within 2 s"):
        ThisMachine().run(sys.executable, "-c", code, timeout_s=2)
    child = int((tmp_path / "pid").read_text())
    status = Path(f"/proc/{child}/status")
    assert not status.exists() or "Z (zombie)" in status.read_text()
    assert open_files() == before


def test_a_file_that_cannot_be_read_is_empty(tmp_path: Path) -> None:
    assert ThisMachine().read(str(tmp_path / "none")) == ""
    assert ThisMachine().read(str(tmp_path)) == ""
    (tmp_path / "some").write_bytes(b"caf\xe9\n")
    assert ThisMachine().read(str(tmp_path / "some")) == "caf\ufffd\n"
