"""Leases between real processes, and what others may put in their place."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.leases import Holder, Leases, describe
from pytest_llmperf.places.process import EngineProcess
from tests.leftovers import open_files

HOLD = """
import sys, time
from pathlib import Path
from pytest_llmperf.places.leases import Leases
leases = Leases(Path(sys.argv[1]))
held = [leases.take_now(name, "vllm==0.24.0") for name in sys.argv[2:]]
print(*(lease is not None for lease in held), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def leases(tmp_path: Path) -> Leases:
    return Leases(tmp_path / "leases", timeout_s=30)


@contextmanager
def another(leases: Leases, *names: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds leases until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(leases.directory), *names],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def impatient(elapsed_s: float, told: str) -> None:
    raise TimeoutError(told)


def names(*labels: str) -> dict[str, str]:
    return {f"gpu-{label}": label for label in labels}


def test_what_another_process_holds_is_not_to_be_had(leases: Leases) -> None:
    with another(leases, "gpu-0") as holder:
        assert leases.take_now("gpu-0", "me") is None
        assert leases.take_now("gpu-1", "me") is not None
        holder.communicate("")
        assert leases.take_now("gpu-0", "me") is not None


def test_it_is_free_when_its_holder_is_killed(leases: Leases) -> None:
    with another(leases, "gpu-0") as holder:
        holder.kill()
        holder.wait()
        assert leases.take_now("gpu-0", "me") is not None


def test_in_this_process_it_is_had_once(leases: Leases) -> None:
    lease = leases.take_now("gpu-0", "me")
    assert lease is not None
    assert leases.own("gpu-0") is lease
    assert leases.take_now("gpu-0", "me") is None
    lease.release()
    lease.release()
    assert leases.own("gpu-0") is None
    again = leases.take_now("gpu-0", "me")
    assert again is not None


def test_one_that_nobody_knows_any_more_is_given_back(leases: Leases) -> None:
    before = open_files()
    assert leases.take_now("gpu-0", "me") is not None
    gc.collect()
    assert leases.take_now("gpu-0", "me") is not None
    gc.collect()
    assert open_files() == before


def test_who_waits_is_told_for_whom(leases: Leases) -> None:
    with another(leases, "gpu-0") as holder:
        with pytest.raises(TimeoutError) as caught:
            leases.take(names("0"), 1, "me", "a GPU", impatient)
        assert re.fullmatch(
            rf"a GPU: 0 is leased by python \(pid {holder.pid}, vllm==0\.24\.0, for \d+ s\)",
            str(caught.value),
        )


def test_the_wait_has_an_end(leases: Leases) -> None:
    leases.timeout_s = 0.3
    with another(leases, "gpu-0", "gpu-1"):
        with pytest.raises(EngineError) as caught:
            leases.take(names("0", "1"), 1, "me", "a GPU", lambda *told: None)
        assert "waited 0.3 s (--llmperf-lease-timeout) for a GPU: 0, 1 are leased by python" in str(
            caught.value
        )


def test_who_waits_goes_on_when_it_is_free(leases: Leases) -> None:
    waited = []
    with another(leases, "gpu-0") as holder:

        def waiting(elapsed_s: float, told: str) -> None:
            waited.append(told)
            holder.kill()

        taken = leases.take(names("0"), 1, "me", "a GPU", waiting)
    assert list(taken) == ["gpu-0"]
    assert waited


def test_any_that_is_free_will_do(leases: Leases) -> None:
    with another(leases, "gpu-0", "gpu-2"):
        assert list(leases.take(names("0", "1", "2", "3"), 2, "me", "2 GPUs", impatient)) == [
            "gpu-1",
            "gpu-3",
        ]


def test_all_or_none(leases: Leases) -> None:
    with another(leases, "gpu-1"):
        with pytest.raises(TimeoutError):
            leases.take(names("0", "1"), 2, "me", "2 GPUs", impatient)
        assert leases.take_now("gpu-0", "me") is not None


def test_two_that_want_the_same_two_both_get_them(leases: Leases) -> None:
    code = """
import sys, time
from pathlib import Path
from pytest_llmperf.places.leases import Leases
leases = Leases(Path(sys.argv[1]), timeout_s=60)
for _ in range(10):
    taken = leases.take({"gpu-0": "0", "gpu-1": "1"}, 2, "x", "2 GPUs", lambda *told: None)
    path = Path(sys.argv[1], "inside")
    path.open("x").close()
    time.sleep(0.01)
    path.unlink()
    for lease in taken.values():
        lease.release()
"""
    argv = [sys.executable, "-c", code, str(leases.directory)]
    rivals = [subprocess.Popen(argv) for _ in range(3)]
    assert [rival.wait(120) for rival in rivals] == [0, 0, 0]


def test_to_wait_for_oneself_is_refused_at_once(leases: Leases) -> None:
    held = leases.take_now("gpu-0", "first")
    with pytest.raises(EngineError, match=r"would wait for itself: 0 is leased by .*pid \d+, first"):
        leases.take(names("0"), 1, "second", "a GPU", impatient)
    with another(leases, "gpu-1"), pytest.raises(TimeoutError):  # that one may still come
        leases.take(names("0", "1"), 1, "second", "a GPU", impatient)
    assert held is not None


def test_a_child_does_not_wait_for_its_parent(leases: Leases) -> None:
    held = leases.take_now("gpu-0", "first")
    code = """
import sys
from pathlib import Path
from pytest_llmperf.places.leases import Leases
Leases(Path(sys.argv[1])).take({"gpu-0": "0"}, 1, "x", "a GPU", lambda *told: None)
"""
    argv = [sys.executable, "-c", code, str(leases.directory)]
    child = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert "would wait for itself" in child.stderr
    assert held is not None


def test_an_engine_keeps_it_until_it_has_ended(leases: Leases, tmp_path: Path) -> None:
    code = f"""
import os, sys, time
from pathlib import Path
from pytest_llmperf.places.leases import Leases
from pytest_llmperf.places.process import EngineProcess
lease = Leases(Path({str(leases.directory)!r})).take_now("gpu-0", "slow")
engine = "import signal, time; signal.signal(15, lambda *_: (time.sleep(1), os._exit(0)));"
engine = "import os;" + engine + "print('up', flush=True); time.sleep(60)"
process = EngineProcess([sys.executable, "-c", engine], os.environ, Path("log"), 10.0, [lease.fd])
while process.log_tail() != ["up"]:
    time.sleep(0.01)
print(process.pid, flush=True)
time.sleep(60)
"""
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        engine = int(holder.stdout.readline())
        holder.send_signal(signal.SIGKILL)
    assert leases.take_now("gpu-0", "me") is None
    with pytest.raises(TimeoutError, match="which has ended: its engine is being stopped"):
        leases.take(names("0"), 1, "me", "a GPU", impatient)
    assert Path(f"/proc/{engine}").exists()
    taken = leases.take(names("0"), 1, "me", "a GPU", lambda *told: None)
    assert list(taken) == ["gpu-0"]
    assert not Path(f"/proc/{engine}").exists()


def test_an_engine_itself_does_not_inherit_it(leases: Leases, tmp_path: Path) -> None:
    lease = leases.take_now("gpu-0", "me")
    assert lease is not None
    code = "import os; print([os.readlink(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd')[:-1]])"
    process = EngineProcess([sys.executable, "-c", code], os.environ, tmp_path / "log", 1.0, [lease.fd])
    while process.is_alive():
        time.sleep(0.01)
    process.stop()
    assert "log" in process.log_tail()[0]
    assert "lease" not in process.log_tail()[0]


# --- what others put there ----------------------------------------------------------------------------


def test_all_users_may_use_the_directory_and_remove_only_their_own(leases: Leases) -> None:
    umask = os.umask(0o077)
    try:
        lease = leases.take_now("gpu-0", "me")
    finally:
        os.umask(umask)
    assert lease is not None
    assert stat.S_IMODE(leases.directory.stat().st_mode) == 0o1777
    assert stat.S_IMODE((leases.directory / "gpu-0.lease").stat().st_mode) == 0o666


def test_a_name_is_no_path(leases: Leases) -> None:
    assert leases.take_now("../up/MIG-a/1", "me") is not None
    assert os.listdir(leases.directory) == [".._up_MIG-a_1.lease"]


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "directory", "pipe"])
def test_what_is_no_ordinary_file_is_refused_and_untouched(kind: str, leases: Leases, tmp_path: Path) -> None:
    leases.directory.mkdir()
    victim = tmp_path / "victim"
    if kind != "dangling link":
        victim.write_text("precious")
    path = leases.directory / "gpu-0.lease"
    if "link" in kind and kind != "hard link":
        path.symlink_to(victim)
    elif kind == "hard link":
        path.hardlink_to(victim)
    elif kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(EngineError, match=r"gpu-0\.lease .*; remove that file, or .*--llmperf-lease-dir"):
        leases.take_now("gpu-0", "me")
    assert victim.exists() == (kind != "dangling link")
    assert not victim.exists() or victim.read_text() == "precious"


@pytest.mark.parametrize("kind", ["link", "file"])
def test_the_directory_is_none_of_somebody_elses_choosing(kind: str, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    path = tmp_path / "leases"
    if kind == "link":
        path.symlink_to(tmp_path / "real")
    else:
        path.write_text("")
    with pytest.raises(EngineError, match=r"directory of leases .* cannot be used: .*--llmperf-lease-dir"):
        Leases(path).take_now("gpu-0", "me")
    assert os.listdir(tmp_path / "real") == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_users_lease_from_each_other() -> None:
    hold = HOLD.replace("leases =", "import os; os.setuid(65534)\nleases =", 1)
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        os.chmod(directory, 0o755)
        leases = Leases(Path(directory, "leases"))
        first = leases.take_now("gpu-0", "root's")
        argv = [sys.executable, "-c", hold, str(leases.directory), "gpu-0", "gpu-1"]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "False True\n"
            with pytest.raises(TimeoutError, match=f"pid {other.pid}, vllm==0.24.0"):
                leases.take(names("1"), 1, "me", "a GPU", impatient)
            other.communicate("")
        assert first is not None
        first.release()
        both = subprocess.run(argv, input="", capture_output=True, text=True)
        assert both.stdout == "True True\n"
        assert leases.take_now("gpu-1", "me") is not None


@pytest.mark.skipif(os.getuid() == 0, reason="root may do everything")
def test_a_file_that_may_only_be_read_is_enough(leases: Leases) -> None:
    leases.directory.mkdir()
    path = leases.directory / "gpu-0.lease"
    path.touch(0o444)
    with another(leases, "gpu-0"):
        assert leases.take_now("gpu-0", "me") is None
    path.chmod(0)
    with pytest.raises(EngineError, match="Permission denied"):
        leases.take_now("gpu-0", "me")


def test_a_file_that_is_removed_while_it_is_held_is_no_way_to_lock_it_twice(leases: Leases) -> None:
    with another(leases, "gpu-0"):
        (leases.directory / "gpu-0.lease").unlink()
        # Who removes it takes the lock away from the holder; of those who come now, one gets it.
        first = leases.take_now("gpu-0", "me")
        assert first is not None
        assert leases.take_now("gpu-0", "me") is None


@pytest.mark.parametrize(
    "text",
    ["", "gone", "[]", "{}", "null", '{"pid": 1}', "[" * 4000, "\0\xff", '{"program": 1, "pid": "x"}'],
    ids=lambda text: text[:10],
)
def test_a_file_that_says_nothing_sensible_is_a_holder_all_the_same(text: str, leases: Leases) -> None:
    with another(leases, "gpu-0"):
        (leases.directory / "gpu-0.lease").write_text(text)
        with pytest.raises(TimeoutError, match="0 is leased by a process that did not say who it is"):
            leases.take(names("0"), 1, "me", "a GPU", impatient)


def test_what_a_holder_says_moves_no_cursor_and_is_not_long() -> None:
    told = {"program": "\x1b[2Jevil" + "x" * 500, "pid": os.getpid(), "engine": "a\nb", "since": time.time()}
    said = str(Holder.read(json.dumps(told)))
    assert said.isprintable()
    assert len(said) < 200
    assert "a b" in said


@pytest.mark.parametrize("since", [-1e30, 1e30, "NaN", "Infinity", 0])
def test_a_time_that_cannot_be_is_not_told(since: object) -> None:
    told = json.dumps({"program": "p", "pid": os.getpid(), "engine": "e", "since": since}).replace(
        '"NaN"', "NaN"
    )
    assert str(Holder.read(told.replace('"Infinity"', "Infinity"))) == f"p (pid {os.getpid()}, e)"


@pytest.mark.parametrize(
    ("held_s", "told"), [(5, "5 s"), (720, "12 min"), (5400, "1 h 30 min"), (86_400, "24 h 00 min")]
)
def test_how_long_it_is_held(held_s: float, told: str) -> None:
    holder = Holder("pytest", os.getpid(), "vllm", time.time() - held_s)
    assert str(holder) == f"pytest (pid {os.getpid()}, vllm, for {told})"


def test_one_holder_of_several_is_named_once() -> None:
    one, other = Holder("a"), Holder("b")
    assert describe({"0": one, "1": one, "2": other}) == "0, 1 are leased by a; 2 is leased by b"
