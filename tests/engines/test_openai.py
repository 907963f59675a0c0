"""The HTTP contract that engines share."""

from __future__ import annotations

import httpx
import pytest

from pytest_llmperf.engines.openai import (
    aliased_counters,
    excerpt,
    get_json,
    get_object,
    prometheus,
    served_models,
)
from pytest_llmperf.engines.protocol import Engine
from pytest_llmperf.engines.sglang import Sglang
from pytest_llmperf.engines.tensorrt_llm import TensorRtLlm
from pytest_llmperf.engines.url import OpenAiServer
from pytest_llmperf.engines.vllm import Vllm
from pytest_llmperf.errors import EngineError

Answers = dict[str, httpx.Response]


def client(answers: Answers) -> httpx.Client:
    """httpx's own transport for tests: the answers by path, 404 elsewhere."""
    transport = httpx.MockTransport(lambda request: answers.get(request.url.path, httpx.Response(404)))
    return httpx.Client(base_url="http://engine", transport=transport)


def models(*entries: dict[str, object]) -> Answers:
    return {"/v1/models": httpx.Response(200, json={"object": "list", "data": list(entries)})}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx.Response(200, text="<html>hello</html>"), "expected JSON, got '<html>hello</html>'"),
        (httpx.Response(500, text="boom"), "HTTP 500: 'boom'"),
        (httpx.Response(401), "put it into LLMPERF_API_KEY"),
        (
            httpx.Response(302, headers={"location": "https://elsewhere/"}),
            "redirected to 'https://elsewhere/'",
        ),
    ],
)
def test_an_answer_that_is_not_json_is_quoted(answer: httpx.Response, message: str) -> None:
    with pytest.raises(EngineError, match="GET /x: ") as caught:
        get_json(client({"/x": answer}), "/x")
    assert message in str(caught.value)


def test_a_page_that_may_be_missing_is_an_object_or_nothing() -> None:
    answers = {"/x": httpx.Response(200, json={"a": 1}), "/gone": httpx.Response(410)}
    assert get_object(client(answers), "/x") == {"a": 1}
    assert get_object(client(answers), "/gone") is None


@pytest.mark.parametrize("engine", [Vllm(), Sglang(), TensorRtLlm()], ids=lambda engine: engine.name)
@pytest.mark.parametrize(
    ("page", "message"), [("<html>a portal</html>", "expected JSON"), ("[1, 2]", "expected a JSON object")]
)
def test_a_page_of_settings_that_is_something_else_is_quoted(page: str, message: str, engine: Engine) -> None:
    answers = models({"id": "tiny"}) | {"/server_info": httpx.Response(200, text=page)}
    with pytest.raises(EngineError, match=f"GET /server_info.*{message}, got") as caught:
        engine.describe(client(answers), "tiny")
    assert page in str(caught.value)


@pytest.mark.parametrize("content", [{}, [], {"data": []}, {"data": None}, {"data": [{"id": 3}, "x"]}])
def test_a_server_without_models_is_an_error(content: object) -> None:
    with pytest.raises(EngineError, match="no model in"):
        served_models(client({"/v1/models": httpx.Response(200, json=content)}))


def test_prometheus_pages_have_a_sample_for_each_label_and_odd_lines_are_skipped() -> None:
    page = '# HELP a b\na{x="1 2"} 1\na{x="3"} 2.5\nb 1e3\nnonsense\nc{} soon\n\n'
    assert prometheus(page) == {"a": [1, 2.5], "b": [1000.0]}


def test_counters_are_renamed_and_a_missing_page_has_none() -> None:
    page = httpx.Response(200, text="vllm:num_requests_running 3\nother 1\n")
    assert aliased_counters(client({"/metrics": page}), {"vllm:num_requests_running": "running"}) == {
        "running": 3
    }
    assert aliased_counters(client({}), {"a": "b"}) == {}


def test_long_text_is_cut_and_put_on_one_line() -> None:
    assert excerpt("a\n  b") == "'a b'"
    assert len(excerpt("x" * 1000)) == 162


def test_a_server_at_a_url_describes_itself_as_far_as_it_can() -> None:
    answers = models(
        {"id": "a"}, {"id": "b", "owned_by": "vllm", "max_model_len": 4096, "meta": {"n_vocab": 5000}}
    )
    answers["/version"] = httpx.Response(200, json={"version": "0.24.0"})
    description = OpenAiServer().describe(client(answers), "b")
    assert (description.model, description.version) == ("b", "0.24.0")
    assert description.settings == {"owned_by": "vllm", "max_model_len": "4096"}
    assert description.token_ids == range(300, 5000)


@pytest.mark.parametrize(
    "version", [httpx.Response(404), httpx.Response(200, text="x"), httpx.Response(200, json=["x"])]
)
def test_a_version_that_is_none_is_unknown(version: httpx.Response) -> None:
    assert OpenAiServer().describe(client({**models({"id": "a"}), "/version": version}), "").version is None


def test_a_model_that_is_not_served_names_those_that_are() -> None:
    with pytest.raises(EngineError, match=r"--llmperf-model c: the server has a, b"):
        OpenAiServer().describe(client(models({"id": "a"}, {"id": "b"})), "c")
