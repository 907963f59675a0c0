"""Hooks that other plugins and ``conftest.py`` files can implement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_llmperf.engines.protocol import Engine


@pytest.hookspec
def pytest_llmperf_engines() -> Sequence[Engine]:  # type: ignore[empty-body]
    """Engines that subjects may name, beside the built-in ones; a later one replaces one of its name.

    ::

        class MyEngine:
            name = "myengine"
            ...  # see pytest_llmperf.engines.protocol.Engine

        def pytest_llmperf_engines():
            return [MyEngine()]
    """


@pytest.hookspec
def pytest_llmperf_record(record: dict[str, Any]) -> None:
    """The session's record, before it is written; what is changed in it is written.

    ::

        def pytest_llmperf_record(record):
            record["commit"] = os.environ.get("GITHUB_SHA")
    """
