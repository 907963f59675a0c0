"""From a subject to the environment that has it. Installers are real, the index is a directory."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.engines.llamacpp import LlamaCpp
from pytest_llmperf.engines.protocol import Runtime
from pytest_llmperf.errors import EngineError, Hindered
from pytest_llmperf.places import isolated
from pytest_llmperf.places.environments import Environments, engine_environment, is_version
from pytest_llmperf.places.isolated import Isolated, Slot
from pytest_llmperf.places.packages import Packages
from tests.leftovers import MARK, gone
from tests.places.conftest import Workshop
from tests.wheels import FakeEngine, make_checkout, make_wheel


def version_in(runtime: Runtime, module: str = "fake_engine") -> str:
    """What an engine would import there."""
    code = f"import {module}; print({module}.version)"
    command = [runtime.python, "-I", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


# --- what is installed --------------------------------------------------------------------------------


def test_without_a_version_it_is_the_one_of_the_tests() -> None:
    runtime = Environments().runtime_of(LlamaCpp(), parse_subject("llamacpp"))
    assert runtime == Runtime(sys.executable, importlib.metadata.version("xllamacpp"))


def test_the_version_that_is_installed_needs_no_other_environment(offline: Workshop) -> None:
    subject = parse_subject(f"llamacpp=={importlib.metadata.version('xllamacpp')}")
    assert offline.environments().runtime_of(LlamaCpp(), subject).python == sys.executable
    assert offline.builds == 0


def test_what_is_not_installed_is_said_with_both_ways_out(offline: Workshop) -> None:
    with pytest.raises(EngineError, match=r"needs the fake-engine package.*pip install.*fake==…"):
        offline.runtime("fake")


@pytest.mark.parametrize(
    ("installed", "asked", "is_it"),
    [
        ("0.24.0", "0.24.0", True),
        ("0.24.0+cu129", "0.24.0", True),
        ("0.24.0", "0.24", True),
        ("0.24.0", "0.24.0+cu129", False),
        ("0.24.1", "0.24.0", False),
        ("0.25.0rc1", "0.25.0rc1", True),
        ("0.25.0rc1", "0.25.0", False),
        ("odd", "odd", True),
        ("1.0", "odd_", False),
    ],
)
def test_a_version_is_what_an_installer_would_take_for_it(installed: str, asked: str, is_it: bool) -> None:
    assert is_version(installed, asked) is is_it


# --- a version of its own -----------------------------------------------------------------------------


def test_two_versions_stand_side_by_side_and_are_built_once(workshop: Workshop) -> None:
    session = workshop.environments()
    one, other = (
        session.runtime_of(FakeEngine(), parse_subject(f"fake=={version}")) for version in ("1.0", "1.1")
    )
    assert (version_in(one), version_in(other)) == ("1.0", "1.1") == (one.version, other.version)
    assert sys.executable not in (one.python, other.python)
    assert workshop.heard.phases[:2] == ["building the environment of fake==1.0", "starting fake==1.0"]
    assert workshop.builds == 2
    assert workshop.runtime("fake==1.0") == one
    assert workshop.builds == 2


def test_pip_does_it_where_there_is_no_uv(offline: Workshop) -> None:
    offline.publish("fake-engine", "1.0")
    assert version_in(offline.runtime("fake==1.0")) == "1.0"
    (log,) = offline.logs.iterdir()
    said = log.read_text()
    assert "Successfully installed fake-engine-1.0" in said
    # Which of its lines are heard depends on when somebody listens.
    assert offline.heard.lines
    assert all(line.strip() in said for line in offline.heard.lines)


def test_nothing_of_the_tests_leaks_into_it(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET", "UV_TARGET", "UV_SYSTEM_PYTHON"):
        monkeypatch.setenv(name, "/nowhere")
    runtime = workshop.runtime("fake==1.0")
    inherited = engine_environment(runtime)
    home = Path(runtime.python).parent.parent
    assert inherited["VIRTUAL_ENV"] == str(home)
    assert inherited["PATH"].split(os.pathsep)[0] == str(home / "bin")
    assert not {"PYTHONPATH", "PYTHONHOME"} & set(inherited)
    code = "import pytest"
    assert subprocess.run([runtime.python, "-c", code], env=inherited, capture_output=True).returncode == 1


def test_the_environment_of_the_tests_keeps_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert engine_environment(Runtime(sys.executable))["PYTHONPATH"] == "/somewhere"


def test_one_that_was_tampered_with_is_built_anew(workshop: Workshop) -> None:
    runtime = workshop.runtime("fake==1.0")
    (info,) = Path(runtime.python).parent.parent.glob("lib/*/site-packages/fake_dependency-1.0.dist-info")
    shutil.rmtree(info)
    again = workshop.runtime("fake==1.0")
    assert again.python != runtime.python
    assert again.packages == runtime.packages
    assert workshop.builds == 2


def test_one_that_a_run_uses_stays_although_another_run_builds_it_anew(workshop: Workshop) -> None:
    session = workshop.environments()
    used = session.runtime_of(FakeEngine(), parse_subject("fake==1.0"))
    again = workshop.environments()
    assert again.runtime_of(FakeEngine(), parse_subject("fake==1.0")) == used
    del session
    (info,) = Path(used.python).parent.parent.glob("lib/*/site-packages/fake_dependency-1.0.dist-info")
    shutil.rmtree(info)
    assert workshop.runtime("fake==1.0").python != used.python
    assert version_in(used) == "1.0"
    del again
    assert sum(map(len, workshop.slots().values())) == 2
    (workshop.cache / "llmperf" / "environments" / slot_of(used) / "ready.json").unlink()
    only_lock(workshop).unlink()
    workshop.runtime("fake==1.0")
    assert not Path(used.python).exists()


def slot_of(runtime: Runtime) -> str:
    return Path(runtime.python).parent.parent.parent.name


def test_one_that_two_locks_name_is_built_once(workshop: Workshop) -> None:
    runtime = workshop.runtime("fake==1.0")
    (locked,) = (name for name, inside in workshop.slots().items() if not inside)
    slot = Slot(workshop.cache / "llmperf" / "environments" / locked, "fake-engine")
    with slot.building(lambda line: None) as scratch:  # which clears what is not needed
        scratch.rmdir()
    assert workshop.runtime("fake==1.0") == runtime
    assert workshop.builds == 1


def test_a_cache_that_cannot_be_written_to_is_made_up_for_and_said(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert version_in(workshop.runtime("fake==1.0")) == "1.0"
    assert any("is not kept" in note for note in workshop.heard.notes)


# --- the lock -----------------------------------------------------------------------------------------


def only_lock(workshop: Workshop) -> Path:
    (lock,) = workshop.locks.glob("*.txt")
    return lock


def pins(lock: Path) -> list[str]:
    return [line for line in lock.read_text().splitlines() if not line.startswith("#")]


def test_next_week_the_same_version_means_the_same_packages(workshop: Workshop) -> None:
    before = workshop.runtime("fake==1.0")
    assert pins(only_lock(workshop)) == ["fake-dependency==1.0", "fake-engine==1.0"]
    workshop.publish("fake-dependency", "2.0")
    shutil.rmtree(workshop.cache)  # as on another machine
    after = workshop.runtime("fake==1.0")
    assert version_in(after, "fake_dependency") == "1.0"
    assert after.packages == before.packages


def test_without_its_lock_and_its_environments_the_installer_chooses_anew_and_the_record_tells(
    workshop: Workshop,
) -> None:
    before = workshop.runtime("fake==1.0")
    lock = only_lock(workshop)
    lock.unlink()
    for slot in workshop.cache.glob(f"llmperf/environments/{lock.stem}-*"):
        shutil.rmtree(slot)
    workshop.publish("fake-dependency", "2.0")
    after = workshop.runtime("fake==1.0")
    assert version_in(after, "fake_dependency") == "2.0"
    assert after.version == before.version
    assert after.packages != before.packages


def test_a_changed_lock_is_another_environment_beside_the_first(workshop: Workshop) -> None:
    before = workshop.runtime("fake==1.0")
    workshop.publish("fake-dependency", "2.0")
    lock = only_lock(workshop)
    lock.write_text(lock.read_text().replace("fake-dependency==1.0", "fake-dependency==2.0"))
    after = workshop.runtime("fake==1.0")
    assert (version_in(before, "fake_dependency"), version_in(after, "fake_dependency")) == ("1.0", "2.0")
    assert after.packages != before.packages


def test_comments_and_order_are_not_what_a_lock_is_known_by(workshop: Workshop) -> None:
    before = workshop.runtime("fake==1.0")
    lock = only_lock(workshop)
    lock.write_text("\n".join(["# another word", *reversed(pins(lock)), ""]))
    assert workshop.runtime("fake==1.0") == before
    assert workshop.builds == 1


def test_a_project_without_a_lock_gets_that_of_what_the_cache_has(workshop: Workshop) -> None:
    workshop.runtime("fake==1.0")
    lock = only_lock(workshop)
    text = lock.read_text()
    lock.unlink()
    workshop.runtime("fake==1.0")
    assert lock.read_text() == text
    assert workshop.builds == 1


def test_a_lock_of_another_version_is_refused(workshop: Workshop) -> None:
    workshop.runtime("fake==1.0")
    lock = only_lock(workshop)
    lock.write_text(lock.read_text().replace("fake-engine==1.0", "fake-engine==1.1"))
    with pytest.raises(EngineError, match=r"fake==1\.0: .*fake-engine-1\.0-.*\.txt has fake-engine 1\.1"):
        workshop.runtime("fake==1.0")


def test_an_environment_is_used_though_its_lock_cannot_be_kept(workshop: Workshop) -> None:
    workshop.locks.write_text("in the way")
    assert version_in(workshop.runtime("fake==1.0")) == "1.0"
    assert any("cannot be written" in note for note in workshop.heard.notes)


# --- a wheel, a checkout, an interpreter --------------------------------------------------------------


def test_a_wheel_file_is_installed_and_known_by_its_content(workshop: Workshop, tmp_path: Path) -> None:
    path = make_wheel(tmp_path / "dist", "fake-engine", "2.0", ["fake-dependency"])
    before = workshop.runtime(f"fake@{path}")
    assert version_in(before) == before.version == "2.0"
    assert before.commit is not None
    assert before.commit.startswith("wheel sha256:")
    assert workshop.runtime(f"fake@{path}") == before
    make_wheel(tmp_path / "dist", "fake-engine", "2.0", ["fake-dependency"], code="changed = True\n")
    after = workshop.runtime(f"fake@{path}")
    assert after.commit != before.commit
    assert "changed" in dir_of(after)


def dir_of(runtime: Runtime) -> str:
    command = [runtime.python, "-I", "-c", "import fake_engine; print(dir(fake_engine))"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_wheel_of_something_else_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    path = make_wheel(tmp_path / "dist", "other-engine", "2.0")
    with pytest.raises(EngineError, match="is no wheel of fake-engine"):
        workshop.runtime(f"fake@{path}")


def test_the_dependencies_of_a_wheel_are_locked_and_the_wheel_is_not(
    workshop: Workshop, tmp_path: Path
) -> None:
    path = make_wheel(tmp_path / "dist", "fake-engine", "2.0", ["fake-dependency"])
    workshop.runtime(f"fake@{path}")
    assert pins(only_lock(workshop)) == ["fake-dependency==1.0"]
    shutil.rmtree(workshop.cache)
    workshop.publish("fake-dependency", "2.0")
    again = workshop.runtime(f"fake@{path}")
    assert version_in(again) == "2.0"
    assert version_in(again, "fake_dependency") == "1.0"


def git(directory: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True)


def test_a_checkout_is_known_by_its_commit_and_what_was_changed_since(
    workshop: Workshop, tmp_path: Path
) -> None:
    tree = make_checkout(tmp_path / "src")
    git(tree, "init", "-q")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "one")
    clean = workshop.runtime(f"fake@{tree}")
    assert clean.commit is not None
    assert len(clean.commit) == 12
    assert workshop.runtime(f"fake@{tree}") == clean
    assert workshop.builds == 1
    (tree / "fake_engine.py").write_text("version = 'changed'\n")
    dirty = workshop.runtime(f"fake@{tree}")
    assert version_in(dirty) == "changed"
    assert dirty.commit is not None
    assert dirty.commit.startswith(f"{clean.commit}+changes.")
    assert len(list(workshop.locks.glob("*.txt"))) == 1  # what nobody can have again is not worth a lock
    assert version_in(clean) == "1.0"


@pytest.mark.parametrize("make_uv_available", [True, False], ids=["uv", "pip"])
def test_a_tree_without_git_is_known_by_its_files(
    make_uv_available: bool, offline: Workshop, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if make_uv_available:
        request.getfixturevalue("workshop")
    offline.publish("fake-dependency", "1.0")
    tree = make_checkout(tmp_path / "src")
    one = offline.runtime(f"fake@{tree}")
    (tree / "fake_engine.py").write_text("version = 'changed'\n")
    other = offline.runtime(f"fake@{tree}")
    assert (version_in(one), version_in(other)) == ("1.0", "changed")
    assert one.commit != other.commit


def test_variables_reach_the_build_and_are_part_of_what_was_built(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = (
        "import os; device = os.environ['FAKE_TARGET_DEVICE']; "
        "pathlib.Path('fake_engine.py').write_text(f'version = {device!r}')"
    )
    tree = make_checkout(tmp_path / "src", build=write)
    git(tree, "init", "-q")
    (tree / ".gitignore").write_text("fake_engine.py\n")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "one")
    found = []
    for device in ("cpu", "cuda"):
        monkeypatch.setenv("FAKE_TARGET_DEVICE", device)
        found.append(version_in(workshop.runtime(f"fake@{tree}")))
    assert found == ["cpu", "cuda"]


@pytest.mark.parametrize("named", ["bin/python", ""], ids=["interpreter", "virtual environment"])
def test_an_interpreter_is_taken_as_it_is(workshop: Workshop, named: str) -> None:
    built = workshop.runtime("fake==1.0")
    path = Path(built.python).parent.parent / named
    assert workshop.runtime(f"fake@{path}") == built
    assert workshop.builds == 1


def test_an_interpreter_without_the_engine_is_refused(workshop: Workshop) -> None:
    with pytest.raises(EngineError, match="has no fake-engine package installed"):
        workshop.runtime(f"fake@{sys.executable}")


def test_what_an_interpreter_has_may_come_by_the_variables_of_the_subject(
    workshop: Workshop, tmp_path: Path
) -> None:
    path = make_wheel(tmp_path / "dist", "fake-engine", "3.0")
    unpacked = tmp_path / "unpacked"
    shutil.unpack_archive(path, unpacked, "zip")
    assert workshop.runtime(f"PYTHONPATH={unpacked} fake@{sys.executable}").version == "3.0"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "is none of these"),
        (lambda path: path.write_text("x"), "is none of these"),
        (
            lambda path: (path.write_text("#!/bin/sh\necho no\n"), path.chmod(0o755)),
            "is no Python: it answered",
        ),
        (lambda path: (path.write_text("#!/bin/sh\nexit 3\n"), path.chmod(0o755)), "is no Python that works"),
    ],
    ids=["absent", "empty", "not-executable", "not-python", "fails"],
)
def test_a_path_to_nothing_of_use_is_refused(
    make: object, why: str, offline: Workshop, tmp_path: Path
) -> None:
    assert callable(make)
    make(tmp_path / "thing")
    with pytest.raises(EngineError, match=why):
        offline.runtime(f"fake@{tmp_path / 'thing'}")


# --- failing, ending, waiting -------------------------------------------------------------------------


def test_a_version_that_does_not_exist_is_named_with_its_neighbours(offline: Workshop) -> None:
    for version in ("0.9", "1.0", "1.1", "3.0"):
        offline.publish("fake-engine", version)
    with pytest.raises(EngineError) as caught:
        offline.runtime("fake==1.05")
    first, by_hand, log, *_ = str(caught.value).splitlines()
    assert first.startswith(
        "fake==1.05 has no environment to run in: the package index has no fake-engine 1.05"
    )
    assert first.endswith("nearest: 0.9, 1.0, 1.1, 3.0")
    assert by_hand.endswith("-m pip install --disable-pip-version-check --no-input fake-engine==1.05")
    assert Path(log.removeprefix("installer's log: ")).is_file()
    assert set(map(len, offline.slots().values())) == {0}
    assert not offline.locks.exists()


def test_a_dependency_that_does_not_exist_is_the_one_that_is_named(workshop: Workshop) -> None:
    workshop.publish("fake-engine", "4.0", "absent-dependency==7")
    with pytest.raises(EngineError, match="absent-dependency"):
        workshop.runtime("fake==4.0")


def test_one_for_another_python_says_so(offline: Workshop) -> None:
    offline.publish("fake-engine", "1.0", metadata="Requires-Python: >=3.99")
    with pytest.raises(EngineError, match=r"not made for the Python of this test run: .*3\.99"):
        offline.runtime("fake==1.0")


def test_a_build_that_fails_is_named_with_its_error(offline: Workshop, tmp_path: Path) -> None:
    offline.publish("fake-dependency", "1.0")
    tree = make_checkout(tmp_path / "src", build="raise RuntimeError('no compiler here')")
    with pytest.raises(EngineError, match=r"cannot be built from source \(RuntimeError: no compiler here\)"):
        offline.runtime(f"fake@{tree}")
    assert set(map(len, offline.slots().values())) == {0}


@pytest.fixture
def small_disk(offline: Workshop) -> Iterator[None]:
    """The cache is on a disk of a few MB."""
    offline.cache.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "llmperf", str(offline.cache)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a disk")
    yield
    subprocess.run(["umount", str(offline.cache)], check=True)


def test_a_full_disk_is_named_even_where_the_installer_does_not_say_it(
    offline: Workshop, small_disk: None
) -> None:
    offline.publish("fake", "1.0")
    with pytest.raises(Hindered, match="the disk is full"):
        offline.runtime("fake==1.0")


def test_ctrl_c_ends_the_installer_and_leaves_nothing(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    tree = make_checkout(tmp_path / "src", build="import time; open('/dev/stderr'); time.sleep(60)")
    began = time.monotonic()

    def interrupt(line: str) -> None:
        if "Building" in line or time.monotonic() - began > 3:
            raise KeyboardInterrupt

    workshop.heard.on_line = interrupt
    with pytest.raises(KeyboardInterrupt):
        workshop.runtime(f"fake@{tree}")
    assert gone(mark)
    assert set(map(len, workshop.slots().values())) == {0}
    workshop.heard.on_line = lambda line: None
    assert version_in(workshop.runtime("fake==1.0")) == "1.0"


BUILDER = """
import sys
from pathlib import Path
from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.places.environments import Environments
from tests.wheels import FakeEngine
logs = Path(sys.argv[1])
environments = Environments(logs.parent / "locks", lambda: logs)
print(environments.runtime_of(FakeEngine(), parse_subject(sys.argv[2])).python, flush=True)
"""
ROOT = Path(__file__).parent.parent.parent


def builder(workshop: Workshop, subject: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILDER, str(workshop.logs), subject]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_two_runs_build_once(workshop: Workshop, tmp_path: Path) -> None:
    tree = make_checkout(tmp_path / "src", build="import time; time.sleep(1)")
    running = [builder(workshop, f"fake@{tree}") for _ in range(2)]
    one, other = (process.communicate(timeout=120)[0].strip() for process in running)
    assert one == other != ""
    assert workshop.builds == 1


def test_a_build_of_another_run_that_does_not_end_is_named(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = workshop.runtime("fake==1.0")
    slot = Slot(Path(runtime.python).parent.parent.parent, "fake-engine")
    monkeypatch.setattr(isolated, "_PATIENCE_S", 0.5)
    with slot.building(lambda line: None):
        (slot.directory / "ready.json").unlink()
        only_lock(workshop).unlink()
        with pytest.raises(EngineError, match=rf"fake==1\.0 .*another test run \(process {os.getpid()} on"):
            workshop.runtime("fake==1.0")
    assert "another test run builds it" in workshop.heard.lines


def test_where_somebody_builds_nothing_else_is_published(tmp_path: Path) -> None:
    slot = Slot(tmp_path / "slot", "fake-engine")
    built = Isolated(tmp_path, Packages("1.0", (), "everything", None))
    with slot.building(lambda line: None):
        slot.offer(built)
        assert not (slot.directory / "ready.json").exists()
    slot.offer(built)
    assert (slot.directory / "ready.json").exists()


def test_a_killed_build_leaves_no_process_and_is_made_up_for(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    started = tmp_path / "started"
    tree = make_checkout(
        tmp_path / "src",
        build=f"import time; p = pathlib.Path({str(started)!r}); p.exists() or (p.touch(), time.sleep(60))",
    )
    killed = builder(workshop, f"fake@{tree}")
    while not started.exists():
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert gone(mark)
    ((slot, left),) = workshop.slots().items()
    assert len(left) == 1
    runtime = workshop.runtime(f"fake@{tree}")
    assert version_in(runtime) == "1.0"
    assert workshop.slots()[slot] == [Path(runtime.python).parent.parent.name]
