"""Versions of an engine in environments of their own, as a person would use them."""

from __future__ import annotations

import importlib.metadata
import os
import signal
from pathlib import Path

import pytest

from tests.acceptance.conftest import CHAT, Project
from tests.acceptance.test_processes import until
from tests.wheels import make_wheel

OLD, NEW = "2026.4.8672", importlib.metadata.version("xllamacpp")
TWO = CHAT + CHAT.replace("_chat", "_old").replace("@slo", f'@pytest.mark.engine("llamacpp=={OLD}")\n@slo')


@pytest.fixture
def versions(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Project:
    # One for all tests of this module, which have homes of their own.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "versions-cache"))
    return project


@pytest.mark.beside_others
def test_two_versions_in_one_session_and_an_upgrade_that_says_what_differs(versions: Project) -> None:
    versions.write(test_it="import pytest\n" + TWO)
    once = ("--llmperf", "--llmperf-launches", "1")
    result = versions.run(*once, "--llmperf-update")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"*building the environment of llamacpp=={OLD}*"])
    (record,) = versions.records()
    fields = {entry["test"].rpartition("::")[2]: entry["subject"]["fields"] for entry in record["tests"]}
    assert (fields["test_chat"]["version"], fields["test_old"]["version"]) == (NEW, OLD)
    (lock,) = versions.path.glob(".llmperf/locks/*.txt")
    assert f"xllamacpp=={OLD}" in lock.read_text()

    versions.write(test_it="import pytest\n" + TWO.replace(f"=={OLD}", ""))
    result = versions.run(*once, "-k", "old", "--llmperf-tolerance", "0.5%")
    (entry,) = versions.records()[-1]["tests"]
    assert f"version: {OLD} → {NEW}" in entry["subject_differences"]


@pytest.mark.beside_others
def test_a_version_that_cannot_be_had_is_an_error_with_its_neighbours_and_leaves_nothing(
    versions: Project,
) -> None:
    versions.write(test_it=CHAT)
    result = versions.run("--llmperf", "--llmperf-engine", "llamacpp==2026.4.1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "llamacpp==2026.4.1 has no environment to run in: the package index has no xllamacpp 2026.4.1 *",
            "to repeat it by hand: *xllamacpp==2026.4.1",
            "installer's log: *.llmperf/logs/*",
        ]
    )
    assert not list(versions.path.glob(".llmperf/locks/*"))


@pytest.mark.beside_others
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_session_that_ends_while_it_builds_leaves_nothing_that_counts(
    how: signal.Signals, project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    project.write(test_it=CHAT)
    process = project.start("--llmperf", "--llmperf-engine", f"llamacpp=={OLD}")
    until(process, "building the environment")
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode == (pytest.ExitCode.INTERRUPTED if how is signal.SIGINT else -how)
    assert project.nothing_is_left()
    assert not list(tmp_path.rglob("ready.json"))
    assert how is signal.SIGKILL or not list(tmp_path.rglob("pyvenv.cfg"))


@pytest.mark.beside_others
def test_a_wheel_of_another_package_is_refused_before_anything_is_built(
    versions: Project, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path / "dist", "other", "1.0")
    versions.write(test_it=CHAT)
    result = versions.run(
        "--llmperf", "--llmperf-engine", f"llamacpp@{os.path.relpath(wheel, versions.path)}"
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*other-1.0-py3-none-any.whl is no wheel of xllamacpp: *"])
    assert versions.starts() == 0
