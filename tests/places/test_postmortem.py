"""The message about a server that is not there."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from pytest_llmperf.engines.protocol import Command
from pytest_llmperf.engines.trouble import Trouble
from pytest_llmperf.places.postmortem import Postmortem, command_line, examine, hider, read_ends

OOM = "loading\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n"


def test_the_whole_message_reads_from_the_cause_to_the_last_lines(tmp_path: Path) -> None:
    (log := tmp_path / "e.log").write_text(OOM)
    command = Command(("/venv/bin/vllm", "serve", "m", "--port", "80"), {"CUDA_VISIBLE_DEVICES": "0"})
    told = examine(command, "process: 7 exited with code 1", 1, log).tell("vllm", "the engine ended")
    first, said, advice, *facts = told.splitlines()
    assert first == "vllm: out of GPU memory (the engine ended)"
    assert said == "it said: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    assert advice.startswith("advice: let it hold less")
    assert facts == [
        "command: CUDA_VISIBLE_DEVICES=0 /venv/bin/vllm serve m --port 80",
        "process: 7 exited with code 1",
        f"log: {log}",
        "  | loading",
        "  | torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    ]


def test_without_a_cause_what_happened_comes_first(tmp_path: Path) -> None:
    (log := tmp_path / "e.log").write_text("".join(f"line {number}\n" for number in range(50)))
    told = examine(Command(("x",)), "process: 7 still runs", None, log).tell("vllm", "not ready after 1 s")
    lines = told.splitlines()
    assert lines[0] == "vllm: not ready after 1 s"
    assert lines[-1] == "  | line 49"
    assert len(lines) == 4 + 15


def test_an_account_of_nothing_but_facts() -> None:
    assert Postmortem(None, ("server: there",)).tell("url", "gone") == "url: gone\nserver: there"
    assert Postmortem(Trouble("", "last"), ()).tell("it", "ended") == "it: ended\nit said: last"


def test_a_log_that_is_gone_or_empty_is_said_to_be(tmp_path: Path) -> None:
    told = examine(Command(("x",)), "s", 1, tmp_path / "none").tell("it", "ended")
    assert "  | (the log cannot be read: [Errno 2]" in told
    (tmp_path / "empty").touch()
    assert examine(Command(("x",)), "s", 1, tmp_path / "empty").facts[-1] == "  | (empty)"


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_full_disk_is_the_cause_where_the_log_tells_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100, 100, 0))
    (log := tmp_path / "e.log").write_text("loading\n")
    told = examine(Command(("x",)), "s", 120, log).tell("it", "ended")
    assert told.startswith(
        "it: the disk is full that its log is on (ended)\nit said: loading\nadvice: make room"
    )
    log.write_text(OOM)
    assert "out of GPU memory" in examine(Command(("x",)), "s", 1, log).tell("it", "ended")
    log.write_text("loading\n")
    assert examine(Command(("x",)), "s", None, log).trouble is None


@pytest.mark.parametrize("length", [0, 1, 9, 10, 11, 19, 20, 21, 500])
def test_of_a_long_log_both_ends_are_read_and_nothing_twice(length: int, tmp_path: Path) -> None:
    text = "".join(chr(97 + number % 26) for number in range(length))
    (log := tmp_path / "log").write_text(text)
    assert read_ends(log, 10) == (text if length <= 20 else f"{text[:10]}\n{text[-10:]}")


# --- secrets and the command ---------------------------------------------------------------------------


def test_the_command_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_HUB_TOKEN", "hf_swordfish")
    monkeypatch.setenv("SERVER_KEY", "sk-opensesame")
    show = "import os, sys; print(sys.argv[1:], os.environ['HF_TOKEN'], os.environ['NAME'])"
    command = Command(
        (sys.executable, "-c", show, "it's $HOME", "--api-key", "sk-opensesame", "--auth-key=sk-opensesame"),
        {"HF_TOKEN": "hf_swordfish", "NAME": "a b"},
    )
    line = command_line(command)
    assert "swordfish" not in line
    assert "opensesame" not in line
    assert line.startswith("HF_TOKEN=\"$MY_HUB_TOKEN\" NAME='a b' ")
    by_hand = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True)
    directly = subprocess.run(
        command.argv, env={**os.environ, **command.env}, capture_output=True, text=True, check=True
    )
    assert by_hand.stdout == directly.stdout
    assert "it's $HOME" in by_hand.stdout


def test_a_secret_that_no_variable_holds_is_not_shown() -> None:
    line = command_line(Command(("x", "--api-key", "s3cr3t-1", "--token=s3cr3t-2"), {"HF_TOKEN": "s3cr3t-3"}))
    assert "s3cr3t" not in line
    assert shlex.split(line) == ["HF_TOKEN=[redacted]", "x", "--api-key", "[redacted]", "--token=[redacted]"]


def test_secrets_are_hidden_whether_they_were_passed_or_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_longish")
    monkeypatch.setenv("PASSWORD_STORE_DIR", "/home/me/passwords")
    monkeypatch.setenv("PGPASSWORD", "short")
    hide = hider(
        Command(("x", "--api-key", "sk-opensesame"), {"HF_TOKEN": "hf_swordfish", "A_SECRET": "abc"})
    )
    text = "ghp_longish sk-opensesame hf_swordfish abc short /home/me/passwords"
    assert hide(text) == "[redacted] [redacted] [redacted] abc short /home/me/passwords"


def test_the_credentials_of_urls_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_INDEX_URL", "https://token-of-index@host/simple")
    command = Command(("x", "--store=redis://:hunter22@h?a=1234567"), {"DB": "postgres://me:swordfish@db/x"})
    text = "token-of-index me:swordfish :hunter22 1234567"
    assert hider(command)(text) == "[redacted] [redacted] [redacted] 1234567"
    assert shlex.split(command_line(command)) == [
        "DB=postgres://…@db/x",
        "x",
        "--store=redis://…@h?a=1234567",
    ]


def test_no_secret_is_quoted_from_the_log(tmp_path: Path) -> None:
    (log := tmp_path / "log").write_text("x: error: unrecognized arguments: --foo --api-key sk-opensesame\n")
    told = examine(Command(("x", "--foo", "--api-key", "sk-opensesame")), "s", 2, log).tell("it", "ended")
    assert "opensesame" not in told
    assert "it said: x: error: unrecognized arguments: --foo --api-key [redacted]" in told
