"""What an engine answers, from a script: for engines that cannot run where the tests do."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from tests.servers import Wire, head, scripted_server

Answers = Mapping[str, object]
"""By ``METHOD /path?query``: a status without content, a text, or what becomes JSON; 404 elsewhere."""

MODELS = {"object": "list", "data": [{"id": "tiny", "object": "model", "owned_by": "it"}]}


@contextlib.contextmanager
def answering(answers: Answers, seen: list[str] | None = None) -> Iterator[httpx.Client]:
    """A client of a server that answers so; ``seen`` gets what it was asked."""

    def answer(wire: Wire) -> None:
        asked = f"{wire.request.method} {wire.request.path}"
        if seen is not None:
            seen.append(asked)
        content = answers.get(asked, 404)
        status = content if isinstance(content, int) else 200
        text = content if isinstance(content, str) else json.dumps(content)
        body = b"" if isinstance(content, int) else text.encode()
        wire.send(head(f"{status} As Scripted", "text/plain", "Connection: close", length=len(body)), body)

    with (
        scripted_server(answer, everything=True) as url,
        httpx.Client(base_url=url, trust_env=False, verify=False) as client,
    ):
        yield client


def tiny_model(path: Path) -> str:
    """A model's folder, as far as it is looked at from outside."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"vocab_size": 2048}))
    return str(path)
