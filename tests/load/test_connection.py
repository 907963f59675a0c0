from __future__ import annotations

import errno
import itertools
import os
import re
import select
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import trustme
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pytest_llmperf.load.connection import KERNEL_STAMPS, Connection
from pytest_llmperf.load.decode import decode
from pytest_llmperf.load.request import Request
from pytest_llmperf.load.target import Target
from tests.load.asking import TOKENS, answer_of, ask, driver, exchange_with, saying
from tests.servers import (
    DONE,
    TruthServer,
    Wire,
    chunk,
    dead_url,
    head,
    json_answer,
    scripted_server,
)

CHUNKED = "Transfer-Encoding: chunked"
SHORT_S = 0.5
"""For an exchange that must time out."""


@pytest.fixture(scope="module")
def echo() -> Iterator[Target]:
    """A server that says what each request tells it to, and closes the connection."""
    with scripted_server("say") as url:
        yield Target.of(url)


# --- where a response ends ----------------------------------------------------------------------------


class Dialogue:
    """A connection and the other end of it, in step: each piece that is said is one read."""

    def __init__(self, limit_bytes: int = 1_000_000) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        target = Target.of(f"http://127.0.0.1:{listener.getsockname()[1]}")
        self.connection = Connection(target, Request("r-0", b"ask", 1), limit_bytes)
        self.peer, _ = listener.accept()
        listener.close()
        self.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        select.select([], [self.connection], [])
        self.connection.on_writable()

    def __enter__(self) -> Dialogue:
        return self

    def __exit__(self, *error: object) -> None:
        self.connection.close()
        self.peer.close()

    def say(self, data: bytes, size: int) -> None:
        """In pieces of ``size`` bytes, as far as the connection is not ended."""
        for start in range(0, len(data), size):
            if self.connection.is_ended:
                break
            self.peer.sendall(data[start : start + size])
            select.select([self.connection], [], [])
            self.connection.on_readable(time.monotonic_ns())

    @property
    def received(self) -> bytes:
        return b"".join(data for _, _, data in self.connection.reads)


sizes = pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])


@sizes
def test_the_last_chunk_ends_a_response_however_it_is_split(size: int) -> None:
    body = (b"data: 0\r\n\r\n", DONE, b"")
    whole = head("200 OK", "text/event-stream", CHUNKED) + b"".join(map(chunk, body))
    with Dialogue() as dialogue:
        dialogue.say(whole[:-1], size)
        assert not dialogue.connection.is_ended
        dialogue.say(whole[-1:], size)
        assert dialogue.connection.is_ended
        assert dialogue.connection.failure is None
        assert dialogue.received == whole
        assert not dialogue.connection.has_failed


END_OF_CHUNKS = b"\r\n0\r\n\r\n"
bodies = st.lists(
    st.sampled_from([b"data: 0\r\n\r\n", b"0\r\n", b"\r\n", b"\r\n0", b"0", b"\n", b"data: x\n\n"]),
    max_size=4,
).map(b"".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(bodies), st.sets(st.integers(1, 30)))
@example([], set())
@example([], {1, 2, 3, 4, 5})
@example([b"data: 0"], {1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
def test_the_end_of_the_chunks_is_seen_however_the_last_bytes_are_split(
    contents: list[bytes], cuts: set[int]
) -> None:
    raw = b"".join(chunk(content) for content in contents if content) + chunk(b"")
    # As it would be if a chunk were just "0" and a line end, which no event ends with.
    assume(END_OF_CHUNKS not in raw[:-1])
    whole = head("200 OK", "text/event-stream", CHUNKED) + raw
    bounds = [0, *sorted(len(whole) - cut for cut in cuts if cut < len(whole)), len(whole)]
    with Dialogue() as dialogue:
        for start, end in itertools.pairwise(bounds):
            assert not dialogue.connection.is_ended
            dialogue.say(whole[start:end], 10_000)
        assert dialogue.connection.is_ended
        assert dialogue.connection.failure is None
        assert dialogue.received == whole
        assert len(dialogue.connection.reads) == len(bounds) - 1


@sizes
def test_a_content_length_ends_a_response_however_it_is_split(size: int) -> None:
    whole = json_answer("503 Busy", {"detail": "later"})
    with Dialogue() as dialogue:
        dialogue.say(whole[:-1], size)
        assert not dialogue.connection.is_ended
        dialogue.say(whole[-1:], size)
        assert dialogue.connection.is_ended
        assert dialogue.received == whole
        assert dialogue.connection.has_failed


def test_every_read_has_a_stamp_of_its_own_in_order() -> None:
    with Dialogue() as dialogue:
        dialogue.say(head() + DONE, 5)
        stamps = [stamp for stamp, _, _ in dialogue.connection.reads]
        assert stamps == sorted(stamps)
        assert len(set(stamps)) == len(stamps) > 10


def test_every_read_knows_a_moment_at_which_nothing_of_it_was_there() -> None:
    with Dialogue() as dialogue:
        moments = [time.monotonic_ns()]
        for piece in (head(), DONE):
            dialogue.peer.sendall(piece)
            select.select([dialogue.connection], [], [])
            dialogue.connection.on_readable(moments[-1])
            moments.append(time.monotonic_ns())
        assert [since for _, since, _ in dialogue.connection.reads] == moments[:-1]


def test_what_one_read_could_not_take_was_there_since_that_one() -> None:
    with Dialogue() as dialogue:
        dialogue.peer.sendall(b"x" * 40_000)
        # More than one read takes, and all of it.
        while len(dialogue.connection._socket.recv(40_000, socket.MSG_PEEK)) < 40_000:
            time.sleep(0.001)
        for moment in (1, 2):
            dialogue.connection.on_readable(moment)
        dialogue.peer.sendall(b"y")
        select.select([dialogue.connection], [], [])
        dialogue.connection.on_readable(3)
        assert [(since, len(data)) for _, since, data in dialogue.connection.reads] == [
            (1, 32 * 1024),
            (1, 40_000 - 32 * 1024),
            (3, 1),
        ]


@pytest.mark.skipif(not KERNEL_STAMPS, reason="needs the kernel's receive stamps")
def test_a_read_of_what_came_in_pieces_has_the_stamp_of_the_last_piece() -> None:
    with Dialogue() as dialogue:
        dialogue.peer.sendall(b"HTTP/1.1 ")
        select.select([dialogue.connection], [], [])
        between_ns = time.time_ns()
        dialogue.peer.sendall(b"200 OK\r\n")
        while len(dialogue.connection._socket.recv(99, socket.MSG_PEEK)) < 17:
            time.sleep(0.001)
        dialogue.connection.on_readable(1)
        ((stamp, _, data),) = dialogue.connection.reads
        assert data == b"HTTP/1.1 200 OK\r\n"
        assert between_ns <= stamp <= time.time_ns()


@pytest.mark.skipif(not KERNEL_STAMPS, reason="needs the kernel's receive stamps")
def test_data_is_stamped_when_it_arrives_not_when_it_is_read() -> None:
    with Dialogue() as dialogue:
        dialogue.peer.sendall(head())
        select.select([dialogue.connection], [], [])
        arrived_ns = time.time_ns()
        time.sleep(0.05)  # a process that comes late to its reading
        dialogue.connection.on_readable(time.monotonic_ns())
        ((stamp, _, _),) = dialogue.connection.reads
        assert stamp <= arrived_ns
        (lag_ns,) = dialogue.connection.read_lags_ns
        assert 50_000_000 <= lag_ns < 1_000_000_000


def test_the_first_end_decides_how_it_ended() -> None:
    with Dialogue() as dialogue:
        dialogue.connection.end("timeout: first")
        ended_ns = dialogue.connection.ended_ns
        dialogue.connection.end()
        assert dialogue.connection.failure == "timeout: first"
        assert dialogue.connection.ended_ns == ended_ns


def test_the_last_chunk_ends_a_response_on_a_connection_that_stays_open() -> None:
    with TruthServer(keep_alive=True) as server:
        assert answer_of(server.url).error is None


def test_a_content_length_ends_a_response_on_a_connection_that_stays_open() -> None:
    with scripted_server("server_error_and_hang") as url:
        assert answer_of(url).error == 'HTTP 500: \'{"error": {"message": "CUDA out of memory"}}\''


def test_more_than_the_content_length_is_no_reason_to_wait() -> None:
    with scripted_server("long_body") as url:
        error = answer_of(url).error
    assert error is not None
    assert error.startswith("HTTP 500: 'oops")


def test_the_end_of_the_connection_ends_a_response_without_framing() -> None:
    with TruthServer(chunked=False) as server:
        assert answer_of(server.url).error is None


@pytest.mark.parametrize("length", [b"9" * 5000, b"-1", b"+4", b"0x10", b"", b"\xb2"])
def test_a_content_length_that_is_no_length_ends_nothing(length: bytes) -> None:
    response = b"HTTP/1.1 500 Oops\r\nContent-Length: " + length + b"\r\n\r\nwhat"
    with Dialogue() as dialogue:
        dialogue.say(response, 10_000)
        assert not dialogue.connection.is_ended
        assert dialogue.received == response


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.sampled_from([head(), b"\r\n\r\n", b"Content-Length: ", b"9", b"\xb2"]) | st.binary(max_size=20)
    )
)
def test_a_connection_hands_over_whatever_it_reads(echo: Target, pieces: list[bytes]) -> None:
    response = b"".join(pieces)
    done = exchange_with(echo, saying(echo, response))
    received = b"".join(data for _, data in done.reads)
    assert done.failure is None
    assert response.startswith(received)
    decode(done)


# --- how it can fail ----------------------------------------------------------------------------------


def test_a_refused_connection_says_so() -> None:
    with dead_url() as url:
        trace = answer_of(url)
    assert trace.error == "connect: Connection refused"
    assert trace.sent_ns == 0
    assert trace.first_byte_ns is None


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("reset", "reset: Connection reset by peer"),
        ("reset_in_stream", "reset: Connection reset by peer"),
        ("hang_before_head", "timeout: not complete after 0.5 s"),
        ("hang_after_head", "timeout: not complete after 0.5 s"),
        ("hang_in_stream", "timeout: not complete after 0.5 s"),
    ],
)
def test_a_response_that_breaks_off_says_how(script: str, error: str) -> None:
    with scripted_server(script) as url:
        assert answer_of(url, timeout_s=SHORT_S).error == error


def test_a_time_out_keeps_the_tokens_that_came() -> None:
    with scripted_server("hang_in_stream") as url:
        assert len(answer_of(url, timeout_s=SHORT_S).token_ns) == 2


def test_a_flood_is_cut_off_at_the_limit() -> None:
    with scripted_server("flood") as url:
        target = Target.of(url)
        (done,) = driver(target, limit_bytes=100_000).open_loop([ask(target)], [0.0]).exchanges
    assert done.failure == "flood: more than 100000 bytes in one response"
    assert 100_000 < sum(len(data) for _, data in done.reads) < 200_000


@pytest.mark.parametrize(
    ("length", "failure"), [(999, None), (1000, None), (1001, "flood: more than 1000 bytes")]
)
def test_a_response_may_have_as_many_bytes_as_the_limit_says(length: int, failure: str | None) -> None:
    with Dialogue(limit_bytes=1000) as dialogue:
        dialogue.say(head() + b"x" * (length - len(head())), 10_000)
        assert dialogue.connection.is_ended is bool(failure)
        assert (dialogue.connection.failure or "").startswith(failure or "")


def test_a_response_that_ends_beyond_the_limit_is_a_flood_all_the_same() -> None:
    with Dialogue(limit_bytes=100) as dialogue:
        dialogue.say(json_answer("503 Busy", {"detail": "x" * 200}), 10_000)
        assert dialogue.connection.failure == "flood: more than 100 bytes in one response"


def test_an_error_before_the_whole_request_was_read_is_heard() -> None:
    def refuse(wire: Wire) -> None:
        wire.send(json_answer("413 Too Large", {"detail": "no"}))

    # So large that the sockets' buffers cannot hold it.
    body = {"stream": True, "prompt": "x" * 20_000_000}
    with scripted_server(refuse) as url:
        target = Target.of(url)
        large = Request("r-0", target.request("/v1/completions", body, "r-0"), 1)
        done = exchange_with(target, large)
    assert decode(done).error == 'HTTP 413: \'{"detail": "no"}\''


def test_a_request_larger_than_the_buffers_arrives_whole() -> None:
    prompt = "word " * 2_000_000
    with TruthServer() as server:
        target = Target.of(server.url)
        body = {"stream": True, "max_tokens": 1, "prompt": prompt}
        large = Request("large", target.request("/v1/completions", body, "large"), 1)
        done = exchange_with(target, large)
        assert decode(done).error is None
        assert server.log()["large"].body["prompt"] == prompt


@pytest.mark.parametrize("code", [errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM], ids=errno.errorcode.get)
def test_what_this_machine_lacks_is_not_the_servers_refusal(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket.socket, "connect_ex", lambda self, address: code)
    trace = answer_of("http://127.0.0.1:9")
    assert trace.error == f"client: {os.strerror(code)}"
    assert trace.error_kind == "client"
    assert trace.sent_ns == 0


@pytest.mark.parametrize("code", [errno.ENETUNREACH, errno.ECONNREFUSED], ids=errno.errorcode.get)
def test_a_connection_that_fails_at_once_for_the_networks_sake_says_so(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket.socket, "connect_ex", lambda self, address: code)
    assert answer_of("http://127.0.0.1:9").error == f"connect: {os.strerror(code)}"


# --- TLS ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def client_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.mark.parametrize("script", ["well", "several_per_write", "byte_per_write"])
def test_a_stream_through_tls_is_the_same_stream(
    script: str, server_side: ssl.SSLContext, client_side: ssl.SSLContext
) -> None:
    with scripted_server(script, tls=server_side) as url:
        target = replace(Target.of(url), tls=client_side)
        trace = decode(exchange_with(target, ask(target)))
    assert trace.error is None
    assert len(trace.token_ns) == TOKENS
    assert trace.due_ns <= trace.sent_ns < trace.token_ns[0] <= trace.token_ns[-1] <= trace.ended_ns


def test_tls_1_2_works_as_well(server_side: ssl.SSLContext, authority: trustme.CA) -> None:
    context = ssl.create_default_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    authority.configure_trust(context)
    with scripted_server("well", tls=server_side) as url:
        target = replace(Target.of(url), tls=context)
        assert decode(exchange_with(target, ask(target))).error is None


def test_many_at_once_through_tls_all_arrive(
    server_side: ssl.SSLContext, client_side: ssl.SSLContext
) -> None:
    with scripted_server("well", tls=server_side) as url:
        target = replace(Target.of(url), tls=client_side)
        drive = driver(target).open_loop([ask(target, number) for number in range(20)], [0.0] * 20)
    assert [decode(done).error for done in drive.exchanges] == [None] * 20


def test_a_large_answer_through_tls_is_decrypted_whole(
    server_side: ssl.SSLContext, client_side: ssl.SSLContext
) -> None:
    content = os.urandom(150_000).hex().encode()

    def answer(wire: Wire) -> None:
        wire.stream(b": " + content + b"\n\n", *wire.tokens(), wire.usage_event(), DONE)

    with scripted_server(answer, tls=server_side) as url:
        target = replace(Target.of(url), tls=client_side)
        done = exchange_with(target, ask(target))
    assert content in b"".join(data for _, data in done.reads)
    assert decode(done).error is None


def test_a_polite_end_of_tls_ends_a_response_on_a_connection_that_stays_open(
    server_side: ssl.SSLContext, client_side: ssl.SSLContext
) -> None:
    def say_goodbye(wire: Wire) -> None:
        wire.stream(*wire.tokens(), wire.usage_event(), DONE)
        wire.say_goodbye()
        wire.hang()

    with scripted_server(say_goodbye, tls=server_side) as url:
        target = replace(Target.of(url), tls=client_side)
        assert decode(exchange_with(target, ask(target))).error is None


def test_a_certificate_that_nobody_vouches_for_is_refused(server_side: ssl.SSLContext) -> None:
    with scripted_server("well", tls=server_side) as url:
        error = answer_of(url).error
    assert error is not None
    assert re.match(r"tls: .*(self.signed|unable to get local issuer)", error)


def test_a_certificate_of_another_host_is_refused(
    server_side: ssl.SSLContext, client_side: ssl.SSLContext
) -> None:
    with scripted_server("well", tls=server_side) as url:
        target = replace(Target.of(url), tls=client_side, host="example.test")
        error = decode(exchange_with(target, ask(target))).error
    assert error is not None
    assert error.startswith("tls: Hostname mismatch")


def test_a_server_without_tls_is_named_as_the_cause(client_side: ssl.SSLContext) -> None:
    with scripted_server("not_http_at_once") as url:
        target = replace(Target.of(url), tls=client_side)
        error = decode(exchange_with(target, ask(target))).error
    assert error is not None
    assert error.startswith("tls: [SSL")


def test_a_connection_closed_within_the_handshake_never_sent_its_request(client_side: ssl.SSLContext) -> None:
    with scripted_server("close_at_once") as url:
        target = replace(Target.of(url), tls=client_side)
        trace = decode(exchange_with(target, ask(target)))
    assert trace.error is not None
    assert trace.error_kind == "reset"
    assert trace.sent_ns == 0


def test_a_broken_record_within_the_stream_is_an_error_of_tls(
    server_side: ssl.SSLContext, client_side: ssl.SSLContext
) -> None:
    def garble(wire: Wire) -> None:
        wire.stream(wire.tokens()[0])
        wire.send_in_the_clear(b"not a TLS record at all")
        wire.hang()

    with scripted_server(garble, tls=server_side) as url:
        target = replace(Target.of(url), tls=client_side)
        trace = decode(exchange_with(target, ask(target)))
    assert trace.error_kind == "tls"
    assert len(trace.token_ns) == 1
