"""Environments that are removed to make room: real directories, locks and processes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.cli import main
from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.places.environments import Environments
from pytest_llmperf.places.isolated import Isolated, Slot, use
from pytest_llmperf.places.packages import Packages
from pytest_llmperf.places.pruning import prune, readable, stored
from tests.places.conftest import Workshop
from tests.wheels import FakeEngine

KB = 1000
DAY_S = 24 * 3600.0


def environment(cache: Path, name: str, kilobytes: int, age_s: float, *, is_complete: bool = True) -> Path:
    """One of that size that was used so long ago."""
    directory = cache / name / "env"
    directory.mkdir(parents=True)
    (directory / "data").write_bytes(os.urandom(kilobytes * KB))
    (directory / "pyvenv.cfg").write_text("home = /usr\n")
    if is_complete:
        packages = Packages("1.0", (), "e", None)
        Slot(directory.parent, name).publish(Isolated(directory, packages))
    then = time.time() - age_s
    os.utime(directory / "pyvenv.cfg", (then, then))
    return directory


def names(cache: Path) -> list[str]:
    return sorted(one.name for one in stored(cache))


def test_what_was_not_used_for_the_longest_goes_first_and_no_more_than_has_to(tmp_path: Path) -> None:
    for name, age_s in (("new", 10.0), ("old", 3000.0), ("oldest", 90000.0), ("middle", 100.0)):
        environment(tmp_path, name, 100, age_s)
    assert [one.name for one in stored(tmp_path)] == ["new", "middle", "old", "oldest"]
    assert prune(tmp_path, 1000 * KB) == []
    gone = prune(tmp_path, 250 * KB)
    assert [one.name for one in gone] == ["oldest", "old"]
    assert names(tmp_path) == ["middle", "new"]
    assert not (tmp_path / "old" / "ready.json").exists()


def test_what_is_used_stays_and_counts_as_used_now(tmp_path: Path) -> None:
    used = environment(tmp_path, "used", 100, 90000.0)
    environment(tmp_path, "idle", 100, 10.0)
    with use(used):
        assert [one.name for one in stored(tmp_path)] == ["used", "idle"]
        assert [one.name for one in prune(tmp_path, 1)] == ["idle"]
        assert names(tmp_path) == ["used"]
    assert [one.name for one in prune(tmp_path, 1)] == ["used"]


def test_what_another_process_uses_stays_until_it_ends(tmp_path: Path) -> None:
    directory = environment(tmp_path, "used", 10, 90000.0)
    code = (
        "import sys; from pathlib import Path; from pytest_llmperf.places.isolated import use; "
        "kept = use(Path(sys.argv[1])); print('uses', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "uses\n"
        assert prune(tmp_path, 1) == []
        process.kill()
        process.wait()
    assert len(prune(tmp_path, 1)) == 1


@pytest.mark.parametrize("is_complete", [True, False])
def test_what_somebody_builds_stays(tmp_path: Path, is_complete: bool) -> None:
    environment(tmp_path, "one", 10, 2 * DAY_S, is_complete=is_complete)
    with (tmp_path / "one" / "lock").open("a") as lock:
        fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
        assert prune(tmp_path, 1) == []
    assert [one.is_complete for one in prune(tmp_path, 1)] == [is_complete]


def test_what_a_killed_build_left_goes_after_a_day_whatever_the_limit_is(tmp_path: Path) -> None:
    environment(tmp_path, "new", 10, DAY_S / 2, is_complete=False)
    environment(tmp_path, "old", 10, DAY_S * 2, is_complete=False)
    environment(tmp_path, "whole", 10, DAY_S * 9)
    (tmp_path / "begun" / "env").mkdir(parents=True)
    assert [one.name for one in prune(tmp_path, 1000 * KB)] == ["old"]
    assert names(tmp_path) == ["begun", "new", "whole"]


def test_one_that_two_slots_name_is_one_and_its_second_slot_finds_it_gone(tmp_path: Path) -> None:
    directory = environment(tmp_path, "first", 100, 10.0)
    second = Slot(tmp_path / "second", "first")
    second.publish(Isolated(directory, Packages("1.0", (), "e", None)))
    assert [one.name for one in stored(tmp_path)] == ["first"]
    prune(tmp_path, 1)
    with contextlib.ExitStack() as using:
        assert second.find(using) is None


def test_a_build_prunes_what_it_has_no_room_for_and_says_so(workshop: Workshop) -> None:
    before = workshop.runtime("fake==1.0")
    session = Environments(
        workshop.locks, lambda: workshop.logs, workshop.heard, workshop.heard.notes.append, limit=1
    )
    after = session.runtime_of(FakeEngine(), parse_subject("fake==1.1"))
    assert not Path(before.python).exists()
    assert Path(after.python).exists()
    (note,) = workshop.heard.notes
    assert note.startswith("removed from the cache of environments (--llmperf-cache-limit): fake-engine-1.0-")
    assert workshop.runtime("fake==1.0").version == "1.0"  # built again


def test_the_command_lists_and_prunes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = tmp_path / "llmperf" / "environments"
    assert main(["cache"]) == 0
    assert capsys.readouterr().out == f"0 environments, 0 kB, in {cache}\n"
    environment(cache, "a-1.0", 300, 90000.0)
    used = environment(cache, "b-2.0", 1500, 10.0)
    assert main(["cache"]) == 0
    _, first, second, total = capsys.readouterr().out.splitlines()
    assert first.endswith(" b-2.0")
    assert second.endswith(" a-1.0")
    assert first.split()[0].startswith("1.5")
    assert total.startswith("2 environments, 1.8")
    with use(used):
        assert main(["cache", "--limit", "1MB"]) == 1
    told = capsys.readouterr()
    assert told.out.startswith("removed ")
    assert "in use" in told.err
    assert main(["cache", "--limit", "1MB"]) == 0
    assert names(cache) == []


@pytest.mark.parametrize("size", ["50", "0GB", "GB", "-1GB", "5 XB", "nanGB"])
def test_a_size_that_is_none_is_refused(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["cache", f"--limit={size}"])
    assert caught.value.code == 2
    assert "a size, as in 50GB" in capsys.readouterr().err


def test_files_of_others_in_the_cache_are_left_alone(tmp_path: Path) -> None:
    environment(tmp_path, "one", 10, 10.0)
    (tmp_path / "note.txt").write_text("x")
    (tmp_path / "one" / "ready.json").write_text(json.dumps({"environment": 3}))
    assert [one.is_complete for one in stored(tmp_path)] == [False]
    assert prune(tmp_path, 1) == []
    assert (tmp_path / "note.txt").exists()


@given(st.integers(0, 10**14))
def test_a_size_reads_as_three_digits_of_it(size: int) -> None:
    number, unit = readable(size).split()
    shown = float(number) * {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}[unit]
    assert abs(shown - size) <= max(0.006 * size, 1)
