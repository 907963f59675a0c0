"""What a bisection did, line by line, so that it goes on where it was interrupted.

::

    .llmperf/bisect/releases-0.22.1-0.24.0-3f2a9c1b/
        diary.jsonl     one event a line, each on the disk before the next begins
        pairs/001.json  the record of a pair
        logs/001.log    what pytest said meanwhile

The first event says what was asked. A search is deterministic given what it is answered, so it is begun anew
and answered from the diary as far as that goes (:class:`Replay`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import platform
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from pytest_llmperf.bisect.events import (
    Asked,
    Event,
    found_event,
    pair_event,
    pair_of,
    places,
    suspicion_event,
    unusable_event,
)
from pytest_llmperf.bisect.finding import Finding
from pytest_llmperf.bisect.pair import Oracle, Pair, Question
from pytest_llmperf.bisect.position import Position, Unusable
from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.environment import differences
from pytest_llmperf.keep.files import kept_for_one
from pytest_llmperf.keep.record import now
from pytest_llmperf.places.machine import ThisMachine, facts

KIND, VERSION = "llmperf_diary", 1
_FILE = "diary.jsonl"
_ANEW = "move it away to begin anew"


class Diary:
    """The diary of one bisection, open for writing; see :func:`keeping`."""

    def __init__(self, directory: Path, positions: Sequence[Position], events: list[Event]) -> None:
        self.directory, self.positions, self.events = directory, positions, events

    @property
    def pairs(self) -> list[Pair]:
        """All that are kept, in their order."""
        return [self.pair_of(event) for event in self.events if event["event"] == "pair"]

    def pair_of(self, event: Event) -> Pair:
        """The pair of an event; its record is where the diary is, wherever that was moved to."""
        pair = pair_of(event)
        return dataclasses.replace(pair, record=str(self.directory / pair.record) if pair.record else "")

    def event_of(self, pair: Pair) -> dict[str, Any]:
        event = pair_event(pair, self.positions)
        if pair.record and Path(pair.record).is_relative_to(self.directory):
            event["record"] = str(Path(pair.record).relative_to(self.directory))
        return event

    def write(self, kind: str, content: Mapping[str, Any]) -> None:
        """Append an event; it is on the disk when this returns. Raises :class:`StoreError`."""
        event = {"event": kind, "at": now().isoformat(timespec="seconds"), **content}
        path = self.directory / _FILE
        text = json.dumps(event, ensure_ascii=False) + "\n"
        try:
            with path.open("ab", buffering=0) as file:
                whole = file.tell()
                try:
                    # A lone surrogate, as in an argument that is not UTF-8, becomes its JSON escape.
                    _write_all(file, text.encode(errors="backslashreplace"))
                except OSError:
                    os.truncate(path, whole)  # of a full disk: what follows is to be a line of its own
                    raise
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror or error}") from None
        self.events.append(event)

    def interrupted(self, why: str) -> None:
        """Keep that it ends here for now."""
        self.write("interrupted", {"why": why})


@contextlib.contextmanager
def keeping(
    directory: Path, asked: Asked, positions: Sequence[Position], note: Callable[[str], None]
) -> Iterator[Diary]:
    """The diary in ``directory``, begun if there is none, for this process alone.

    ``note`` is told what a person should know of it. Raises :class:`StoreError` if another process writes it,
    if it is damaged or of another release, or if it is about something else than what is asked now.
    """
    with kept_for_one(directory, "the same bisection", "end it"):
        path = directory / _FILE
        with contextlib.suppress(OSError), (directory / ".gitignore").open("x") as file:
            file.write("*\n")  # wherever that is, nothing of it is meant to be committed
        events, whole = _read(path) if path.exists() else ([], 0)
        if path.exists() and path.stat().st_size > whole:
            note(f"{path}: its last line was cut off when it was written, and is left out")
            os.truncate(path, whole)
        diary = Diary(directory.absolute(), positions, events)
        content = {"asked": asked.as_json(), "positions": places(positions), "machine": _machine()}
        versions = {
            "pytest-llmperf": importlib.metadata.version("pytest-llmperf"),
            "python": platform.python_version(),
        }
        if not events:
            diary.write("begun", {KIND: VERSION, **content, "versions": versions})
        else:
            _check(path, events[0], content)
            if events[0]["versions"] != versions:
                was = ", ".join(differences(events[0]["versions"], versions))
                note(f"this bisection was begun with another version of what measures: {was}")
            diary.write("resumed", {"versions": versions})
        yield diary


def read_diary(directory: Path) -> list[Event]:
    """The events of a diary, whoever writes it now. Raises :class:`StoreError`."""
    path = directory / _FILE
    if not path.exists():
        raise StoreError(f"{directory} has no {_FILE}: it is not the directory of a bisection")
    events, _ = _read(path)
    if not events:
        raise StoreError(f"{path} is empty: nothing has been measured")
    return events


def newest(directory: Path) -> Path:
    """The bisection in ``directory`` that was written last. Raises :class:`StoreError` if there is none."""
    found = parts(directory)
    if not found:
        raise StoreError(f"{directory} has no bisection; llmperf bisect makes one")
    return found[-1]


def parts(directory: Path) -> list[Path]:
    """Where there are diaries in ``directory``, the one that was written last at the end: bisections, or of
    one of them the further lines of flags, or the commits that git asked for."""
    found = sorted(directory.glob(f"*/{_FILE}"), key=lambda path: path.stat().st_mtime_ns)
    return [path.parent for path in found]


def _read(path: Path) -> tuple[list[Event], int]:
    """The events, and the length of the lines that have them: without a last one that is cut off."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from None
    events: list[Event] = []
    whole = 0
    lines = content.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        try:
            event = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            event = None
        if event is None and number == len(lines):
            break
        if not isinstance(event, dict):
            raise StoreError(f"{path} is damaged in line {number}: restore it, or {_ANEW}")
        if not events:
            _check_kind(path, event)
        events.append(event)
        whole += len(line)
    if not events and content and not b'{"event": "begun"'.startswith(content[:17]):
        raise StoreError(f"{path} is not a diary of ours: {_ANEW}")
    try:
        for event in events:
            if event["event"] == "pair":
                pair_of(event)
            elif event["event"] == "unusable":
                _unusable(event), _asked(event)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path} is damaged ({type(error).__name__}: {error}): {_ANEW}") from None
    return events, whole


def _write_all(file: IO[bytes], content: bytes) -> None:
    while content:
        content = content[file.write(content) :]


def _check_kind(path: Path, first: Event) -> None:
    if KIND not in first:
        raise StoreError(f"{path} is not a diary of ours (no {KIND!r} in it): {_ANEW}")
    if first[KIND] != VERSION:
        raise StoreError(
            f"{path} has {KIND} version {first[KIND]!r}, this release reads version {VERSION}: use the "
            f"release that wrote it, or {_ANEW}"
        )


def _check(path: Path, begun: Event, content: Mapping[str, Any]) -> None:
    """Raise :class:`StoreError` unless both are about the same."""
    if begun["asked"] != content["asked"]:
        was = {name: str(value) for name, value in begun["asked"].items()}
        asked = {name: str(value) for name, value in content["asked"].items()}
        raise StoreError(f"{path} is of another question ({'; '.join(differences(was, asked))}): {_ANEW}")
    before, after = ([one["name"] for one in told["positions"]] for told in (begun, content))
    if before != after:
        new = [name for name in after if name not in before]
        gone = [name for name in before if name not in after]
        what = [f"new: {', '.join(new)}"] if new else []
        what += [f"gone: {', '.join(gone)}"] if gone else []
        told = "; ".join(what) or "in another order"
        raise StoreError(f"{path}: what lies between the ends is not what it was ({told}): {_ANEW}")
    if unlike := differences(begun["machine"], content["machine"]):
        raise StoreError(
            f"{path} was begun on another machine, and measurements of unlike ones are never put together "
            f"({'; '.join(unlike)}): go on there, or {_ANEW}"
        )


def _machine() -> dict[str, str]:
    return facts(ThisMachine(), ())


class Replay:
    """Answers from a diary as long as it has one for the same two positions, each once and in their order;
    then asks ``oracle``, and writes down what it says. See :class:`~pytest_llmperf.bisect.pair.Oracle`."""

    def __init__(self, oracle: Oracle, diary: Diary, *, retries_unusable: bool = False) -> None:
        """``retries_unusable``: what could not be measured is tried again."""
        self._oracle, self._diary = oracle, diary
        self._kept: dict[tuple[int, int], deque[Event]] = {}
        self.is_fresh = False
        """Whether the last answer was measured, and not kept."""
        self.last: Pair | None = None
        if retries_unusable and any(event["event"] == "unusable" for event in diary.events):
            diary.write("retried", {})
        for event in diary.events:
            if event["event"] in ("pair", "unusable"):
                self._kept.setdefault(_asked(event), deque()).append(event)
            elif event["event"] == "retried":
                for asked, kept in self._kept.items():
                    self._kept[asked] = deque(one for one in kept if one["event"] == "pair")

    def knows(self, left: int, right: int) -> bool:
        """Whether what these two are asked next is answered from the diary."""
        return bool(self._kept.get((left, right)))

    def compare(self, left: int, right: int) -> Pair:
        """Raises what the oracle raises, and :class:`StoreError` if its answer cannot be kept."""
        if kept := self._kept.get((left, right)):
            self.is_fresh = False
            event = kept.popleft()
            if event["event"] == "pair":
                self.last = self._diary.pair_of(event)
                return self.last
            raise _unusable(event)
        began = time.monotonic()
        positions = self._diary.positions
        self.is_fresh = True
        try:
            pair = self._oracle.compare(left, right)
        except Unusable as error:
            took = round(time.monotonic() - began, 3)
            event = unusable_event(error.position, error.why, (left, right), took, positions)
            self._diary.write("unusable", event)
            # As it will be read again: the budget ends at the same pair then.
            raise Unusable(error.position, error.why, took) from None
        self._diary.write("pair", self._diary.event_of(pair))
        self.last = pair
        return pair

    def suspected(self, question: Question | None, suspects: Sequence[int], confidence: float) -> None:
        """Keep what is believed after the last answer, for who reads the diary; not if that was kept, or if
        nothing is believed yet."""
        if self.is_fresh and question is not None and suspects:
            event = suspicion_event(question, suspects, confidence, self._diary.positions)
            self._diary.write("suspicion", event)

    def found(self, finding: Finding) -> None:
        """Keep what it came to, unless the diary ends with that."""
        event = found_event(finding, self._diary.positions)
        last = next((e for e in reversed(self._diary.events) if e["event"] not in ("begun", "resumed")), {})
        if last.get("event") != "found" or any(last[name] != event[name] for name in ("outcome", "suspects")):
            self._diary.write("found", event)


def _unusable(event: Event) -> Unusable:
    return Unusable(int(event["position"]["index"]), str(event["why"]), float(event["seconds"]))


def _asked(event: Event) -> tuple[int, int]:
    return int(event["left"]["index"]), int(event["right"]["index"])
