from __future__ import annotations

import contextlib
import errno
import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from pytest_llmperf.declare.lengths import Uniform
from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.engines.protocol import Description
from pytest_llmperf.engines.url import OpenAiServer
from pytest_llmperf.engines.words import WORDS
from pytest_llmperf.errors import EngineDied, EngineError, NotReadyYet
from pytest_llmperf.load.client import Client
from pytest_llmperf.load.target import Target
from tests.servers import MODEL, Served, TruthServer, Wire, dead_url, json_answer, scripted_server

IDS = range(1000, 1256)
COMPLETION = Workload(input_tokens=32, output_tokens=6)
CHAT = Workload(input_tokens=32, output_tokens=6, chat=True)
FIRST = "the first streamed answer was not as asked\n  /v1/completions, token ids: "


@contextlib.contextmanager
def client_of(
    url: str,
    *,
    token_ids: range | None = IDS,
    timeout_s: float = 30.0,
    is_fresh: bool = True,
    watch: Callable[[int, int], None] = lambda sent, ended: None,
) -> Iterator[Client]:
    with httpx.Client(base_url=url, trust_env=False, verify=False) as control:
        description = Description(MODEL, None, token_ids=token_ids)
        yield Client(
            Target.of(url),
            control,
            OpenAiServer(),
            description,
            timeout_s=timeout_s,
            is_fresh=is_fresh,
            watch=watch,
        )


def in_order(server: TruthServer) -> list[Served]:
    return sorted(server.log().values(), key=lambda served: served.received_ns)


def first_error(url: str, token_ids: range | None = IDS, timeout_s: float = 30.0) -> str:
    with client_of(url, token_ids=token_ids, timeout_s=timeout_s) as client:
        with pytest.raises(EngineError) as raised:
            client.first_answer()
        return str(raised.value)


# --- the first answer ---------------------------------------------------------------------------------


def test_a_server_that_takes_everything_is_asked_once() -> None:
    with TruthServer() as server, client_of(server.url) as client:
        trace = client.first_answer()
        (served,) = in_order(server)
    assert trace.error is None
    assert trace.output_tokens == len(trace.token_ns) == 8
    assert served.path == "/v1/completions"
    prompt = served.body.pop("prompt")
    assert len(prompt) == 16
    assert set(prompt) <= set(IDS)
    assert served.body == {
        "model": MODEL,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "max_tokens": 8,
        "min_tokens": 8,
        "ignore_eos": True,
    }


@pytest.mark.parametrize("status", [400, 422])
def test_token_ids_are_given_up_if_they_are_refused(status: int) -> None:
    with TruthServer(rejects_token_ids=status) as server, client_of(server.url) as client:
        assert client.first_answer().prompt_tokens == 16
        asked = in_order(server)
        assert [type(served.body["prompt"]) for served in asked] == [list, str]
        assert all("ignore_eos" in served.body for served in asked)
        # And so for good.
        client.burst(COMPLETION, count=2)
        assert all(isinstance(served.body["prompt"], str) for served in in_order(server)[1:])


@pytest.mark.parametrize("status", [400, 422])
def test_the_fields_for_an_exact_length_are_given_up_if_they_are_refused(status: int) -> None:
    with TruthServer(rejects_ignore_eos=status) as server, client_of(server.url) as client:
        assert client.first_answer().output_tokens == 8
        asked = in_order(server)
        assert [type(served.body["prompt"]) for served in asked] == [list, str, list]
        assert ["ignore_eos" in served.body for served in asked] == [True, True, False]
        assert "min_tokens" not in asked[-1].body
        client.burst(COMPLETION, count=2)
        assert not any("ignore_eos" in served.body for served in in_order(server)[2:])


def test_both_are_given_up_if_both_are_refused() -> None:
    with (
        TruthServer(rejects_token_ids=400, rejects_ignore_eos=422) as server,
        client_of(server.url) as client,
    ):
        assert client.first_answer().output_tokens == 8
        assert len(server.log()) == 4


def test_words_that_cannot_be_calibrated_do_not_stand_in_the_way_of_token_ids() -> None:
    with (
        TruthServer(rejects_ignore_eos=422, long_words=WORDS) as server,
        client_of(server.url) as client,
    ):
        assert client.first_answer().output_tokens == 8
        assert isinstance(in_order(server)[-1].body["prompt"], list)


def test_a_server_that_takes_no_token_ids_is_never_sent_any() -> None:
    with TruthServer() as server, client_of(server.url, token_ids=None) as client:
        assert client.first_answer().prompt_tokens == 16
        (served,) = in_order(server)
        assert isinstance(served.body["prompt"], str)


def test_a_refusal_of_all_that_was_tried_names_each_attempt() -> None:
    with TruthServer(rejects_ignore_eos=422, natural_tokens=5) as server:
        error = first_error(server.url)
    assert error == (
        FIRST + 'HTTP 422: \'{"error": {"message": "ignore_eos: extra fields not permitted"}}\'\n'
        '  /v1/completions: HTTP 422: \'{"error": {"message": "ignore_eos: extra fields not permitted"}}\'\n'
        "  /v1/completions, token ids, max_tokens alone: token count: 5 output tokens instead of 8"
    )


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("html", "not a stream: the answer is 'text/html': '<html><body>Welcome to the proxy</body></html>'"),
        ("not_found", 'HTTP 404: \'{"detail": "Not Found"}\''),
        ("server_error", 'HTTP 500: \'{"error": {"message": "CUDA out of memory"}}\''),
        ("redirect", "HTTP 307: redirected to 'https://elsewhere.test/v1'; name that URL instead"),
        ("error_in_stream", 'stream error: \'{"message": "engine died", "code": 500}\''),
        ("wrong_count", "token count: 7 output tokens instead of 8"),
        ("no_usage", "no usage: the server does not count its tokens (stream_options.include_usage)"),
        ("reset", "reset: Connection reset by peer"),
        ("hang_before_head", "timeout: not complete after 0.5 s"),
        ("flood", "flood: more than 1160000 bytes in one response"),
    ],
)
def test_a_first_answer_that_is_not_as_asked_names_the_cause(script: str, cause: str) -> None:
    with scripted_server(script) as url:
        error = first_error(url, timeout_s=0.5 if script.startswith("hang") else 30)
        assert error.partition("\n  /v1/chat")[0] == FIRST + cause


def test_nobody_there_is_named_as_the_cause() -> None:
    with dead_url() as url:
        assert first_error(url) == FIRST + "connect: Connection refused"


# --- bursts and runs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("workload", [COMPLETION, CHAT])
def test_every_prompt_is_new_and_exactly_as_long_as_asked(workload: Workload) -> None:
    with TruthServer(long_words=WORDS[20:60:3]) as server, client_of(server.url) as client:
        traces = client.burst(workload, count=12) + client.burst(workload, count=12)
        asked = in_order(server)
    assert {trace.error for trace in traces} == {None}
    assert {trace.prompt_tokens for trace in traces} == {32}
    assert {served.path for served in asked} == {
        "/v1/chat/completions" if workload.chat else "/v1/completions"
    }
    prompts = {str(served.body["messages" if workload.chat else "prompt"]) for served in asked}
    assert len(prompts) == 24
    assert len(server_ids := {served.request_id for served in asked}) == 24
    assert all(re.fullmatch(r"llmperf-[0-9a-f]{8}-w\d+", request_id) for request_id in server_ids)


def test_a_chat_is_one_message_of_the_user() -> None:
    with TruthServer() as server, client_of(server.url) as client:
        client.burst(CHAT, count=1)
        (served,) = in_order(server)
    (message,) = served.body["messages"]
    assert message["role"] == "user"
    assert "prompt" not in served.body


@pytest.mark.parametrize(("concurrency", "peak"), [(None, 6), (2, 2), (50, 6)])
def test_a_burst_comes_at_once_unless_told_otherwise(concurrency: int | None, peak: int) -> None:
    with TruthServer(ttft_s=0.15) as server, client_of(server.url) as client:
        assert len(client.burst(COMPLETION, 6, concurrency)) == 6
        assert server.peak() == peak


def test_an_open_loop_sends_what_its_schedule_says() -> None:
    point = LoadPoint(rate=100, requests=30)
    with TruthServer() as server, client_of(server.url) as client:
        one, same, other = (client.run(COMPLETION, point, seed) for seed in (7, 7, 8))
        assert len(server.log()) == 90
    gaps = [[trace.due_ns - run.started_ns for trace in run.traces] for run in (one, same, other)]
    assert gaps[0] == gaps[1] != gaps[2]
    assert {trace.error for trace in one.traces} == {None}
    assert one.health.wrong_prompt_lengths == 0


def test_a_closed_loop_keeps_its_number_under_way() -> None:
    with TruthServer(ttft_s=0.1) as server, client_of(server.url) as client:
        run = client.run(CHAT, LoadPoint(concurrency=3, requests=9), seed=1)
        assert server.peak() == 3
    assert [trace.error for trace in run.traces] == [None] * 9
    assert all(trace.handed_ns - trace.due_ns < 1e9 for trace in run.traces)


def test_a_server_that_counts_prompts_otherwise_is_a_problem_of_the_run() -> None:
    with TruthServer(miscounts_by=1) as server, client_of(server.url) as client:
        run = client.run(COMPLETION, LoadPoint(concurrency=2, requests=4), seed=1)
    assert run.health.wrong_prompt_lengths == 4
    (problem,) = run.health.problems
    assert problem.startswith(
        "4 prompts were not as long as asked, as of 32 tokens that were 33 by the engine's count: does a "
        "proxy or the tokenizer add to them?"
    )


def test_what_this_machine_lacks_is_a_problem_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with TruthServer() as server, client_of(server.url) as client:
        client.first_answer()
        monkeypatch.setattr(socket.socket, "connect_ex", lambda self, address: errno.EADDRNOTAVAIL)
        run = client.run(COMPLETION, LoadPoint(rate=50, requests=5), seed=1)
        monkeypatch.undo()
    assert {trace.error for trace in run.traces} == {"client: Cannot assign requested address"}
    assert (
        "5 requests failed for want of something on this machine (client: Cannot assign requested address): "
        "lower the load, or give the machine more (of ports: net.ipv4.ip_local_port_range)"
    ) in run.health.problems


def test_a_server_that_knows_the_prompts_already_is_a_problem_of_the_run() -> None:
    with TruthServer(cached_tokens=16) as server, client_of(server.url) as client:
        run = client.run(COMPLETION, LoadPoint(concurrency=2, requests=4), seed=1)
    assert run.health.cached_prompt_share == 0.5


def test_a_template_in_the_cache_is_no_problem() -> None:
    with TruthServer(cached_tokens=32, template_tokens=20) as server, client_of(server.url) as client:
        run = client.run(CHAT, LoadPoint(concurrency=2, requests=4), seed=1)
    assert run.health.cached_prompt_share == 0


def test_a_prompt_shorter_than_the_template_says_how_long_it_must_be() -> None:
    with (
        TruthServer(template_tokens=40) as server,
        client_of(server.url) as client,
        pytest.raises(EngineError, match="take 41 tokens here; ask for at least 42"),
    ):
        client.burst(CHAT, count=1)


def test_what_watch_raises_ends_a_run() -> None:
    def died(sent: int, ended: int) -> None:
        raise EngineError("the engine died")

    with (
        scripted_server("hang_before_head") as url,
        client_of(url, watch=died) as client,
        pytest.raises(EngineError, match="the engine died"),
    ):
        client.run(COMPLETION, LoadPoint(concurrency=2, duration_s=60), seed=1)


def test_a_failed_request_is_one_trace_among_others() -> None:
    with scripted_server("server_error", well_before=3) as url, client_of(url) as client:
        run = client.run(COMPLETION, LoadPoint(concurrency=1, requests=5), seed=1)
    assert [trace.error_kind for trace in run.traces] == [None, None, None, "HTTP 500", "HTTP 500"]


# --- workloads ----------------------------------------------------------------------------------------


CLOSED = LoadPoint(concurrency=2, requests=24)


def test_a_prefix_that_is_shared_on_purpose_may_come_from_the_cache() -> None:
    workload = Workload(input_tokens=400, output_tokens=2, shared_prefix_tokens=256, prefixes=2)
    with TruthServer(has_prefix_cache=True) as server, client_of(server.url) as client:
        run = client.run(workload, CLOSED, seed=1)
    assert [trace.error for trace in run.traces] == [None] * 24
    # What follows a prefix may by chance begin as another did.
    assert {(trace.cached_tokens or 0) // 16 for trace in run.traces} == {0, 256 // 16}
    assert (run.health.cached_prompt_share, run.health.wrong_prompt_lengths) == (0, 0)


def test_lengths_are_those_of_the_seed_in_every_run() -> None:
    workload = Workload(input_tokens=Uniform(30, 60), output_tokens=Uniform(1, 9), chat=True)
    with TruthServer(has_prefix_cache=True) as server, client_of(server.url) as client:
        runs = [client.run(workload, CLOSED, seed) for seed in (1, 1, 2)]
    assert {(run.health.cached_prompt_share, run.health.wrong_prompt_lengths) for run in runs} == {(0, 0)}
    asked = [sorted((t.prompt_tokens, t.output_tokens) for t in run.traces) for run in runs]
    assert asked[0] == asked[1] != asked[2]


def test_blocks_of_a_trace_may_come_from_the_cache_as_often_as_the_trace_has_them(tmp_path: Path) -> None:
    lines = [
        {
            "timestamp": 20 * at,
            "input_length": 1100,
            "output_length": 2,
            "hash_ids": [1 + at // 2, at, 9 + at],
        }
        for at in range(8)
    ]
    (path := tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with TruthServer(has_prefix_cache=True) as server, client_of(server.url) as client:
        run = client.run(Workload(trace=path), LoadPoint(replay=2), seed=1)
    assert [trace.error for trace in run.traces] == [None] * 8
    assert {(trace.cached_tokens or 0) // 16 for trace in run.traces} == {0, 512 // 16}
    assert run.health.cached_prompt_share == 0
    due_ms = [(trace.due_ns - run.started_ns) / 1e6 for trace in run.traces]
    assert due_ms == pytest.approx([10 * at for at in range(8)])


def test_a_data_set_that_is_sent_again_says_what_to_do(tmp_path: Path) -> None:
    (path := tmp_path / "p.jsonl").write_text(
        "\n".join(json.dumps({"prompt": f"{n} " * 200, "output_tokens": 2}) for n in range(20))
    )
    workload = Workload(dataset=path)
    with TruthServer(has_prefix_cache=True) as server, client_of(server.url) as client:
        once = client.run(workload, LoadPoint(concurrency=1, requests=20), seed=1)
        again = client.run(workload, LoadPoint(concurrency=1, requests=20), seed=1)
    assert once.health.cached_prompt_share == 0
    (problem,) = [problem for problem in again.health.problems if "cache" in problem]
    assert problem.startswith(
        "100% of the prompt tokens came from the engine's prefix cache although a data set shares nothing on "
        "purpose (limit 5%): it was sent before"
    )
    assert problem.endswith("or give a larger data set and one load point")


def test_sampling_is_sent_and_a_warm_up_sends_first_turns_of_the_same_workload() -> None:
    workload = Workload(
        input_tokens=40, output_tokens=4, chat=True, turns=2, sampling={"temperature": 0.5, "top_k": 20}
    )
    with TruthServer() as server, client_of(server.url) as client:
        client.burst(workload, count=3)
        asked = in_order(server)
    assert {(served.body["temperature"], served.body["top_k"]) for served in asked} == {(0.5, 20)}
    assert [len(served.body["messages"]) for served in asked] == [1, 1, 1]
    assert all(served.request_id.endswith("-t1") for served in asked)


# --- counting the tokens of words ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("html", "HTTP 200, no usage.prompt_tokens: '<html><body>Welcome to the proxy</body></html>'"),
        (
            "server_error",
            'HTTP 500, no usage.prompt_tokens: \'{"error": {"message": "CUDA out of memory"}}\'',
        ),
        ("redirect", "HTTP 307, no usage.prompt_tokens: ''"),
        ("close_without_answer", "RemoteProtocolError: Server disconnected without sending a response."),
        ("hang_before_head", "ReadTimeout: timed out"),
    ],
)
def test_a_server_that_does_not_count_prompts_names_the_cause(script: str, error: str) -> None:
    with (
        scripted_server(script, everything=True) as url,
        client_of(url, timeout_s=0.5) as client,
        pytest.raises(EngineError, match=f"^{re.escape('POST /v1/chat/completions: ' + error)}$"),
    ):
        client.burst(CHAT, count=1)


@pytest.mark.parametrize("count", ["null", '"12"', "1.5", "true"])
def test_a_count_that_is_no_number_of_tokens_is_quoted(count: str) -> None:
    content = f'{{"usage": {{"prompt_tokens": {count}}}}}'.encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    with (
        scripted_server(lambda wire: wire.send(head + content), everything=True) as url,
        client_of(url) as client,
        pytest.raises(EngineError, match=r"^POST /v1/chat/completions: usage.prompt_tokens is "),
    ):
        client.burst(CHAT, count=1)


def test_words_are_calibrated_once_for_each_endpoint() -> None:
    with TruthServer() as server, client_of(server.url, token_ids=None) as client:
        client.burst(COMPLETION, count=1)
        client.burst(CHAT, count=1)
        client.burst(COMPLETION, count=1)
        lengths = {trace.prompt_tokens for trace in client.burst(CHAT, 2) + client.burst(COMPLETION, 2)}
    assert lengths == {32}


def test_no_prompt_of_a_data_set_is_sent_twice_as_long_as_there_are_others(tmp_path: Path) -> None:
    (path := tmp_path / "p.jsonl").write_text(
        "\n".join(json.dumps({"prompt": f"{number} " * 200}) for number in range(30))
    )
    workload = Workload(dataset=path, output_tokens=4)
    with TruthServer(has_prefix_cache=True) as server, client_of(server.url) as client:
        client.burst(workload, count=4)
        first = client.run(workload, LoadPoint(concurrency=2, requests=10), seed=1)
        client.burst(workload, count=4)
        second = client.run(workload, LoadPoint(rate=100, requests=12), seed=2)
        sent = [served.body["prompt"] for served in in_order(server) if "prompt" in served.body]
        assert len(sent) == len(set(sent)) == 30
        third = client.run(workload, LoadPoint(concurrency=1, requests=10), seed=3)
    assert [run.health.cached_prompt_share for run in (first, second)] == [0, 0]
    assert third.health.cached_prompt_share > 0.5


def test_prompts_of_a_data_set_that_an_earlier_session_sent_are_noticed(tmp_path: Path) -> None:
    (path := tmp_path / "p.jsonl").write_text(
        "\n".join(json.dumps({"prompt": f"{number} " * 200}) for number in range(10))
    )
    workload, point = Workload(dataset=path, output_tokens=4), LoadPoint(concurrency=1, requests=10)
    with TruthServer(has_prefix_cache=True) as server:
        with client_of(server.url, is_fresh=False) as client:
            first = client.run(workload, point, seed=1)
        with client_of(server.url, is_fresh=False) as client:
            second = client.run(workload, point, seed=1)
    assert first.health.cached_prompt_share == 0
    assert second.health.cached_prompt_share > 0.5


class Counting(OpenAiServer):
    """An engine whose own totals grow by these amounts in each run."""

    def __init__(self, prompt_tokens: float, cached_prompt_tokens: float) -> None:
        self._grown = {"prompt_tokens": prompt_tokens, "cached_prompt_tokens": cached_prompt_tokens}
        self._asked = 0

    def counters(self, client: httpx.Client) -> dict[str, float]:
        self._asked += 1
        return {name: 1000 + self._asked * value for name, value in self._grown.items()} | {"running": 0}


@pytest.mark.parametrize(
    ("prompt_tokens", "cached_prompt_tokens", "share"),
    [(320, 0, 0), (320, 10, 10 / 320), (320, 160, 0.5), (160, 160, 0.5), (3200, 160, 0)],
    ids=["none", "few", "half", "not counted as processed", "another client's as well"],
)
def test_the_engines_own_counters_tell_of_cached_prompts(
    prompt_tokens: float, cached_prompt_tokens: float, share: float
) -> None:
    with TruthServer() as server, httpx.Client(base_url=server.url, trust_env=False) as control:
        engine = Counting(prompt_tokens, cached_prompt_tokens)
        description = Description(MODEL, None, token_ids=IDS)
        client = Client(Target.of(server.url), control, engine, description, timeout_s=30)
        run = client.run(COMPLETION, LoadPoint(concurrency=2, requests=10), seed=1)
    assert run.counters == {"prompt_tokens": prompt_tokens, "cached_prompt_tokens": cached_prompt_tokens}
    assert run.health.cached_prompt_share == pytest.approx(share)
    assert any("prefix cache" in problem for problem in run.health.problems) == (share > 0.05)


def test_a_server_that_is_not_ready_yet_is_told_from_one_that_will_never_do() -> None:
    def busy(wire: Wire) -> None:
        wire.send(json_answer("503 Service Unavailable", {"error": "loading"}, "Connection: close"))

    with scripted_server(busy) as url, client_of(url) as client, pytest.raises(NotReadyYet) as caught:
        client.first_answer()
    assert str(caught.value).startswith(FIRST + "HTTP 503: ")
    with scripted_server("not_found") as url, client_of(url) as client, pytest.raises(EngineError) as other:
        client.first_answer()
    assert not isinstance(other.value, NotReadyYet)


def test_an_engine_that_died_is_not_asked_in_another_way() -> None:
    asked = []

    def dead(sent: int, ended: int) -> None:
        asked.append(sent)
        raise EngineDied("gone")

    with (
        scripted_server("hang_before_head") as url,
        client_of(url, watch=dead) as client,
        pytest.raises(EngineDied, match=r"^gone$"),
    ):
        client.first_answer()
    assert len(asked) == 1
