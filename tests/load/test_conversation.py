"""Requests that follow from each other's answers."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator

import pytest

from pytest_llmperf.load.connection import Connection
from pytest_llmperf.load.decode import answer, decode
from pytest_llmperf.load.driver import Drive
from pytest_llmperf.load.exchange import Exchange
from pytest_llmperf.load.request import Request
from pytest_llmperf.load.target import Target
from tests.leftovers import open_files
from tests.load.asking import driver
from tests.servers import TruthServer, dead_url, scripted_server

TOKENS = 3
REPLY = " t0 t1 t2"
PAUSES_S = (0.0, 0.03, 0.111)
"""Before the second, third and fourth turn; neither more nor less than connections are opened ahead."""


def say(target: Target, conversation: int, turn: int, heard: str = "") -> Request:
    name = f"c{conversation}-{turn}"
    message = {"role": "user", "content": f"{name} after{heard}"}
    body = {"messages": [message], "stream": True, "max_tokens": TOKENS}
    return Request(name, target.request("/v1/chat/completions", body, name), TOKENS)


def openings(target: Target) -> Iterator[Request]:
    return (say(target, number, 0) for number in itertools.count())


class Talk:
    """Conversations of ``turns`` turns each, that end early where an answer is missing."""

    def __init__(self, target: Target, turns: int = len(PAUSES_S) + 1) -> None:
        self._target, self._turns = target, turns
        self.heard: list[str] = []

    def __call__(self, ended: Connection) -> tuple[Request, float] | None:
        self.heard.append(ended.request.id)
        conversation, turn = map(int, ended.request.id.removeprefix("c").split("-"))
        reply = answer([(stamp, data) for stamp, _, data in ended.reads])
        if ended.has_failed or reply is None or turn + 1 == self._turns:
            return None
        return say(self._target, conversation, turn + 1, reply), PAUSES_S[turn]


def by_turns(drive: Drive) -> dict[int, list[Exchange]]:
    """Each conversation's exchanges in the order of their turns, of which none is missing."""
    found: dict[int, dict[int, Exchange]] = {}
    for done in drive.exchanges:
        conversation, turn = map(int, done.request.id.removeprefix("c").split("-"))
        assert turn not in found.setdefault(conversation, {})
        found[conversation][turn] = done
    assert all(sorted(turns) == list(range(len(turns))) for turns in found.values())
    return {number: [turns[turn] for turn in sorted(turns)] for number, turns in found.items()}


def follow_each_other(turns: list[Exchange]) -> bool:
    """Each is due after its pause: to the nanosecond if there is time to connect, or else when the connection
    stands. No earlier is it sent."""
    return all(
        after.sent_ns >= after.due_ns >= before.ended_ns + round(pause_s * 1e9)
        and (pause_s < 0.05 or after.due_ns == before.ended_ns + round(pause_s * 1e9))
        for (before, after), pause_s in zip(itertools.pairwise(turns), PAUSES_S, strict=False)
    )


def test_an_open_loop_of_conversations_holds_each_to_its_end() -> None:
    offsets = [0.0, 0.01, 0.2]
    with TruthServer(ttft_s=0.02, itl_s=0.005) as server:
        target = Target.of(server.url)
        talk = Talk(target)
        drive = driver(target, then=talk).open_loop(list(itertools.islice(openings(target), 3)), offsets)
        log = server.log()
    assert [decode(done).error for done in drive.exchanges] == [None] * 12
    conversations = by_turns(drive)
    assert sorted(conversations) == [0, 1, 2]
    start = drive.account.started_ns
    for number, turns in conversations.items():
        assert len(turns) == 4
        assert turns[0].due_ns == start + round(offsets[number] * 1e9)
        assert follow_each_other(turns)
        said = [log[done.request.id].body["messages"][0]["content"] for done in turns]
        assert said == [f"c{number}-0 after", *(f"c{number}-{turn} after{REPLY}" for turn in (1, 2, 3))]
        received = [log[done.request.id].received_ns for done in turns]
        assert received == sorted(received)
    assert sorted(talk.heard) == sorted(done.request.id for done in drive.exchanges)


@pytest.mark.parametrize(("concurrency", "count"), [(1, 4), (2, 8), (2, 7), (3, 2)])
def test_a_closed_loop_of_conversations_keeps_so_many_and_counts_their_turns(
    concurrency: int, count: int
) -> None:
    with TruthServer(ttft_s=0.03) as server:
        target = Target.of(server.url)
        talking = driver(target, then=Talk(target, turns=3))
        drive = talking.closed_loop(openings(target), concurrency, duration_s=None, count=count)
        assert server.peak() <= concurrency
        assert len(server.log()) == count
    assert [decode(done).error for done in drive.exchanges] == [None] * count
    conversations = by_turns(drive)
    assert all(map(follow_each_other, conversations.values()))
    assert all(len(turns) <= 3 for turns in conversations.values())
    # A conversation that is over makes room for the next one, and none before.
    starts = sorted((turns[0] for turns in conversations.values()), key=lambda done: done.due_ns)
    ends = sorted(turns[-1].ended_ns for turns in conversations.values() if len(turns) == 3)
    for opening, end_ns in zip(starts[concurrency:], ends, strict=False):
        assert opening.due_ns >= end_ns


def test_a_conversation_of_one_at_a_time_is_finished_before_the_next_begins() -> None:
    with TruthServer() as server:
        target = Target.of(server.url)
        talking = driver(target, then=Talk(target, turns=3))
        drive = talking.closed_loop(openings(target), 1, duration_s=None, count=9)
    ids = [done.request.id for done in drive.exchanges]
    assert ids == [f"c{conversation}-{turn}" for conversation in range(3) for turn in range(3)]


def test_a_duration_ends_conversations_too() -> None:
    with TruthServer(ttft_s=0.02) as server:
        target = Target.of(server.url)

        def on_and_on(ended: Connection) -> tuple[Request, float]:
            conversation, turn = map(int, ended.request.id.removeprefix("c").split("-"))
            return say(target, conversation, turn + 1), 0.0

        talking = driver(target, then=on_and_on)
        drive = talking.closed_loop(openings(target), 2, duration_s=0.4, count=None)
    until_ns = drive.account.started_ns + 400_000_000
    assert sorted(by_turns(drive)) == [0, 1]
    assert len(drive.exchanges) > 2
    assert all(done.due_ns < until_ns for done in drive.exchanges)
    assert [decode(done).error for done in drive.exchanges] == [None] * len(drive.exchanges)


@pytest.mark.parametrize("script", ["server_error", "reset", "unfinished", "error_in_stream"])
def test_a_failed_exchange_ends_its_conversation(script: str) -> None:
    with scripted_server(script, well_before=2) as url:
        target = Target.of(url)
        talk = Talk(target)
        drive = driver(target, then=talk).open_loop([say(target, 0, 0)], [0.0])
    assert [decode(done).error is None for done in drive.exchanges] == [True, True, False]
    assert talk.heard == ["c0-0", "c0-1", "c0-2"]


def test_the_others_go_on_when_one_conversation_has_failed() -> None:
    with scripted_server("server_error", well_before=5) as url:
        target = Target.of(url)
        drive = driver(target, then=Talk(target)).open_loop(
            list(itertools.islice(openings(target), 2)), [0.0, 0.3]
        )
    conversations = by_turns(drive)
    assert sum(decode(done).error is None for done in drive.exchanges) == 5
    for turns in conversations.values():
        assert all(decode(done).error is None for done in turns[:-1])


@pytest.mark.parametrize("script", ["close_at_once", "reset_at_once"])
def test_an_exchange_that_failed_before_it_was_due_may_be_followed_too(script: str) -> None:
    def once_more(ended: Connection) -> tuple[Request, float] | None:
        assert ended.has_failed
        return (say(target, 0, 1), 0.2) if ended.request.id == "c0-0" else None

    with scripted_server(script) as url:
        target = Target.of(url)
        drive = driver(target, then=once_more).open_loop([say(target, 0, 0)], [0.2])
    first, second = by_turns(drive)[0]
    assert second.due_ns == first.ended_ns + 200_000_000
    assert {decode(done).error_kind for done in (first, second)} <= {"reset", "connect"}


def test_nobody_there_ends_every_conversation_of_an_open_loop() -> None:
    with dead_url() as url:
        target = Target.of(url)
        talk = Talk(target)
        drive = driver(target, then=talk).open_loop(list(itertools.islice(openings(target), 5)), [0.0] * 5)
    assert len(drive.exchanges) == len(talk.heard) == 5


def test_a_closed_loop_of_hopeless_conversations_gives_up() -> None:
    with dead_url() as url:
        target = Target.of(url)

        def stubborn(ended: Connection) -> tuple[Request, float]:
            return ended.request, 0.0

        drive = driver(target, then=stubborn).closed_loop(openings(target), 2, duration_s=120, count=None)
    assert 40 <= len(drive.exchanges) <= 44


def test_what_then_raises_ends_the_run_and_leaves_no_file_open() -> None:
    def fail(ended: Connection) -> None:
        raise RuntimeError("no idea what to say")

    with TruthServer(ttft_s=0.05) as server:
        target = Target.of(server.url)
        before = open_files()
        with pytest.raises(RuntimeError, match="no idea"):
            driver(target, then=fail).open_loop(
                list(itertools.islice(openings(target), 20)), [0.01 * number for number in range(20)]
            )
        with pytest.raises(RuntimeError, match="no idea"):
            driver(target, then=fail).closed_loop(openings(target), 5, duration_s=60, count=None)
        assert open_files() == before
    assert gc.isenabled()
