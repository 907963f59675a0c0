"""Where engines are started, in words.

::

    local                                              this machine
    modal gpu=H100! region=us-east                     a Modal sandbox for each start of an engine
    modal gpu=H100!:2 volume=models:/models secrets=hf-token load=here
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

from pytest_llmperf.errors import DeclarationError

MAX_TIMEOUT_S = 24 * 3600
_GPU = re.compile(r"([A-Za-z0-9-]+)(!|\+)?(?::([1-9]))?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# What Modal may answer with something faster, or leaves open: what to write in its place.
_UNPINNED = {"A100": "A100-40GB or A100-80GB", "ANY": "one type"}


@dataclass(frozen=True)
class ModalPlace:
    """A Modal sandbox. ``gpu`` is pinned: the type that was asked for and no better one.

    ``volumes`` are names of Modal volumes and where they are mounted, ``secrets`` names of Modal secrets.
    ``timeout_s`` bounds the sandbox's life. ``load``: whether requests are sent from within the engine's
    container or from this machine. ``cpu`` and ``memory_mib`` are reserved.
    """

    gpu: str | None = None
    region: str | None = None
    image: str | None = None
    volumes: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()
    timeout_s: int = 3600
    load: Literal["there", "here"] = "there"
    app: str = "pytest-llmperf"
    cpu: int = 8
    memory_mib: int = 32 * 1024

    @property
    def hardware(self) -> str:
        """In words, what it asks for that makes a difference to a measurement."""
        asked = {"gpu": self.gpu, "region": self.region, "cpu": self.cpu, "memory": self.memory_mib}
        return " ".join(f"{name}={value}" for name, value in asked.items() if value is not None)

    @property
    def gpus(self) -> int:
        """How many GPUs it has."""
        if self.gpu is None:
            return 0
        return int(self.gpu.partition(":")[2] or 1)


def parse_place(text: str) -> ModalPlace | None:
    """Read a place; None is this machine. Raises :class:`DeclarationError` that lists the valid words."""
    try:
        kind, *words = shlex.split(text.strip()) or [""]
    except ValueError as error:
        raise DeclarationError(f"{text!r}: {error}") from None
    if kind == "local":
        if words:
            raise DeclarationError(f"{words[0]!r}: local takes no words")
        return None
    if kind != "modal":
        raise DeclarationError(f"{kind!r}: valid: local, modal gpu=H100! …")
    arguments: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name not in _WORDS:
            close = difflib.get_close_matches(name, _WORDS, n=1)
            hint = f" (did you mean {close[0]}=?)" if close else ""
            raise DeclarationError(f"{word!r}: not a word of modal{hint}; valid: {'=, '.join(_WORDS)}=")
        if not equals or not value:
            raise DeclarationError(f"{word!r}: expected {name}=VALUE")
        field, read = _WORDS[name]
        try:
            read_value = read(value)
        except DeclarationError as error:
            raise DeclarationError(f"{word!r}: {error}") from None
        if field == "volumes":
            read_value = (*arguments.get(field, ()), *cast("tuple[Any, ...]", read_value))
        elif field in arguments:
            raise DeclarationError(f"{word!r}: a second {name}=")
        arguments[field] = read_value
    return ModalPlace(**arguments)


def _gpu(value: str) -> str:
    match = _GPU.fullmatch(value)
    if match is None:
        raise DeclarationError("expected a type and a count, as in H100!, L40S or H100!:2")
    kind, mark, count = match[1].upper(), match[2] or "", match[3]
    if kind in _UNPINNED or mark == "+":
        wanted = _UNPINNED.get(kind, f"{kind} without the +")
        raise DeclarationError(f"Modal may give several types for it; name {wanted}")
    if kind == "H100":
        mark = "!"  # without it Modal may give an H200
    return f"{kind}{mark}" + (f":{count}" if count and count != "1" else "")


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise DeclarationError("not a name")
    return value


def _names(value: str) -> tuple[str, ...]:
    return tuple(_name(word) for word in value.split(",") if word)


def _volume(value: str) -> tuple[tuple[str, str], ...]:
    name, _, path = value.partition(":")
    if not _NAME.fullmatch(name) or not path.startswith("/") or path == "/":
        raise DeclarationError("expected NAME:/PATH, as in hf-cache:/cache")
    return ((name, path.rstrip("/")),)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not value.isascii() or not value.isdigit() or not low <= int(value) <= high:
            raise DeclarationError(f"a whole number from {low} to {high}")
        return int(value)

    return read


def _side(value: str) -> str:
    if value not in ("there", "here"):
        raise DeclarationError("there (in the engine's container) or here (on this machine)")
    return value


_WORDS: dict[str, tuple[str, Callable[[str], object]]] = {
    "gpu": ("gpu", _gpu),
    "region": ("region", _name),
    "image": ("image", str),
    "volume": ("volumes", _volume),
    "secrets": ("secrets", _names),
    "timeout": ("timeout_s", _whole(60, MAX_TIMEOUT_S)),
    "load": ("load", _side),
    "app": ("app", _name),
    "cpu": ("cpu", _whole(1, 128)),
    "memory": ("memory_mib", _whole(512, 1024 * 1024)),
}
