"""An engine process and its guardian."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_llmperf.errors import EngineError
from pytest_llmperf.places import guardian
from pytest_llmperf.places.process import EngineProcess, describe_exit
from tests.leftovers import MARK, gone, marked, open_files

Start = Callable[..., EngineProcess]


@pytest.fixture
def mark() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def start(tmp_path: Path, mark: str) -> Iterator[Start]:
    started = []

    def start(code: str, grace_s: float = 5.0) -> EngineProcess:
        """A Python program as the engine; returns when it has said that it is ready."""
        environment = {**os.environ, MARK: mark}
        argv = [sys.executable, "-c", f"import os, signal, sys, time\n{code}"]
        process = EngineProcess(argv, environment, tmp_path / "engine.log", grace_s)
        while "ready" not in process.log_tail() and process.is_alive():
            time.sleep(0.01)
        started.append(process)
        return process

    yield start
    for process in started:
        process.stop()


READY = "print('ready', flush=True)\n"


def test_it_is_asked_to_end_and_may_clean_up(start: Start, mark: str) -> None:
    process = start(
        f"signal.signal(15, lambda *_: (print('bye', flush=True), sys.exit(7)))\n{READY}time.sleep(60)"
    )
    assert process.is_alive()
    process.stop()
    assert process.exit_code == 7
    assert process.log_tail()[-1] == "bye"
    assert gone(mark)


def test_the_signal_that_asks_is_not_ignored_by_inheritance(start: Start) -> None:
    process = start(f"{READY}time.sleep(60)")
    process.stop()
    assert process.exit_code == -signal.SIGTERM


def test_one_that_will_not_end_is_killed(start: Start, mark: str) -> None:
    process = start(f"signal.signal(15, signal.SIG_IGN)\n{READY}time.sleep(60)", grace_s=0.2)
    process.stop()
    assert process.exit_code == -signal.SIGKILL
    assert not process.is_alive()
    assert gone(mark)


def test_children_and_orphans_in_other_sessions_end_with_it(start: Start, mark: str) -> None:
    stubborn = "signal.signal(15, signal.SIG_IGN)"
    process = start(
        f"if not os.fork():\n    {stubborn}\n    time.sleep(60)\n"
        f"if not os.fork():\n    os.setsid()\n    {stubborn}\n    os.fork()\n    time.sleep(60)\n"
        f"{READY}time.sleep(60)"
    )
    while len(marked(mark)) < 4:
        time.sleep(0.01)
    process.stop()
    assert gone(mark, within_s=5)


def test_what_a_dead_engine_leaves_is_swept_at_once(start: Start, mark: str) -> None:
    process = start(f"if not os.fork():\n    time.sleep(60)\n{READY}os._exit(3)")
    while process.is_alive():
        time.sleep(0.01)
    assert process.exit_code == 3
    process.stop()
    assert gone(mark, within_s=5)


def test_stopping_twice_is_no_error(start: Start) -> None:
    process = start(READY)
    process.stop()
    process.stop()
    assert not process.is_alive()


def test_the_interrupt_of_a_terminal_does_not_reach_it(start: Start) -> None:
    process = start(f"{READY}time.sleep(60)")
    assert process.pid is not None
    assert os.getsid(process.pid) == process.pid
    assert os.getsid(process.pid) != os.getsid(0)
    process.stop()


def test_a_program_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"^/no/such/program: No such file or directory$"):
        EngineProcess(["/no/such/program"], os.environ, tmp_path / "log", 1.0)


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="log"):
        EngineProcess([sys.executable, "-V"], os.environ, tmp_path / "no" / "log", 1.0)


@pytest.mark.parametrize("victim", ["parent", "guardian"])
def test_it_ends_with_whoever_started_it(tmp_path: Path, mark: str, victim: str) -> None:
    code = f"""
import os, sys, time
from pathlib import Path
from pytest_llmperf.places.process import EngineProcess
argv = [sys.executable, "-c", "import time; time.sleep(60)"]
process = EngineProcess(argv, os.environ, Path({str(tmp_path / "log")!r}), 5.0)
print(process._guardian.pid, flush=True)
time.sleep(60)
"""
    # With both gone there is nobody to remove the engine's directory for temporary files.
    environment = {**os.environ, MARK: mark, "PYTHONPATH": os.getcwd(), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        guardian = int(parent.stdout.readline())
        os.kill(parent.pid if victim == "parent" else guardian, signal.SIGKILL)
        if victim == "guardian":
            while len(marked(mark)) > 1:
                time.sleep(0.01)
            parent.kill()
    assert gone(mark)


def test_a_guardian_killed_with_9_leaves_no_grandchild_and_no_file_open(start: Start, mark: str) -> None:
    before = open_files()
    process = start(
        "signal.signal(15, signal.SIG_IGN)\n"
        f"if not os.fork():\n    os.fork()\n    time.sleep(60)\n{READY}time.sleep(60)"
    )
    while len(marked(mark)) < 3:
        time.sleep(0.01)
    os.kill(process._guardian.pid, signal.SIGKILL)
    while process.is_alive():
        time.sleep(0.01)
    assert process.exit_code is None
    assert describe_exit(process.exit_code) == "ended with its guardian process, which somebody killed"
    process.stop()
    assert gone(mark, within_s=5)
    assert open_files() == before
    process.stop()
    assert not process.is_alive()


@pytest.mark.parametrize("how", ["asked", "dead", "refused"])
def test_no_file_is_left_open(how: str, start: Start, tmp_path: Path) -> None:
    before = open_files()
    if how == "refused":
        with pytest.raises(EngineError):
            EngineProcess(["/no/such/program"], os.environ, tmp_path / "log", 1.0)
    else:
        process = start(f"{READY}time.sleep({60 if how == 'asked' else 0})")
        while how == "dead" and process.is_alive():
            time.sleep(0.01)
        process.stop()
    assert open_files() == before


def test_the_last_word_of_a_guardian_that_ended_long_ago_is_not_missed(start: Start) -> None:
    process = start(f"{READY}time.sleep(0.1)\nos._exit(3)")
    process._guardian.wait()
    assert not process.is_alive()
    assert process.exit_code == 3


def test_a_guardian_that_cannot_be_started_is_an_engine_that_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*args: object, **options: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", exhausted)
    with pytest.raises(EngineError, match=r"guardian process cannot be started: .*temporarily unavailable"):
        EngineProcess([sys.executable, "-V"], os.environ, tmp_path / "log", 1.0)


def test_the_log_tail_skips_blank_lines_and_survives_odd_bytes(tmp_path: Path) -> None:
    process = EngineProcess([sys.executable, "-V"], os.environ, tmp_path / "log", 1.0)
    process.stop()
    (tmp_path / "log").write_bytes(b"one\n\n  \ntwo \xff\nthree\n\n")
    assert process.log_tail(2) == ["two \ufffd", "three"]
    (tmp_path / "log").unlink()
    assert process.log_tail()[0].startswith("(the log cannot be read")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (None, "ended with its guardian process, which somebody killed"),
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-9, "was killed by SIGKILL"),
        (137, "exited with code 137, which is how a shell says SIGKILL"),
        (255, "exited with code 255"),
        (-200, "was killed by signal 200"),
    ],
)
def test_exit_codes_in_words(code: int | None, words: str) -> None:
    assert describe_exit(code) == words


# --- what it may use up -------------------------------------------------------------------------------


def test_temporary_files_go_with_the_engine_and_compiled_kernels_stay(start: Start) -> None:
    process = start(
        "import pathlib, tempfile\n"
        "print(tempfile.mkdtemp(), os.environ['TORCHINDUCTOR_CACHE_DIR'], flush=True)\n"
        f"{READY}time.sleep(60)"
    )
    made, cache = process.log_tail(2)[0].split()
    assert Path(made).is_dir()
    assert Path(cache).parent == Path(tempfile.gettempdir())
    process.stop()
    assert not Path(made).parent.exists()
    assert Path(made).parent.parent == Path(tempfile.gettempdir())


def test_where_kernels_are_kept_is_not_ours_to_change(tmp_path: Path) -> None:
    show = "import os; print(os.environ['TORCHINDUCTOR_CACHE_DIR'], flush=True)"
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": "/mine"}
    process = EngineProcess([sys.executable, "-c", show], environment, tmp_path / "log", 1.0)
    while process.is_alive():
        time.sleep(0.01)
    assert process.log_tail() == ["/mine"]
    process.stop()


def test_nothing_stays_of_an_engine_that_could_not_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scratch := tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with pytest.raises(EngineError):
        EngineProcess(["/no/such/program"], os.environ, tmp_path / "log", 1.0)
    assert list(scratch.iterdir()) == []


def test_a_log_keeps_its_ends_and_what_comes_after(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first\n" + b"x" * 1600 + b"\nlast\n")
    log = os.open(path, os.O_RDWR | os.O_APPEND)
    guardian.trim(log, 10_000)
    assert path.stat().st_size == 6 + 1600 + 6
    guardian.trim(log, 1600)
    os.write(log, b"after\n")
    os.close(log)
    head, note, tail = path.read_bytes().partition(b"\n[... 1112 bytes of this log were left out here ...]\n")
    assert note
    assert head == b"first\n" + b"x" * 94
    assert tail == b"x" * 394 + b"\nlast\nafter\n"


def test_a_guardian_that_is_stopped_goes_on_to_stop_the_engine(start: Start, mark: str) -> None:
    process = start(f"{READY}time.sleep(60)")
    os.kill(process._guardian.pid, signal.SIGSTOP)
    process.stop()
    assert process.exit_code == -signal.SIGTERM
    assert gone(mark)


@pytest.mark.parametrize(("end", "code"), [("time.sleep(60)", None), ("os._exit(3)", 3)])
def test_only_an_end_of_its_own_has_an_exit_code_that_tells_something(
    start: Start, end: str, code: int | None
) -> None:
    process = start(f"{READY}{end}")
    while code is not None and process.is_alive():
        time.sleep(0.01)
    assert process.exit_code_by_itself() == code
    process.stop()
    assert process.exit_code_by_itself() == code


def test_an_orphan_in_another_session_does_not_outlive_a_killed_guardian(start: Start, mark: str) -> None:
    process = start(
        "if not os.fork():\n    os.setsid()\n    if os.fork():\n        os._exit(0)\n    time.sleep(60)\n"
        f"os.wait()\n{READY}time.sleep(60)"
    )
    assert len(marked(mark)) >= 2
    os.kill(process._guardian.pid, signal.SIGKILL)
    process.stop()
    assert gone(mark, within_s=5)


def test_a_directory_for_temporary_files_that_was_chosen_for_the_engine_is_its_own(tmp_path: Path) -> None:
    (chosen := tmp_path / "chosen").mkdir()
    show = "import os, tempfile; print(tempfile.mkdtemp(), flush=True)"
    environment = {**os.environ, "TMPDIR": str(chosen)}
    process = EngineProcess([sys.executable, "-c", show], environment, tmp_path / "log", 1.0)
    while process.is_alive():
        time.sleep(0.01)
    process.stop()
    (made,) = chosen.iterdir()
    assert process.log_tail() == [str(made)]


def test_no_room_for_temporary_files_is_an_engine_that_cannot_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(EngineError, match="there is no directory for its temporary files"):
        EngineProcess([sys.executable, "-V"], os.environ, tmp_path / "log", 1.0)


SHARED = """
import mmap
def share(path, mode="w+b"):
    with open(path, mode) as file:
        if mode == "w+b":
            file.truncate(4096)
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
"""
needs_shared_memory = pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs /dev/shm")


@pytest.fixture
def shared(mark: str) -> Iterator[Path]:
    path = Path(f"/dev/shm/llmperf-test-{mark}")
    yield path
    path.unlink(missing_ok=True)


def wait_until_mapped(path: Path) -> None:
    def is_mapped() -> bool:
        found = False
        for maps in Path("/proc").glob("[0-9]*/maps"):
            with contextlib.suppress(OSError):
                found = found or str(path) in maps.read_text()
        return found

    while not is_mapped():
        time.sleep(0.01)


@needs_shared_memory
@pytest.mark.parametrize("whose", ["its own", "its child's", "its orphan's"])
def test_shared_memory_that_it_left_is_removed(whose: str, start: Start, shared: Path) -> None:
    wait = {
        "its own": f"kept = share({str(shared)!r})\n{READY}time.sleep(60)",
        "its child's": (
            f"if os.fork():\n {READY} time.sleep(60)\nkept = share({str(shared)!r})\ntime.sleep(60)"
        ),
        "its orphan's": (
            f"if os.fork() == 0:\n os.setsid()\n kept = share({str(shared)!r})\n time.sleep(60)\n"
            f"{READY}time.sleep(60)"
        ),
    }[whose]
    process = start(f"{SHARED}\n{wait}")
    wait_until_mapped(shared)
    process.stop()
    assert not shared.exists()


@needs_shared_memory
def test_a_model_that_is_kept_in_shared_memory_stays(start: Start, shared: Path) -> None:
    shared.write_bytes(b"GGUF")
    start(f"{SHARED}\nkept = share({str(shared)!r}, 'rb')\n{READY}time.sleep(60)").stop()
    assert shared.read_bytes() == b"GGUF"


@needs_shared_memory
@pytest.mark.parametrize("how", ["mapped", "linked"])
def test_shared_memory_that_somebody_else_has_as_well_stays(how: str, start: Start, shared: Path) -> None:
    process = start(f"{SHARED}\nkept = share({str(shared)!r})\n{READY}time.sleep(60)")
    wait_until_mapped(shared)
    second = shared.with_name(f"{shared.name}-2")
    with shared.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        if how == "linked":
            memory.close()
            second.hardlink_to(shared)
        process.stop()
        second.unlink(missing_ok=True)
        assert shared.exists()


@needs_shared_memory
def test_what_tidies_up_after_a_crash_has_a_moment_to_do_it(start: Start, shared: Path) -> None:
    code = (
        "from multiprocessing.shared_memory import SharedMemory\n"
        f"kept = SharedMemory({shared.name!r}, create=True, size=4096)\n"
        f"{READY}os.kill(os.getpid(), 9)"
    )
    process = start(code)
    process.stop()
    assert "ready" in process.log_tail()
    assert not shared.exists()


def test_a_log_is_for_its_owner_alone(start: Start, tmp_path: Path) -> None:
    start(f"{READY}time.sleep(60)").stop()
    assert (tmp_path / "engine.log").stat().st_mode & 0o777 == 0o600
