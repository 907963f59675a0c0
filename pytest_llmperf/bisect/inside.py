"""The plugin of a pytest process that measures a pair."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from pytest_llmperf.collect import ACTIVE
from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.files import read_json
from pytest_llmperf.keep.record import KIND, VERSION


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bisect", "one pair of a bisection; said by llmperf bisect")
    group.addoption("--bisect-explored", metavar="RECORD", type=Path)


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    """What is measured has the machine to itself, whatever a file or a variable says: no pytest-xdist."""
    if hasattr(config.option, "numprocesses"):
        config.option.numprocesses = 0
    return (yield)


@pytest.hookimpl
def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--bisect-explored")
    if path is None:
        return
    try:
        content = read_json(path, KIND, VERSION)
    except StoreError as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[ACTIVE].session.explored = {
        entry["test"]: [point["key"] for point in entry["points"] if point["explored"]]
        for entry in content["tests"]
    }
