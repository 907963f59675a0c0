from __future__ import annotations

import httpx
import pytest

from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.engines.bare import BareServer
from pytest_llmperf.engines.openai import TOKEN_IDS
from tests.servers import TruthServer, dead_url, scripted_server

URL = parse_subject("http://127.0.0.1:1")


def asked(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, trust_env=False, verify=False)


@pytest.mark.parametrize("script", ["not_found", "server_error", "reset", "close_without_answer", "not_http"])
def test_whatever_a_server_makes_of_the_question_it_is_there(script: str) -> None:
    with scripted_server(script, everything=True) as url, asked(url) as client:
        assert BareServer(print).is_ready(client, URL)


def test_nobody_is_not_there() -> None:
    with dead_url() as url, asked(url) as client:
        assert not BareServer(print).is_ready(client, URL)


@pytest.mark.parametrize("script", ["not_found", "reset", "html", "not_http"])
@pytest.mark.parametrize(("model", "named"), [("", "default"), ("tiny", "tiny")])
def test_without_a_list_the_model_is_that_of_the_person_or_a_word(
    script: str, model: str, named: str
) -> None:
    notes: list[str] = []
    with scripted_server(script, everything=True) as url, asked(url) as client:
        described = BareServer(notes.append).describe(client, model)
    assert (described.model, described.version, described.token_ids) == (named, None, TOKEN_IDS)
    (note,) = notes
    assert note.startswith(
        f"requests name the model {named!r} (--model): the server lists none (GET /v1/models: "
    )


def test_a_list_of_models_is_taken_as_it_is() -> None:
    notes: list[str] = []
    with TruthServer() as server, asked(server.url) as client:
        assert BareServer(notes.append).describe(client, "").model == "truth"
        assert BareServer(notes.append).describe(client, "truth").model == "truth"
        assert notes == []
        assert BareServer(notes.append).describe(client, "other").model == "other"
    assert notes == ["--model other is not among the models of the server (truth)"]
