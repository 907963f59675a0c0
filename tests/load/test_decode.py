from __future__ import annotations

import bisect
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_llmperf.load import decode as decode_module
from pytest_llmperf.load import response as response_module
from pytest_llmperf.load.decode import MERGE_NS, Trace, answer, decode
from pytest_llmperf.load.exchange import Exchange
from pytest_llmperf.load.request import Request
from tests.load.asking import TOKENS, answer_of
from tests.servers import DONE, chunk, event, head, json_answer, scripted_server

LINE_ENDS = (b"\n", b"\r\n", b"\r")
CHUNKED = "Transfer-Encoding: chunked"


def exchange(
    *reads: bytes, tokens: int = 1, failure: str | None = None, sent_ns: int = 2, since_ns: Sequence[int] = ()
) -> Exchange:
    """Reads stamped 100, 101, …, each of what came in the ns before that unless ``since_ns`` says."""
    since = tuple(since_ns) or tuple(range(99, 99 + len(reads)))
    asked = Request("r-0", b"POST", tokens)
    return Exchange(asked, 1, sent_ns, sent_ns, 999, tuple(enumerate(reads, 100)), since, failure)


def text(content: str, finish_reason: str | None = None) -> bytes:
    return event({"choices": [{"index": 0, "text": content, "finish_reason": finish_reason}]})


def told(completion_tokens: object, **more: object) -> bytes:
    return event({"choices": [], "usage": {"completion_tokens": completion_tokens, **more}})


def error_of(*reads: bytes, expected_tokens: int = 2, failure: str | None = None) -> str:
    trace = decode(exchange(*reads, failure=failure, tokens=expected_tokens))
    assert trace.error is not None
    return trace.error


# --- any way of splitting -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Response:
    """A whole response, for each token the place of the byte that completed its event, and their text."""

    raw: bytes
    token_ends: tuple[int, ...]
    text: str

    def reads(self, cuts: Sequence[int]) -> list[bytes]:
        bounds = [0, *sorted({cut % (len(self.raw) + 1) for cut in cuts} - {0, len(self.raw)}), len(self.raw)]
        return [self.raw[start:end] for start, end in itertools.pairwise(bounds)]

    def expected_stamps(self, reads: Sequence[bytes]) -> tuple[int, ...]:
        ends = list(itertools.accumulate(map(len, reads)))
        return tuple(100 + bisect.bisect_right(ends, place) for place in self.token_ends)


@st.composite
def responses(draw: st.DrawFn) -> Response:
    line_end = draw(st.sampled_from(LINE_ENDS))
    tokens = draw(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6))
    noise = st.sampled_from([b"", b": a comment\n", b": ping\n\n", b"event: x\nid: 3\n", b"data\n\n"[:0]])
    body, completed = b"", []
    for token in tokens:
        body += draw(noise).replace(b"\n", line_end)
        content = json.dumps(
            {"choices": [{"text": token, "finish_reason": None}]}, ensure_ascii=draw(st.booleans())
        )
        # A lone surrogate is no UTF-8; json escapes it or nobody can send it.
        body += b"data:" + draw(st.sampled_from([b"", b" "])) + content.encode(errors="replace") + line_end
        completed.append(len(body))  # the first byte of the blank line's end
        body += line_end
    body += told(len(tokens)).replace(b"\n", line_end)
    body += DONE.replace(b"\n", line_end)[: -len(line_end) * draw(st.integers(0, 2)) or None]
    if not draw(st.booleans()):
        before = head()
        return Response(before + body, tuple(len(before) + place for place in completed), "".join(tokens))
    raw = head("200 OK", "text/event-stream", CHUNKED)
    places: list[int] = []
    rest, extension = body, draw(st.sampled_from([b"", b";name=value"]))
    while rest:
        size = draw(st.integers(1, 120))
        raw += f"{len(rest[:size]):X}".encode() + extension + b"\r\n"
        places += range(len(raw), len(raw) + len(rest[:size]))
        raw, rest = raw + rest[:size] + b"\r\n", rest[size:]
    return Response(raw + b"0\r\n\r\n", tuple(places[place] for place in completed), "".join(tokens))


@st.composite
def regular_responses(draw: st.DrawFn) -> Response:
    """As nearly all servers answer: whole events of one line in each chunk, all much alike."""
    frame = draw(
        st.sampled_from(['{"choices":[{"text":%s,"finish_reason":null}]}', '{"choices":[{"text": %s}]}'])
    )
    tokens = draw(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=12))
    tails = [told(len(tokens)), DONE]
    contents = [b"data: " + (frame % json.dumps(token)).encode() + b"\n\n" for token in tokens]
    raw = head("200 OK", "text/event-stream", CHUNKED)
    places: list[int] = []
    while contents:
        number = draw(st.integers(1, 3))
        begin = len(raw) + len(f"{sum(map(len, contents[:number])):x}") + 2
        places += [begin + end - 1 for end in itertools.accumulate(map(len, contents[:number]))]
        raw += chunk(b"".join(contents[:number]))
        contents = contents[number:]
    raw += b"".join(map(chunk, tails)) + b"0\r\n\r\n"
    return Response(raw, tuple(places), "".join(tokens))


@given(responses() | regular_responses(), st.lists(st.integers(0, 5_000), max_size=30))
def test_any_split_gives_the_same_tokens_each_stamped_by_the_read_that_completed_it(
    response: Response, cuts: list[int]
) -> None:
    reads = response.reads(cuts)
    trace = decode(exchange(*reads, tokens=len(response.token_ends)))
    assert trace.error is None
    assert trace.token_ns == response.expected_stamps(reads)
    assert trace.status == 200
    assert answer(list(enumerate(reads))) == response.text


SPANS_NS = st.sampled_from([0, 1, MERGE_NS - 1, MERGE_NS, MERGE_NS + 1, 60 * MERGE_NS])


@given(responses(), st.lists(st.integers(0, 5_000), max_size=10), st.data())
def test_of_the_events_of_a_read_all_but_the_last_are_merged_if_it_may_span_over_two_milliseconds(
    response: Response, cuts: list[int], data: st.DataObject
) -> None:
    reads = response.reads(cuts)
    spans_ns = data.draw(st.lists(SPANS_NS, min_size=len(reads), max_size=len(reads)))
    since_ns = [stamp - span for stamp, span in zip(itertools.count(100), spans_ns, strict=False)]
    trace = decode(exchange(*reads, since_ns=since_ns))
    events = Counter(stamp - 100 for stamp in response.expected_stamps(reads))
    assert len(trace.merged_ns) == sum(
        count - 1 for read, count in events.items() if spans_ns[read] > MERGE_NS
    )
    # A time is a time, however many share it.
    assert trace.token_ns == response.expected_stamps(reads)


@given(
    responses(), st.lists(st.integers(0, 5_000), max_size=10), st.integers(0, 5_000), st.binary(max_size=3)
)
def test_the_short_way_through_a_response_leads_where_the_long_one_does(
    response: Response, cuts: list[int], place: int, instead: bytes
) -> None:
    """Also for one that was damaged somewhere."""
    place %= len(response.raw)
    for raw in (response.raw, response.raw[:place] + instead + response.raw[place + 1 :]):
        reads = replace(response, raw=raw).reads(cuts)
        short = decode(exchange(*reads, tokens=len(response.token_ends)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(response_module, "_regular_events", lambda reads, start: None)
            patch.setattr(decode_module, "_frame_of", lambda data, choices: (b"", b""))
            long = decode(exchange(*reads, tokens=len(response.token_ends)))
        assert short == long


@given(responses())
def test_a_read_for_every_byte_gives_the_same_tokens(response: Response) -> None:
    reads = response.reads(range(len(response.raw)))
    trace = decode(exchange(*reads, tokens=len(response.token_ends)))
    assert trace.error is None
    assert trace.token_ns == tuple(100 + place for place in response.token_ends)


@given(responses(), st.lists(st.integers(0, 5_000), max_size=10), st.integers(0, 5_000))
def test_a_response_cut_off_anywhere_has_no_token_too_many_and_the_same_error_however_split(
    response: Response, cuts: list[int], length: int
) -> None:
    cut = Response(response.raw[: length % len(response.raw)], response.token_ends, response.text)
    whole, split = (decode(exchange(*reads, tokens=TOKENS)) for reads in ([cut.raw], cut.reads(cuts)))
    assert len(whole.token_ns) == sum(place < len(cut.raw) for place in cut.token_ends)
    assert len(split.token_ns) == len(whole.token_ns)
    assert split.error == whole.error
    assert split.status == whole.status
    assert answer(list(enumerate(cut.reads(cuts)))) == answer([(0, cut.raw)] if cut.raw else [])


# --- whatever comes -----------------------------------------------------------------------------------

FRAGMENTS = [
    *(b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n", b"200", b"500", b"\xb2", b"\r\n", b"\r\n\r\n", b"\n\n", b"\r"),
    *(b"Content-Type: text/event-stream", b"Transfer-Encoding: chunked", b"Content-Length: ", b"9" * 5000),
    *(b"data: ", b"data", b":", b"[DONE]", b"{", b"}", b"[", b"]", b'"choices"', b'"usage"', b'"error"'),
    *(b"null", b"1e999", b"NaN", b'{"choices": [{"text": "x"}]}', b'{"usage": {"completion_tokens": -1}}'),
    *(b"0\r\n\r\n", b"5\r\n", b"ffffffff\r\n", b"-1\r\n", b"\xff\xfe", b"\x00", b" ", head(), b"[" * 20_000),
]
soups = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=8), max_size=12).map(b"".join)


def is_well_formed(trace: Trace) -> bool:
    return trace.error is None or ": " in trace.error


@given(st.lists(soups | st.binary(max_size=60), max_size=4))
@example([b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n"])
@example([b"HTTP/1.1 " + b"9" * 5000 + b" OK\r\n\r\n"])
@example([head(), b"data: " + b"[" * 200_000 + b"\n\n"])
@example([head(), b'data: {"error": ' + b"[" * 960 + b"]" * 960 + b"}\n\n"])
@example([head("200 OK", "text/event-stream", CHUNKED), b"9" * 5000 + b"\r\n"])
def test_no_soup_of_bytes_makes_decode_raise(reads: list[bytes]) -> None:
    assert is_well_formed(decode(exchange(*(read for read in reads if read))))
    assert isinstance(answer(list(enumerate(reads))), str | None)


@given(st.lists(soups, max_size=3))
def test_no_soup_of_events_makes_decode_raise(reads: list[bytes]) -> None:
    assert is_well_formed(decode(exchange(head(), *(read for read in reads if read))))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(
            "choices usage error delta text content completion_tokens prompt_tokens "
            "prompt_tokens_details cached_tokens finish_reason".split()
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.lists(json_values, max_size=4))
def test_no_json_makes_decode_raise(values: list[object]) -> None:
    trace = decode(exchange(head(), *map(event, values), DONE))
    assert is_well_formed(trace)
    assert isinstance(answer(list(enumerate([head(), *map(event, values), DONE]))), str | None)
    for figure in (trace.output_tokens, trace.prompt_tokens, trace.cached_tokens):
        assert figure is None or type(figure) is int


def test_nesting_beyond_all_measure_is_malformed() -> None:
    error = error_of(head(), b"data: " + b"[" * 200_000 + b"\n\n")
    assert error.startswith("malformed: an event that is not JSON: '[[[[")
    assert len(error) < 300


# --- what the events say ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        *("well", "usage_beside_choices", "comments", "crlf"),
        *("several_per_write", "byte_per_write", "role_first", "reasoning"),
    ],
)
@pytest.mark.parametrize("chat", [False, True])
def test_every_way_to_stream_is_understood(script: str, chat: bool) -> None:
    with scripted_server(script) as url:
        trace = answer_of(url, chat=chat)
    assert trace.error is None
    assert len(trace.token_ns) == TOKENS
    assert trace.output_tokens == TOKENS
    assert trace.prompt_tokens == (5 if chat else 2)
    assert trace.cached_tokens is None
    assert trace.first_byte_ns is not None
    assert list(trace.token_ns) == sorted(trace.token_ns)
    assert trace.due_ns <= trace.handed_ns <= trace.sent_ns < trace.first_byte_ns <= trace.token_ns[0]
    assert trace.token_ns[-1] <= trace.ended_ns


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("html", "not a stream: the answer is 'text/html': '<html><body>Welcome to the proxy</body></html>'"),
        ("not_found", 'HTTP 404: \'{"detail": "Not Found"}\''),
        (
            "unauthorized",
            'HTTP 401: \'{"error": {"message": "who are you?"}}\' (LLMPERF_API_KEY is the key that is sent)',
        ),
        ("server_error", 'HTTP 500: \'{"error": {"message": "CUDA out of memory"}}\''),
        ("redirect", "HTTP 307: redirected to 'https://elsewhere.test/v1'; name that URL instead"),
        ("error_in_stream", 'stream error: \'{"message": "engine died", "code": 500}\''),
        ("half_event", 'truncated: the stream ended within an event: \'{"choices": [{"te\''),
        ("unfinished", "truncated: the stream ended after 2 events, unfinished"),
        ("wrong_count", "token count: 3 output tokens instead of 4"),
        ("no_usage", "no usage: the server does not count its tokens (stream_options.include_usage)"),
        ("no_text", "no text: 4 output tokens, but not one event carried text"),
        ("empty_stream", "truncated: the stream ended after 0 events, unfinished"),
        ("close_without_answer", "truncated: the connection was closed without an answer"),
        ("not_http", "not HTTP: '220 mail.test ESMTP'"),
        ("bad_chunk", "malformed: a chunk of size 'xyz'"),
        ("short_body", 'HTTP 500: \'{"error": "halfway\''),
        ("short_stream", "truncated: the stream ended after 2 events, unfinished"),
        ("reset_in_stream", "reset: Connection reset by peer"),
    ],
)
def test_each_way_to_misbehave_is_named(script: str, error: str) -> None:
    with scripted_server(script) as url:
        assert answer_of(url).error == error


def test_an_answer_in_one_piece_is_no_stream() -> None:
    with scripted_server("json_in_one_piece") as url:
        error = answer_of(url).error
    assert error is not None
    assert error.startswith('not a stream: the answer is \'application/json\': \'{"model": "truth"')


def test_the_kind_of_an_error_is_what_stands_before_its_colon() -> None:
    trace = decode(exchange(json_answer("503 Busy", {"detail": "try: later"})))
    assert trace.error_kind == "HTTP 503"
    assert decode(exchange(head(), text("a", "stop"), told(1))).error_kind is None


def test_either_the_end_mark_or_a_finish_reason_ends_a_stream() -> None:
    assert decode(exchange(head(), text("a", "stop"), told(1))).error is None
    assert decode(exchange(head(), text("a"), told(1), DONE)).error is None


@pytest.mark.parametrize(
    "end_mark", [b"data: [DONE]", b"data:[DONE]\n", b"data: [DONE]\r", b"data: [DONE]\r\n"]
)
def test_the_end_mark_needs_no_blank_line(end_mark: bytes) -> None:
    assert decode(exchange(head(), text("a"), told(1), end_mark)).error is None


def test_an_event_of_several_data_lines_is_one_event() -> None:
    split = b'data: {"choices": [{\ndata: "text": "x"}]}\n\n'
    assert decode(exchange(head(), split, told(1), DONE)).token_ns == (101,)


def test_two_tokens_in_one_read_have_its_stamp() -> None:
    assert decode(exchange(head(), text("a") + text("b"), told(2), DONE, tokens=2)).token_ns == (101, 101)


def test_a_bare_carriage_return_completes_an_event_at_once() -> None:
    piece = text("a").replace(b"\n", b"\r")
    trace = decode(exchange(head(), piece, piece, told(2).replace(b"\n", b"\r") + DONE, tokens=2))
    assert trace.token_ns == (101, 102)


@pytest.mark.parametrize("name", ["content", "reasoning_content", "reasoning"])
def test_what_a_chat_model_says_or_thinks_is_text(name: str) -> None:
    said = event({"choices": [{"delta": {name: "hm"}}]})
    assert decode(exchange(head(), said, told(1), DONE)).token_ns == (101,)


@pytest.mark.parametrize(
    "choice", [{"text": ""}, {"delta": {"role": "assistant", "content": ""}}, {}, None, 7]
)
def test_an_event_without_text_is_no_token(choice: object) -> None:
    reads = (head(), event({"choices": [choice]}), text("a"), told(1), DONE)
    assert decode(exchange(*reads)).token_ns == (102,)


def test_usage_tells_all_three_figures() -> None:
    usage = told(1, prompt_tokens=9, prompt_tokens_details={"cached_tokens": 4})
    trace = decode(exchange(head(), text("a"), usage, DONE))
    assert (trace.output_tokens, trace.prompt_tokens, trace.cached_tokens) == (1, 9, 4)


def test_the_last_usage_counts_where_every_event_has_one() -> None:
    trace = decode(exchange(head(), text("a"), told(1), text("b"), told(2), DONE, tokens=2))
    assert trace.error is None
    assert trace.output_tokens == 2


@pytest.mark.parametrize("figure", [None, True, "2", -2, 2.0])
def test_a_usage_figure_that_is_no_count_is_quoted(figure: object) -> None:
    assert error_of(head(), text("a"), told(figure), DONE) == f"no usage: completion_tokens is {figure!r}"


def test_a_long_usage_figure_is_quoted_in_part() -> None:
    error = error_of(head(), text("a"), told("2" * 5000), DONE)
    assert error.startswith("no usage: completion_tokens is '222")
    assert len(error) == 200


def test_usage_without_the_figure_is_a_server_that_does_not_count() -> None:
    assert error_of(head(), text("a"), event({"usage": {"prompt_tokens": 3}}), DONE) == (
        "no usage: the server does not count its tokens (stream_options.include_usage)"
    )


@pytest.mark.parametrize(
    ("status", "hinted"), [("401 X", True), ("403 X", True), ("400 X", False), ("500 X", False)]
)
def test_a_refused_key_is_told_where_keys_come_from(status: str, hinted: bool) -> None:
    hint = " (LLMPERF_API_KEY is the key that is sent)" if hinted else ""
    assert error_of(json_answer(status, {})) == f"HTTP {status[:3]}: '{{}}'{hint}"


@pytest.mark.parametrize(
    ("data", "quoted"), [(b"oops", "not JSON: 'oops'"), (b"[1]", "not an object: '[1]'")]
)
def test_an_event_that_is_no_object_is_malformed(data: bytes, quoted: str) -> None:
    assert error_of(head(), b"data: " + data + b"\n\n") == f"malformed: an event that is {quoted}"


def test_a_long_answer_is_quoted_in_part() -> None:
    error = error_of(json_answer("500 Oops", {"detail": "no " * 5000}))
    assert error.startswith('HTTP 500: \'{"detail": "no no no')
    assert error.endswith("…'")
    assert len(error) < 250


def test_a_refusal_in_chunks_is_quoted_without_them() -> None:
    refusal = head("400 Bad", "application/json", CHUNKED)
    assert error_of(refusal, chunk(b'{"no"') + chunk(b": 1}") + chunk(b"")) == "HTTP 400: '{\"no\": 1}'"


def test_a_head_that_never_ends_is_truncated() -> None:
    assert error_of(b"HTTP/1.1 200 OK\r\nA: b") == "truncated: the response ended within its head"


def test_a_redirect_to_nowhere_says_so() -> None:
    assert error_of(head("302 Found", length=0)).startswith("HTTP 302: redirected to 'nowhere'")


# --- a broken exchange --------------------------------------------------------------------------------


def test_how_the_exchange_broke_is_the_error() -> None:
    assert error_of(head(), text("a"), failure="timeout: not complete after 1 s").startswith("timeout")


def test_tokens_before_the_break_are_kept() -> None:
    assert decode(exchange(head(), text("a"), text("b"), failure="reset: gone", tokens=4)).token_ns == (
        101,
        102,
    )


def test_what_the_server_said_explains_a_break_better_than_the_break() -> None:
    assert error_of(json_answer("500 Oops", {}), failure="reset: gone") == "HTTP 500: '{}'"
    said = event({"error": {"message": "died"}})
    assert error_of(head(), said, failure="reset: gone") == 'stream error: \'{"message": "died"}\''


def test_an_error_said_just_before_the_framing_breaks_is_not_lost() -> None:
    said = chunk(event({"error": {"message": "died"}}))
    reads = (head("200 OK", "text/event-stream", CHUNKED), said + b"xyz\r\n")
    assert error_of(*reads) == 'stream error: \'{"message": "died"}\''


def test_a_connection_closed_before_its_request_was_due_is_not_blamed_on_the_request() -> None:
    trace = decode(exchange(sent_ns=0))
    assert trace.error == "reset: the connection was closed before the request was due"
    assert trace.first_byte_ns is None


def test_what_the_server_said_before_the_request_was_due_is_quoted() -> None:
    trace = decode(exchange(json_answer("408 Request Timeout", {}), sent_ns=0))
    assert trace.error == "HTTP 408: '{}'"


# --- the rest of a trace ------------------------------------------------------------------------------


def test_a_trace_knows_its_request_but_for_the_payload() -> None:
    request = Request("r-7", b"a very long prompt", 2, prompt_tokens=900, shared_tokens=3)
    done = replace(exchange(head(), text("a"), text("b"), told(2), DONE), request=request)
    assert decode(done).request == replace(request, payload=b"")
    assert done.request.payload


def test_what_has_to_come_back_is_the_requests_to_say() -> None:
    reads = (head(), text("a"), text("b"), told(2), DONE)
    assert decode(exchange(*reads, tokens=2)).error is None
    assert decode(exchange(*reads, tokens=3)).error == "token count: 2 output tokens instead of 3"


@pytest.mark.parametrize(
    ("reads", "status"),
    [
        ([head(), text("a"), told(1), DONE], 200),
        ([head(), text("a")], 200),
        ([head("200 OK", "text/html"), b"hello"], 200),
        ([head("200 OK", "text/event-stream", CHUNKED), b"xyz\r\n"], 200),
        ([json_answer("429 Too Many Requests", {})], 429),
        ([head("307 Temporary Redirect", length=0)], 307),
        ([head("503 Busy")[:-1]], None),
        ([b"220 mail.test ESMTP\r\n\r\n"], None),
        ([b"HTTP/1.1 twenty OK\r\n\r\n"], None),
        ([], None),
    ],
)
def test_the_status_is_that_of_the_response_as_soon_as_its_head_is_whole(
    reads: list[bytes], status: int | None
) -> None:
    assert decode(exchange(*reads)).status == status
    assert decode(exchange(*reads, failure="reset: gone")).status == status


def test_tokens_that_come_one_by_one_are_not_merged_however_late_they_are_read() -> None:
    trace = decode(exchange(head(), text("a"), text("b"), told(2), DONE, tokens=2, since_ns=[-(10**9)] * 5))
    assert trace.token_ns == (101, 102)
    assert trace.merged_ns == ()


def test_events_without_text_are_merged_with_nothing() -> None:
    piece = text("") + text("a") + told(1) + DONE
    assert decode(exchange(head(), piece, since_ns=[0, -(10**9)])).merged_ns == ()


def test_merged_tokens_of_a_broken_stream_count_as_well() -> None:
    late = exchange(head(), text("a") * 5, failure="timeout: x", since_ns=[0, -(10**9)])
    assert decode(late).merged_ns == (10**9 + 101,) * 4


# --- the text of an answer ----------------------------------------------------------------------------


def said(**delta: object) -> bytes:
    return event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


def answer_in(*reads: bytes) -> str | None:
    return answer(list(enumerate(reads)))


def test_the_answer_of_a_completion_is_its_text() -> None:
    assert answer_in(head(), text("Good"), text(" day"), text("", "stop"), told(2), DONE) == "Good day"


def test_the_answer_of_a_chat_is_its_content_and_not_what_the_model_thought() -> None:
    reads = (
        *(head(), said(role="assistant", content=""), said(reasoning_content="hm"), said(reasoning="well")),
        *(said(content="Good", reasoning_content="so"), said(content=" day"), said(content=None), DONE),
    )
    assert answer_in(*reads) == "Good day"


@pytest.mark.parametrize("content", [7, ["a"], {"text": "a"}, True])
def test_content_that_is_no_text_is_none_of_the_answer(content: object) -> None:
    assert answer_in(head(), said(content=content), said(content="a"), DONE) == "a"
    assert answer_in(head(), event({"choices": [{"text": content}]}), text("a"), DONE) == "a"


def test_an_answer_may_be_empty() -> None:
    assert answer_in(head(), DONE) == ""


def test_either_end_makes_an_answer_whole_whatever_it_counted() -> None:
    assert answer_in(head(), text("a", "stop")) == "a"
    assert answer_in(head(), text("a"), DONE) == "a"


@pytest.mark.parametrize(
    "reads",
    [
        [],
        [head()],
        [head(), text("a")],
        [head(), text("a", "stop"), b'data: {"choi'],
        [head(), text("a"), event({"error": "died"}), DONE],
        [head(), text("a"), b"data: oops\n\n", DONE],
        [head("200 OK", "text/event-stream", CHUNKED), chunk(text("a")) + b"xyz\r\n"],
        [head("200 OK", "application/json"), text("a"), DONE],
        [head("500 Oops"), text("a"), DONE],
        [b"not HTTP at all\r\n\r\n", text("a"), DONE],
    ],
)
def test_a_broken_answer_is_none(reads: list[bytes]) -> None:
    assert answer_in(*reads) is None


@pytest.mark.parametrize("count", [-1, 1 << 40, 10**400, 1.5, True, "7", None])
def test_what_is_no_number_of_tokens_counts_as_untold(count: object) -> None:
    usage = event(
        {
            "choices": [],
            "usage": {
                "completion_tokens": 1,
                "prompt_tokens": count,
                "prompt_tokens_details": {"cached_tokens": count},
            },
        }
    )
    trace = decode(exchange(head(), text("a"), usage, DONE, tokens=1))
    assert (trace.error, trace.prompt_tokens, trace.cached_tokens) == (None, None, None)
