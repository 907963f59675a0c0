from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from pytest_llmperf.pytest_process import INTERRUPTED, interrupted_by_signals, run_pytest


def signal_and_wait(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    time.sleep(10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_would_end_the_process_interrupts_it(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_DFL)  # it may be ignored, as under nohup
    try:
        with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
            signal_and_wait(number)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_under_nohup_the_end_of_the_terminal_is_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupted_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_it_can_be_interrupted_also_where_a_script_has_the_signal_ignored(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import os, signal\n\ndef test_it():\n    os.kill(os.getpid(), signal.SIGINT)\n"
    )
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with (tmp_path / "log").open("wb") as log:
            code = run_pytest(["-p", "no:cacheprovider", "test_it.py"], os.environ, log, tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == INTERRUPTED, (tmp_path / "log").read_text()


def test_it_says_once_a_second_that_it_still_runs(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("import time\n\ndef test_it():\n    time.sleep(1.5)\n")
    elapsed: list[float] = []
    with (tmp_path / "log").open("wb") as log:
        assert run_pytest(["-p", "no:cacheprovider"], os.environ, log, tmp_path, elapsed.append) == 0
    assert elapsed
    assert elapsed == sorted(elapsed)
    assert min(elapsed) >= 1
