"""pytest's side: options, markers, hooks, the fixture.

Decides nothing, and imports what measures only when ``--llmperf`` asks for it.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.declare.options import FIXTURE, MARKERS, OPTIONS
from pytest_llmperf.errors import DeclarationError

if TYPE_CHECKING:
    from pytest_llmperf.declare.settings import Settings
    from pytest_llmperf.fixture import Llmperf

_CODES = next(option for option in OPTIONS if option.name == "exit-codes")
NOT_ASKED_FOR = "performance test: run with --llmperf"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("llmperf", "performance tests of LLM serving")
    group.addoption("--llmperf", action="store_true", help="run performance tests (skipped without this)")
    for option in OPTIONS:
        if option.metavar is None:
            group.addoption(option.flag, action="store_true", help=option.help)
            continue
        default = f" (default: {option.default})" if option.default else ""
        text = option.help.replace("%", "%%") + default.replace("%", "%%")
        group.addoption(option.flag, metavar=option.metavar, default=None, help=text)
        parser.addini(option.ini, help=f"{option.flag}: {option.help}", type="string", default=None)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    from pytest_llmperf import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    """Where ``git bisect run`` asks, an error of usage is not taken for a bad commit."""
    try:
        return (yield)
    except Exception as error:
        said = (config.getoption(_CODES.flag), os.environ.get(_CODES.variable), config.getini(_CODES.ini))
        if next(filter(None, said), "pytest") != "bisect":
            raise
        sys.stderr.write(
            f"ERROR: {error}\n\n" if isinstance(error, pytest.UsageError) else traceback.format_exc()
        )
        return 125


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    for line in MARKERS.values():
        config.addinivalue_line("markers", line)
    if not config.getoption("--llmperf"):
        for flag in ("--llmperf-update", "--llmperf-exit-codes"):
            if config.getoption(flag):
                raise pytest.UsageError(f"{flag} does nothing without --llmperf")
        return
    try:
        settings = _settings(config)
    except DeclarationError as error:
        raise pytest.UsageError(str(error)) from None
    from pytest_llmperf.activate import activate

    activate(config, settings)


def _settings(config: pytest.Config) -> Settings:
    from pytest_llmperf.declare.settings import Settings

    valued = [option for option in OPTIONS if option.metavar is not None]
    return Settings.resolve(
        command_line={option.name: config.getoption(option.flag) for option in valued},
        environment=os.environ,
        configuration={option.name: _as_text(config.getini(option.ini)) for option in valued},
        update=config.getoption("--llmperf-update"),
    )


def _as_text(value: object) -> str | None:
    """A value of the configuration file as one would type it; TOML has lists and numbers of its own."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return None if value is None else str(value)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if FIXTURE in metafunc.fixturenames or metafunc.config.getoption("--llmperf"):
        from pytest_llmperf import collect

        collect.check_markers(metafunc)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--llmperf"):
        from pytest_llmperf import collect

        collect.arrange(config.stash[collect.ACTIVE], items)
        return
    for item in items:
        if FIXTURE in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason=NOT_ASKED_FOR))


@pytest.fixture
def llmperf(request: pytest.FixtureRequest) -> Llmperf:
    """Measure a workload: ``llmperf(Workload(input_tokens=1024, output_tokens=128), rate=4)``."""
    if not request.config.getoption("--llmperf"):
        pytest.skip(NOT_ASKED_FOR)
    from pytest_llmperf import collect
    from pytest_llmperf.fixture import Llmperf

    item = request.node
    if collect.PLAN not in item.stash:
        raise DeclarationError("take llmperf as an argument of the test: what it needs is planned beforehand")
    return Llmperf(request.config.stash[collect.ACTIVE].session, item.nodeid, item.stash[collect.PLAN])
