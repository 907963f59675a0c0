from __future__ import annotations

import json
import pickle
import socket
import ssl
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.errors import EngineError
from pytest_llmperf.load.target import Target
from tests.load.asking import answer_of
from tests.servers import scripted_server

LOCAL = ("127.0.0.1", 1)


def target(host: str, prefix: str = "", api_key: str | None = None) -> Target:
    return Target(socket.AF_INET, LOCAL, host, prefix, None, api_key)


def head_and_body(request: bytes) -> tuple[list[str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    return head.decode().split("\r\n"), body


def test_a_url_becomes_an_address() -> None:
    found = Target.of("http://127.0.0.1:8123")
    assert (found.family, found.address, found.host) == (
        socket.AF_INET,
        ("127.0.0.1", 8123),
        "127.0.0.1:8123",
    )
    assert found.tls is None


def test_https_has_its_own_port_and_checks_certificates() -> None:
    found = Target.of("https://127.0.0.1")
    assert found.address == ("127.0.0.1", 443)
    assert found.tls is not None
    assert found.tls.verify_mode == ssl.CERT_REQUIRED
    assert found.tls.check_hostname
    assert Target.of("http://127.0.0.1").address == ("127.0.0.1", 80)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".test"])
def test_a_host_without_an_address_is_named(host: str) -> None:
    with pytest.raises(EngineError, match=f"^http://{host}:8000: "):
        Target.of(f"http://{host}:8000")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("example.test", "example.test"),
        ("example.test:8443", "example.test"),
        ("127.0.0.1:8443", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[::1]:8443", "::1"),
    ],
)
def test_the_server_name_is_the_host_alone(host: str, name: str) -> None:
    assert target(host).server_name == name


def test_of_several_addresses_the_one_that_accepts_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server("well") as url:
        port = int(url.rpartition(":")[2])
        # As where localhost is first ::1, and the server listens on 127.0.0.1 alone.
        found = [
            (family, socket.SOCK_STREAM, 6, "", address)
            for family, address in (
                (socket.AF_INET6, ("::1", port, 0, 0)),
                (socket.AF_INET, ("127.0.0.1", port)),
            )
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
        assert Target.of(f"http://localhost:{port}").address == ("127.0.0.1", port)
        assert answer_of(f"http://localhost:{port}").error is None


def test_where_no_address_accepts_the_first_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", port)) for n in (1, 2)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
        assert Target.of(f"http://localhost:{port}").address == ("127.0.0.1", port)


@given(
    st.dictionaries(st.text(max_size=5), st.text() | st.integers() | st.lists(st.integers()), max_size=4),
    st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True),
)
def test_a_request_is_one_that_a_server_reads_as_it_was_meant(
    body: dict[str, object], request_id: str
) -> None:
    lines, content = head_and_body(target("h:1", "/prefix").request("/v1/completions", body, request_id))
    assert lines[0] == "POST /prefix/v1/completions HTTP/1.1"
    headers = dict(line.split(": ") for line in lines[1:])
    assert headers["Host"] == "h:1"
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Request-Id"] == request_id
    assert headers["Connection"] == "close"
    assert int(headers["Content-Length"]) == len(content)
    assert json.loads(content) == body


def test_the_path_of_the_url_goes_before_every_path() -> None:
    found = Target.of("http://127.0.0.1:1/proxy/")
    assert head_and_body(found.request("/v1/x", {}, "r"))[0][0] == "POST /proxy/v1/x HTTP/1.1"


def test_the_key_is_sent_and_never_shown() -> None:
    with_key = target("h", api_key="s3cret")
    assert b"\r\nAuthorization: Bearer s3cret\r\n" in with_key.request("/", {}, "r")
    assert "s3cret" not in repr(with_key)
    assert b"Authorization" not in target("h").request("/", {}, "r")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8123/v", "https://127.0.0.1:8123"])
def test_it_can_be_sent_to_another_process(url: str) -> None:
    found = Target.of(url, "s3cret")
    travelled = pickle.loads(pickle.dumps(found))
    assert replace(travelled, tls=None) == replace(found, tls=None)
    assert travelled.request("/", {}, "r") == found.request("/", {}, "r")
    if found.tls is None:
        assert travelled.tls is None
    else:
        assert travelled.tls.verify_mode == ssl.CERT_REQUIRED
        assert travelled.tls.check_hostname
