"""The plugin of a pytest process that ends with whoever started it; given to it by :mod:`.pytest_process`."""

from __future__ import annotations

import os
import signal
import threading

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parent", "said by the command that started this process")
    group.addoption("--parent-pipe", metavar="FD", type=int, required=True)


@pytest.hookimpl
def pytest_configure(config: pytest.Config) -> None:
    # What a script started in the background ignores it, and so would we: nobody could interrupt us.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _end_with(config.getoption("--parent-pipe"))


def _end_with(pipe: int) -> None:
    """Interrupt this process when the other end of ``pipe`` is closed, by whatever ended it."""

    def watch() -> None:
        while os.read(pipe, 1):
            pass
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()
