"""GPUs, or the CPU, for one engine after the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.allotment import Allotment, Allotter
from pytest_llmperf.places.gpus import Nvidia
from pytest_llmperf.places.leases import Leases
from pytest_llmperf.places.machine import ThisMachine
from tests.places import smi


class Heard:
    """A listener that remembers, and has no patience."""

    def __init__(self) -> None:
        self.phases: list[str] = []

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def waiting(self, elapsed_s: float, line: str) -> None:
        raise TimeoutError


@pytest.fixture
def four(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> smi.Gpus:
    return smi.install(tmp_path / "bin", monkeypatch, 4)


@pytest.fixture
def leases(tmp_path: Path) -> Leases:
    return Leases(tmp_path / "leases")


def allotter(leases: Leases | None, *allowed: str, heard: Heard | None = None) -> Allotter:
    return Allotter(Nvidia(ThisMachine()), leases, allowed or None, heard)


def indices(allotment: Allotment) -> list[int]:
    return [gpu.index for gpu in allotment.gpus]


def test_an_engine_sees_its_gpus_and_no_other(four: smi.Gpus, leases: Leases) -> None:
    made = allotter(leases)
    allotment = made.allot(parse_subject("vllm"), 2)
    assert allotment.env == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "0,1"}
    assert len(allotment.held) == 2
    made.close()


def test_two_engines_never_get_the_same_gpu(four: smi.Gpus, leases: Leases) -> None:
    one, other = allotter(leases), allotter(leases)
    assert indices(one.allot(parse_subject("vllm"), 2)) == [0, 1]
    assert indices(other.allot(parse_subject("sglang"), 1)) == [2]
    one.close()
    assert indices(allotter(leases).allot(parse_subject("vllm"), 3)) == [0, 1, 3]


def test_the_next_engine_of_a_session_gets_the_same_gpus(four: smi.Gpus, leases: Leases) -> None:
    made, other = allotter(leases), allotter(leases)
    blocked = other.allot(parse_subject("vllm"), 1)
    first = made.allot(parse_subject("vllm"), 1)
    assert indices(first) == [1]
    other.close()
    assert blocked.gpus[0].index == 0
    four.say(1, {"power.limit": "350.00"})
    again = made.allot(parse_subject("sglang"), 1)
    assert again.leases == first.leases
    assert [gpu.power_w for gpu in again.gpus] == [350]


def test_one_that_needs_more_gives_back_before_it_asks(four: smi.Gpus, leases: Leases) -> None:
    made = allotter(leases)
    made.allot(parse_subject("vllm"), 1)
    assert indices(made.allot(parse_subject("vllm"), 4)) == [0, 1, 2, 3]
    assert indices(made.allot(parse_subject("vllm"), 1)) == [0]
    assert indices(allotter(leases).allot(parse_subject("vllm"), 3)) == [1, 2, 3]


def test_who_has_to_wait_is_told(four: smi.Gpus, leases: Leases) -> None:
    import subprocess
    import sys

    from tests.places.test_leases import HOLD

    argv = [sys.executable, "-c", HOLD, str(leases.directory), *(f"gpu-{smi.uuid(n)}" for n in range(4))]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        heard = Heard()
        with pytest.raises(TimeoutError):
            allotter(leases, "2", heard=heard).allot(parse_subject("vllm"), 1)
        holder.communicate("")
    (told,) = heard.phases
    assert told.startswith(f"waiting for a GPU: 2 is leased by python (pid {holder.pid}, vllm==0.24.0, for ")


@pytest.mark.parametrize(
    ("visible", "allowed", "count", "expected"),
    [
        (None, [], 1, [0]),
        ("2,3", [], 1, [2]),
        ("3,-1,0", [], 1, [3]),
        (smi.uuid(2), [], 1, [2]),
        ("3", ["1", "2"], 2, [1, 2]),
        ("3", ["all"], 4, [0, 1, 2, 3]),
    ],
)
def test_which_gpus_may_be_used(
    visible: str | None,
    allowed: list[str],
    count: int,
    expected: list[int],
    four: smi.Gpus,
    leases: Leases,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert indices(allotter(leases, *allowed).allot(parse_subject("vllm"), count)) == expected


@pytest.mark.parametrize(
    ("visible", "allowed", "count", "told"),
    [
        (None, [], 5, "vllm needs 5 GPUs; there are 4 here"),
        ("", [], 1, "vllm needs 1 GPU; there are 4 here, of which 0 may be used (CUDA_VISIBLE_DEVICES=)"),
        ("NoDevFiles", [], 1, "of which 0 may be used"),
        (None, ["1"], 2, "vllm needs 2 GPUs; there are 4 here, of which 1 may be used (--llmperf-gpus)"),
        (None, ["7"], 1, "--llmperf-gpus: there is no GPU '7' here; there are: 0 (NVIDIA H100"),
        ("0,9", [], 1, "CUDA_VISIBLE_DEVICES=0,9: there is no GPU '9' here"),
    ],
)
def test_gpus_that_cannot_be_had_are_an_error(
    visible: str | None,
    allowed: list[str],
    count: int,
    told: str,
    four: smi.Gpus,
    leases: Leases,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(EngineError) as caught:
        allotter(leases, *allowed).allot(parse_subject("vllm"), count)
    assert told in str(caught.value)


def test_a_subject_that_names_its_gpus_gets_those(four: smi.Gpus, leases: Leases) -> None:
    subject = parse_subject("CUDA_VISIBLE_DEVICES=2,1 command")
    assert indices(allotter(leases).allot(subject, 0)) == [1, 2]
    with pytest.raises(EngineError, match=r"needs 3 GPUs, and names 2 in CUDA_VISIBLE_DEVICES"):
        allotter(leases).allot(subject, 3)
    with pytest.raises(EngineError, match=r"GPU 1 may not be used \(--llmperf-gpus\)"):
        allotter(leases, "2", "3").allot(subject, 1)


def test_a_subject_that_hides_all_gpus_runs_on_the_cpu(four: smi.Gpus, leases: Leases) -> None:
    four.set(hangs=True)
    assert allotter(leases).allot(parse_subject("CUDA_VISIBLE_DEVICES= llamacpp"), 0).gpus == ()


def test_an_instance_is_shown_by_its_uuid(four: smi.Gpus, leases: Leases) -> None:
    four.say(0, {"mig.mode.current": "Enabled"})
    four.set(listing="GPU 0: H100 (UUID: GPU-0)\n  MIG 2g.20gb     Device  0: (UUID: MIG-377e0049)\n")
    allotment = allotter(leases, "MIG-377e0049").allot(parse_subject("vllm"), 1)
    assert allotment.env["CUDA_VISIBLE_DEVICES"] == "MIG-377e0049"


# --- the CPU ------------------------------------------------------------------------------------------


def test_an_engine_without_gpus_has_the_cpu_to_itself(leases: Leases) -> None:
    made = allotter(leases)
    allotment = made.allot(parse_subject("llamacpp"), 0)
    assert allotment.env == {}
    assert leases.take_now("cpu", "other") is None
    assert made.allot(parse_subject("llamacpp --parallel 2"), 0).leases == allotment.leases
    made.close()
    assert leases.take_now("cpu", "other") is not None


def test_two_engines_of_one_process_share_the_cpu(leases: Leases) -> None:
    one, other = allotter(leases), allotter(leases)
    assert one.allot(parse_subject("llamacpp"), 0).leases == other.allot(parse_subject("llamacpp"), 0).leases
    one.close()
    assert leases.take_now("cpu", "third") is None
    other.close()
    assert leases.take_now("cpu", "third") is not None


def test_a_machine_of_which_no_gpu_is_known_is_leased_as_a_whole(
    leases: Leases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    allotment = allotter(leases).allot(parse_subject("vllm==0.24.0"), 1)
    assert allotment.gpus == ()
    assert allotment.note == (
        "nothing is known of the GPUs that vllm==0.24.0 uses: there is no nvidia-smi here"
    )
    assert leases.take_now("cpu", "other") is None
    with pytest.raises(
        EngineError,
        match="--llmperf-gpus names GPUs, but which there are cannot be read: there is no nvidia-smi",
    ):
        allotter(leases, "0").allot(parse_subject("vllm"), 1)


def test_a_driver_that_does_not_answer_is_an_error(four: smi.Gpus, leases: Leases) -> None:
    four.set(error=("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", 9))
    with pytest.raises(EngineError, match="couldn't communicate"):
        allotter(leases).allot(parse_subject("vllm"), 1)


def test_without_leases_nobody_is_kept_away(four: smi.Gpus) -> None:
    assert indices(allotter(None).allot(parse_subject("vllm"), 2)) == [0, 1]
    assert indices(allotter(None).allot(parse_subject("vllm"), 2)) == [0, 1]
    assert allotter(None).allot(parse_subject("llamacpp"), 0) == Allotment(hides_gpus=True)


def test_a_command_that_asks_for_no_gpu_is_shown_none_and_says_so(four: smi.Gpus, leases: Leases) -> None:
    allotment = allotter(leases).allot(parse_subject("command -- ./serve {port}"), 0)
    assert allotment.env == {"CUDA_VISIBLE_DEVICES": ""}
    assert allotment.note.startswith("no GPU is shown to command: the subject asks for none")
