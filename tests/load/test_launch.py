"""The start of a server at a URL; llama.cpp's own is with the engines."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pytest_llmperf.declare.subject import Subject, parse_subject
from pytest_llmperf.engines.command import AnyCommand
from pytest_llmperf.engines.protocol import Description, Engine, Runtime
from pytest_llmperf.engines.url import OpenAiServer
from pytest_llmperf.errors import EngineError
from pytest_llmperf.load.launch import Launch
from pytest_llmperf.places.protocol import Place
from pytest_llmperf.places.url import ExistingServer
from tests.servers import TruthServer, Wire, dead_url, json_answer, scripted_server

URL = parse_subject("http://127.0.0.1:1")


@contextlib.contextmanager
def launched(
    url: str, subject: Subject | None = None, engine: Engine | None = None, place: Place | None = None
) -> Iterator[Launch]:
    started = Launch(
        subject or parse_subject(url),
        engine or OpenAiServer(),
        None,
        place=place or ExistingServer(),
        log=Path("/nowhere"),
        startup_timeout_s=0.3,
        request_timeout_s=10,
        waiting=lambda elapsed_s, line: None,
        watch=lambda sent, ended: None,
    )
    try:
        yield started
    finally:
        started.stop()


# --- the key ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ("", None),
        ("  \n", None),
        ("sk-abc", "sk-abc"),
        ("sk-abc\n", "sk-abc"),
        ("\t sk-abc \r\n", "sk-abc"),
        ("a.b_c~d+e/f==", "a.b_c~d+e/f=="),
    ],
)
def test_a_key_is_taken_without_the_blanks_around_it(
    said: str, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMPERF_API_KEY", said)
    assert OpenAiServer().api_key(URL) == key


def test_without_the_variable_there_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMPERF_API_KEY", raising=False)
    assert OpenAiServer().api_key(URL) is None


@pytest.mark.parametrize(
    "said",
    ["sk abc", "sk-äbc", "sk-abc\nX-Other: header", "sk\tabc", "sk\x7fabc", "sk\u00a0abc", "ключ", "a\x1bb"],
)
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(
    said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMPERF_API_KEY", said)
    with pytest.raises(EngineError) as caught:
        OpenAiServer().api_key(URL)
    assert str(caught.value) == "LLMPERF_API_KEY has blanks or odd characters in it; it is not shown here"
    assert caught.value.__cause__ is None


def test_a_key_that_is_refused_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMPERF_API_KEY", "schlüssel")
    with (
        TruthServer() as server,
        pytest.raises(EngineError, match="it is not shown here") as caught,
        launched(server.url),
    ):
        raise AssertionError
    assert "schlüssel" not in str(caught.value)


def test_the_key_goes_into_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMPERF_API_KEY", "sk-abc\n")
    seen = []

    def refuse(wire: Wire) -> None:
        seen.append((wire.request.path, wire.request.headers.get("authorization")))
        if wire.request.method == "GET":
            wire.send(json_answer("200 OK", {"data": [{"id": "m"}]}, "Connection: close"))
        else:
            wire.send(json_answer("403 Forbidden", {}, "Connection: close"))

    with (
        scripted_server(refuse, everything=True) as url,
        pytest.raises(
            EngineError, match=r"HTTP 403: '\{\}' \(LLMPERF_API_KEY is the key that is sent\)"
        ) as caught,
        launched(url),
    ):
        raise AssertionError
    assert {path for path, _ in seen} >= {"/v1/models", "/v1/completions"}
    assert {key for _, key in seen} == {"Bearer sk-abc"}
    assert "sk-abc" not in str(caught.value)


class Beside(ExistingServer):
    """A place whose server another one has started."""

    def __init__(self, url: str) -> None:
        self.url = url

    def start(self, engine: Engine, subject: Subject, runtime: Runtime, model: str, log: Path) -> Beside:
        return self


def test_the_key_in_the_flags_of_an_engine_goes_into_every_request_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLMPERF_API_KEY", "sk-of-another")
    seen = []

    def refuse(wire: Wire) -> None:
        seen.append((wire.request.path, wire.request.headers.get("authorization")))
        status = "200 OK" if wire.request.method == "GET" else "403 Forbidden"
        wire.send(json_answer(status, {"data": [{"id": "m"}]}, "Connection: close"))

    subject = parse_subject("command --ready /up -- ./serve {port} --api-key sk-own")
    with (
        scripted_server(refuse, everything=True) as url,
        pytest.raises(EngineError, match="HTTP 403") as caught,
        launched(url, subject, AnyCommand(), Beside(url)),
    ):
        raise AssertionError
    assert {path for path, _ in seen} >= {"/up", "/v1/models", "/v1/completions"}
    assert {key for _, key in seen} == {"Bearer sk-own"}
    assert "sk-own" not in str(caught.value)


def test_flags_that_are_refused_are_refused_before_anything_is_prepared() -> None:
    class Unprepared(ExistingServer):
        def prepare(self, engine: Engine, subject: Subject) -> Runtime:
            raise AssertionError

    subject = parse_subject("command -- ./serve --port 8000")
    with (
        pytest.raises(EngineError, match="nothing tells the server its port"),
        launched("", subject, AnyCommand(), Unprepared()),
    ):
        raise AssertionError


def test_the_time_in_which_an_engine_describes_itself_is_not_its_start() -> None:
    class Slow(AnyCommand):
        def describe(self, client: httpx.Client, model: str) -> Description:
            time.sleep(0.5)
            return super().describe(client, model)

    subject = parse_subject("command -- ./serve {port}")
    started = time.monotonic()
    with TruthServer() as server, launched(server.url, subject, Slow(), Beside(server.url)) as launch:
        took_s = time.monotonic() - started
        assert launch.startup_s is not None
        assert launch.startup_s["healthy"] < launch.startup_s["first_token"] < took_s - 0.5


# --- up, and gone -------------------------------------------------------------------------------------


def test_a_server_at_a_url_has_no_start_up_time_and_answers() -> None:
    with TruthServer() as server, launched(server.url) as launch:
        assert launch.startup_s is None
        launch.check_alive()
        launch.check_answering()


def test_a_server_that_has_gone_away_stopped_answering_and_the_connection_says_how() -> None:
    with contextlib.ExitStack() as stack:
        with TruthServer() as server:
            launch = stack.enter_context(launched(server.url))
        launch.check_alive()  # nothing of it can be known
        with pytest.raises(EngineError) as caught:
            launch.check_answering()
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        f"{server.url}: it stopped answering while it was measured "
        "(ConnectError: [Errno 111] Connection refused)"
    )
    assert lines[1] == f"server: {server.url}, which was not started from here"


def test_nobody_at_a_url_is_named_with_what_the_connection_said() -> None:
    with dead_url() as url, pytest.raises(EngineError) as caught, launched(url):
        raise AssertionError
    assert str(caught.value) == (
        f"{url}: nothing answers HTTP there; tried for 0.3 s (ConnectError: [Errno 111] Connection refused)\n"
        f"server: {url}, which was not started from here"
    )


@pytest.mark.parametrize(
    "interruption", [KeyboardInterrupt(), EngineError("no"), ValueError("odd")], ids=repr
)
def test_a_start_that_is_broken_off_leaves_no_connection(
    interruption: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    client = httpx.Client

    def kept(**options: object) -> httpx.Client:
        opened.append(client(**options))  # type: ignore[arg-type]
        return opened[-1]

    def broken(self: OpenAiServer, client: httpx.Client, model: str) -> None:
        raise interruption

    monkeypatch.setattr(httpx, "Client", kept)
    monkeypatch.setattr(OpenAiServer, "describe", broken)
    with TruthServer() as server, pytest.raises(type(interruption)), launched(server.url):
        raise AssertionError
    (control,) = opened
    assert control.is_closed


def test_stop_ends_the_server_even_if_its_connection_cannot_be_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped = threading.Event()
    with TruthServer() as server, launched(server.url) as launch:

        def fail() -> None:
            raise RuntimeError("closing failed")

        with monkeypatch.context() as patch:
            patch.setattr(launch.control, "close", fail)
            patch.setattr(launch.server, "stop", stopped.set)
            with pytest.raises(RuntimeError, match="closing failed"):
                launch.stop()
    assert stopped.is_set()
