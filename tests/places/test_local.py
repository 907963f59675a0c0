"""Engines as processes of this machine."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_llmperf.declare.subject import Subject, parse_subject
from pytest_llmperf.engines.command import AnyCommand
from pytest_llmperf.engines.llamacpp import LlamaCpp
from pytest_llmperf.engines.protocol import Command, Runtime
from pytest_llmperf.places import watch
from pytest_llmperf.places.leases import Leases
from pytest_llmperf.places.local import LocalProcess, LocalServer
from pytest_llmperf.places.machine import ThisMachine, facts
from tests.places import smi


class Script(LlamaCpp):
    """An engine that is a line of Python; ``{port}`` is its port."""

    def __init__(self, code: str, env: Mapping[str, str] | None = None) -> None:
        self.code, self.env = code, dict(env or {})

    def command(self, subject: Subject, model: str, runtime: Runtime, host: str, port: int) -> Command:
        return Command((sys.executable, "-c", self.code.format(port=port), *subject.args), self.env)


def start(tmp_path: Path, engine: Script, subject: str = "llamacpp") -> LocalServer:
    runtime = Runtime(sys.executable)
    return LocalProcess().start(engine, parse_subject(subject), runtime, "m", tmp_path / "log")


def ended(server: LocalServer) -> None:
    while server.is_alive():
        time.sleep(0.01)


def test_the_account_has_command_exit_code_and_log_without_secrets(tmp_path: Path) -> None:
    code = "import os, sys; print('key', os.environ['MY_TOKEN'], sys.argv[-1]); sys.exit(4)"
    engine = Script(code, {"MY_TOKEN": "hunter2", "PLAIN": "yes"})
    server = start(tmp_path, engine, "llamacpp --api-key swordfish")
    ended(server)
    account = server.account().tell("it", "ended")
    assert "hunter2" not in account
    assert "swordfish" not in account
    assert "command: MY_TOKEN='[redacted]' PLAIN=yes" in account
    assert "exited with code 4" in account
    assert "  | key [redacted] [redacted]" in account
    server.stop()


def test_the_log_that_is_kept_holds_no_secret_once_it_is_stopped(tmp_path: Path) -> None:
    code = "import os, sys; print('args', sys.argv[1:], os.environ['MY_TOKEN'], 'größer', flush=True)"
    engine = Script(code, {"MY_TOKEN": "hunter2", "PLAIN": "hunter3"})
    server = start(tmp_path, engine, "llamacpp --api-key swordfish --ssl-secret=opensesame --threads 2")
    ended(server)
    assert "swordfish" in server.process.log.read_text()
    server.stop()
    server.stop()
    assert server.process.log.read_text() == (
        "args ['--api-key', '[redacted]', '--ssl-secret=[redacted]', '--threads', '2'] [redacted] größer\n"
    )


def test_a_log_without_secrets_is_kept_to_the_byte(tmp_path: Path) -> None:
    code = r"import sys; sys.stdout.buffer.write(b'odd \xff\r\n\n'); sys.stdout.flush()"
    server = start(tmp_path, Script(code))
    ended(server)
    server.stop()
    assert server.process.log.read_bytes() == b"odd \xff\r\n\n"


def test_a_log_that_is_gone_does_not_keep_an_engine_from_its_end(tmp_path: Path) -> None:
    server = start(tmp_path, Script("import time; time.sleep(60)", {"MY_TOKEN": "hunter2"}))
    server.process.log.unlink()
    server.stop()
    assert not server.is_alive()
    assert not server.process.log.exists()


def test_a_model_that_only_its_command_can_see_is_known_by_its_path(tmp_path: Path) -> None:
    server = start(tmp_path, Script("print()"))
    server.stop()
    subject = parse_subject("command -- docker run {port}")
    assert server.model_identity(AnyCommand(), subject, "/in/a/container") == "/in/a/container"
    (tmp_path / "weights").write_text("x")
    assert server.model_identity(AnyCommand(), subject, str(tmp_path / "weights")).startswith(
        "weights sha256:"
    )


def test_our_own_variables_are_not_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMPERF_API_KEY", "hunter2")
    server = start(tmp_path, Script("import os; print([n for n in os.environ if n.startswith('LLMPERF')])"))
    ended(server)
    assert server.process.log_tail() == ["[]"]
    server.stop()


def test_a_taken_port_is_recognised(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        server = start(tmp_path, Script(f"import socket; socket.create_server(('127.0.0.1', {port}))"))
        ended(server)
        assert server.port_was_taken()
        server.stop()
    other = start(tmp_path, Script("raise SystemExit('out of memory')"))
    ended(other)
    other.process.log.write_text("out of memory")
    assert not other.port_was_taken()
    other.stop()


def test_a_port_that_somebody_took_is_named_with_them(tmp_path: Path) -> None:
    code = "import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(0.2)"
    server = start(tmp_path, Script(code))
    port = int(server.url.rpartition(":")[2])
    ended(server)
    assert not server.port_was_taken()
    assert "port:" not in server.account().tell("it", "ended")
    with socket.create_server(("127.0.0.1", port)):
        assert server.port_was_taken()
        assert f"port: {port} is held by pid {os.getpid()} (" in server.account().tell("it", "ended")
    server.stop()


# --- on GPUs ------------------------------------------------------------------------------------------


class OnGpus(Script):
    """The same on as many GPUs as its flag says."""

    distribution: str | None = None

    def gpus(self, subject: Subject) -> int:
        return int(subject.args[-1])


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> smi.Gpus:
    return smi.install(tmp_path / "bin", monkeypatch, 2)


SHOW = "import os; print([os.environ.get(n) for n in ('CUDA_VISIBLE_DEVICES', 'CUDA_DEVICE_ORDER')])"


def launch(
    place: LocalProcess, tmp_path: Path, subject: str = "llamacpp -g 1", code: str = SHOW
) -> LocalServer:
    engine = OnGpus(code, dict(parse_subject(subject).env))
    runtime = place.prepare(engine, parse_subject(subject))
    server = place.start(engine, parse_subject(subject), runtime, "m", tmp_path / "log")
    ended(server)
    return server


def test_an_engine_gets_its_gpus_and_the_command_shows_them(two: smi.Gpus, tmp_path: Path) -> None:
    place = LocalProcess(leases=Leases(tmp_path / "leases"), gpus=["1"])
    server = launch(place, tmp_path)
    assert server.process.log_tail() == ["['1', 'PCI_BUS_ID']"]
    assert "command: CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=1 " in server.account().tell(
        "it", "ended"
    )
    server.stop()
    place.close()


def test_what_a_subject_says_itself_is_what_its_engine_sees(two: smi.Gpus, tmp_path: Path) -> None:
    server = launch(LocalProcess(), tmp_path, f"CUDA_VISIBLE_DEVICES={smi.uuid(1)} llamacpp -g 1")
    assert server.process.log_tail() == [f"['{smi.uuid(1)}', 'PCI_BUS_ID']"]
    server.stop()
    assert [gpu["index"] for gpu in server.hardware()["gpus"]] == [1]


def test_an_engine_without_gpus_sees_none_that_others_may_have(two: smi.Gpus, tmp_path: Path) -> None:
    server = launch(LocalProcess(), tmp_path, "llamacpp -g 0")
    assert server.process.log_tail() == ["['', None]"]
    server.stop()
    assert "accelerators" not in server.environment()


def test_the_environment_has_the_gpus_that_are_used(two: smi.Gpus, tmp_path: Path) -> None:
    two.say(1, {"name": "NVIDIA A10"})
    server = launch(LocalProcess(), tmp_path)
    assert server.environment() == {
        **facts(ThisMachine(), []),
        "accelerators": "NVIDIA H100 80GB HBM3",
        "driver": "570.86.15",
        "cuda": "12.8",
        "clocks": "up to 1980 MHz SM, 2619 MHz memory",
        "power limit": "700 W",
    }
    server.stop()


def test_what_an_engine_leaves_on_a_gpu_is_noted(
    two: smi.Gpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PATIENCE_AFTER_S", 0.2)
    notes: list[str] = []
    server = launch(LocalProcess(note=notes.append), tmp_path)
    two.say(0, {"memory.used": "70000"})
    server.stop()
    server.stop()
    (note,) = notes
    assert note.startswith("GPU 0 still has 70000 MiB in use")
    record = server.hardware()
    assert record["notes"] == [note]
    assert record["kernel"] == os.uname().release
    assert record["gpus"] == [
        {
            "index": 0,
            "uuid": smi.uuid(0),
            "name": "NVIDIA H100 80GB HBM3",
            "memory_mib": 81559,
            "memory_before_mib": 4,
            "memory_after_mib": 70000,
            "persistence": "Enabled",
            "compute_mode": "Default",
        }
    ]


def test_a_session_keeps_its_gpu_between_two_launches(two: smi.Gpus, tmp_path: Path) -> None:
    leases = Leases(tmp_path / "leases")
    place = LocalProcess(leases=leases)
    for _ in range(2):
        launch(place, tmp_path).stop()
        assert leases.take_now(f"gpu-{smi.uuid(0)}", "other") is None
    place.close()
    assert leases.take_now(f"gpu-{smi.uuid(0)}", "other") is not None


def test_a_server_that_has_stopped_gives_its_port_back(tmp_path: Path) -> None:
    leases = Leases(tmp_path / "leases")
    place = LocalProcess(leases=leases)
    server = launch(place, tmp_path, "llamacpp -g 0")
    name = f"port-{server.url.rpartition(':')[2]}"
    assert leases.take_now(name, "other") is None
    server.stop()
    assert leases.take_now(name, "other") is not None
    place.close()
