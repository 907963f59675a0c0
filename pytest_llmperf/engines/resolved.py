"""Settings as an engine resolved them, made comparable: flat, short, without what differs in every start."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pytest_llmperf.declare.subject import is_secret

# Whole words in a name, what a launch writes to, and what the model is called, which is compared elsewhere. A
# path that a person chooses (of a draft model, say) is a setting.
_DIFFERS_ALWAYS = re.compile(
    r"(^|[._])(ports?|hosts?|ip|addr|address|url|uri|endpoint|dirs?|root|seed|rank|pid|time|last|avg)"
    r"([._]|$)"
    r"|(^|[._])(ipc|socket|dump|cache|log|te?mp)_paths?$"
    r"|(^|\.)(instance_id|launch_command|internal_states|served_model_name|model_name)$"
    r"|^(model\.)?(model|tokenizer)(_path)?$"
)
# What is left of the GPU's memory after a profiling run: never twice the same to the last block.
_MEASURED = re.compile(
    r"num_gpu_blocks|kv_cache_size_tokens|kv_cache_max_concurrency|kv_cache_memory_bytes"
    r"|max_total_num_tokens|max_req_input_len|(^|[._])memory_usage"
)
_MOST_CHARACTERS = 100
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def flat(tree: Mapping[str, object], *, without: str = "(?!)") -> dict[str, str]:
    """``{"a_config": {"b": 1}}`` as ``{"a.b": "1"}``.

    Left out: what is None or empty, what always differs (ports, paths, seeds, …), names that begin with an
    underscore, secrets, and names that match the pattern ``without``. What the engine measured when it
    started is ``about N``.
    """
    return {
        name: _text(name, value)
        for name, value in _leaves("", tree)
        if value not in (None, "", [], {})
        and not _DIFFERS_ALWAYS.search(name)
        and not is_secret(name)
        and not re.search(without, name)
    }


def info_labels(page: str, metric: str) -> dict[str, str]:
    """The labels of a Prometheus metric whose value says nothing, as engines publish a configuration."""
    labels: dict[str, object] = {}
    for line in page.splitlines():
        if line.startswith(metric + "{"):
            labels |= {name: None if value == "None" else value for name, value in _LABEL.findall(line)}
    return flat(labels)


def _leaves(prefix: str, tree: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        if str(name).startswith("_"):
            continue
        path = f"{prefix}{str(name).removesuffix('_config')}"
        if isinstance(value, Mapping):
            yield from _leaves(f"{path}.", value)
        else:
            yield path, value


def _text(name: str, value: object) -> str:
    if isinstance(value, list):
        shown = [str(item) for item in value]
        text = ", ".join(shown)
        if len(text) > _MOST_CHARACTERS:
            text = f"{', '.join(shown[:4])}, … {shown[-1]} ({len(shown)})"
    else:
        text = str(value)
    if _MEASURED.search(name) and re.fullmatch(r"\d+(\.\d+)?", text):
        text = f"about {text}"  # which is how a comparison knows it
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"
