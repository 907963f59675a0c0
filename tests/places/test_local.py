"""Engines as processes of this machine."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_llmperf.declare.subject import Subject, parse_subject
from pytest_llmperf.engines.llamacpp import LlamaCpp
from pytest_llmperf.engines.protocol import Command, Runtime
from pytest_llmperf.places.local import LocalProcess, LocalServer


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
    account = server.account()
    assert "hunter2" not in account
    assert "swordfish" not in account
    assert "command: 'MY_TOKEN=[redacted]' PLAIN=yes" in account
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
