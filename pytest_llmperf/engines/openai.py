"""What all engines share: the HTTP contract of an OpenAI-compatible server, outside of the measuring."""

from __future__ import annotations

import json
import math
import re
import statistics
import time
from collections.abc import Mapping
from typing import Any

import httpx

from pytest_llmperf.errors import EngineError

MAX_BYTES = 8_000_000
_COUNTERS_S = 5.0  # they are asked between runs: of an engine that hangs nobody waits for them
# Below 1,000 lie special tokens and bytes; nearly every real vocabulary goes beyond 30,000.
TOKEN_IDS = range(1000, 30_000)
_VOCABULARIES = range(16, 10_000_000)


def ask(
    client: httpx.Client, method: str, path: str, *, body: object = None, timeout_s: float = 30.0
) -> httpx.Response:
    """One request, its answer read whole but bounded in size and time: a server may send without end.

    Raises :class:`httpx.HTTPError`.
    """
    deadline = time.monotonic() + timeout_s
    content = bytearray()
    with client.stream(method, path, json=body, timeout=timeout_s) as answer:
        for piece in answer.iter_bytes():
            content += piece
            if len(content) > MAX_BYTES or time.monotonic() > deadline:
                raise httpx.RemoteProtocolError(f"an answer without end ({len(content)} bytes until now)")
    kept = {name: answer.headers[name] for name in ("content-type", "location") if name in answer.headers}
    return httpx.Response(answer.status_code, headers=kept, content=bytes(content))


def get_json(client: httpx.Client, path: str) -> Any:
    """``GET path`` and decode it. Raises :class:`EngineError` that quotes what came instead."""
    try:
        answer = ask(client, "GET", path)
    except httpx.HTTPError as error:
        raise EngineError(f"GET {path}: {type(error).__name__}: {error}") from None
    if answer.is_redirect:
        raise EngineError(
            f"GET {path}: redirected to {answer.headers.get('location')!r}; name that URL instead"
        )
    if answer.status_code in (401, 403):
        raise EngineError(
            f"GET {path}: HTTP {answer.status_code}: the server wants a key; put it into LLMPERF_API_KEY"
        )
    if answer.status_code != 200:
        raise EngineError(f"GET {path}: HTTP {answer.status_code}: {excerpt(answer.text)}")
    try:
        return answer.json()
    except (ValueError, RecursionError):
        raise EngineError(f"GET {path}: expected JSON, got {excerpt(answer.text)}") from None


def get_answer(client: httpx.Client, path: str, timeout_s: float = 30.0) -> httpx.Response | None:
    """``GET path``, where it may be missing: None unless it answers 200.

    Raises :class:`EngineError` if it does not answer at all: what is missing once would not be equal later.
    """
    try:
        answer = ask(client, "GET", path, timeout_s=timeout_s)
    except httpx.HTTPError as error:
        raise EngineError(f"GET {path}: {type(error).__name__}: {error}") from None
    return answer if answer.status_code == 200 else None


def version_of(client: httpx.Client) -> str | None:
    """``/version`` as vLLM and others have it; None where there is no such page."""
    try:
        answer = ask(client, "GET", "/version")
        version = answer.json()["version"] if answer.status_code == 200 else None
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None
    if not version:
        return None
    return version if isinstance(version, str) and len(version) < 100 else excerpt(str(version))


def commit_in(version: str | None) -> str | None:
    """The commit in a version such as ``0.24.1.dev7+g0a1b2c3d4``, as setuptools-scm writes it."""
    found = re.search(r"[+.]g([0-9a-f]{7,40})(?=[.+]|$)", version or "")
    return found[1] if found else None


def served_models(client: httpx.Client) -> list[Mapping[str, Any]]:
    """The entries of ``/v1/models``. Raises :class:`EngineError` if there is none."""
    answer = get_json(client, "/v1/models")
    data = answer.get("data") if isinstance(answer, dict) else None
    entries = data if isinstance(data, list) else []
    models: list[Mapping[str, Any]] = [
        entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)
    ]
    if not models:
        raise EngineError(f"GET /v1/models: no model in {excerpt(json.dumps(answer))}")
    return models


def answers_200(client: httpx.Client, path: str) -> bool:
    """Whether ``GET path`` answers 200 now."""
    try:
        return ask(client, "GET", path, timeout_s=5.0).status_code == 200
    except httpx.HTTPError:
        return False


def ordinary_ids(vocabulary: object) -> range:
    """Token ids that any prompt may have: all but the first ones, which are control tokens and single bytes.

    ``vocabulary`` is its size as the server tells it; of one that it does not tell, those of nearly any.
    """
    if type(vocabulary) is not int or vocabulary not in _VOCABULARIES:
        return TOKEN_IDS
    return range(min(300, vocabulary // 2), vocabulary)


def prometheus(text: str) -> dict[str, list[float]]:
    """The samples of a Prometheus text page by their names, one for each set of labels."""
    samples: dict[str, list[float]] = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if not name or line.startswith("#"):
            continue
        name = name.partition("{")[0].strip()
        try:
            sample = float(value)
        except ValueError:
            continue
        samples.setdefault(name, []).append(sample)
    return samples


def aliased_counters(
    client: httpx.Client, names: Mapping[str, str], path: str = "/metrics"
) -> dict[str, float]:
    """The counters of a Prometheus page under our names; none if there is no such page.

    ``names`` maps theirs to ours; of several that are there for one of ours, the last counts. Over labels
    (replicas, say) they are summed, but for ``cache_use``, of which it is the mean.
    """
    try:
        answer = ask(client, "GET", path, timeout_s=_COUNTERS_S)
    except httpx.HTTPError:
        return {}
    samples = prometheus(answer.text) if answer.status_code == 200 else {}
    return {
        ours: statistics.fmean(samples[theirs]) if ours == "cache_use" else math.fsum(samples[theirs])
        for theirs, ours in names.items()
        if theirs in samples
    }


def excerpt(text: str, limit: int = 160) -> str:
    """The beginning of ``text`` on one line, quoted, for an error message."""
    line = " ".join(text.split())
    return repr(line if len(line) <= limit else line[: limit - 1] + "…")
