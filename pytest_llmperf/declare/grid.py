"""What ``llmperf matrix`` is to measure: engines × versions × flags × workloads, as a TOML file says."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pytest_llmperf.declare.lengths import parse_lengths
from pytest_llmperf.declare.options import OPTIONS
from pytest_llmperf.declare.settings import Settings
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.declare.subject import Subject, parse_subject
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.errors import DeclarationError

ALMANAC = (
    *("128/1024", "1024/128", "512/512", "256/2048", "2048/256"),
    *("1024/1024", "512/4096", "4096/512", "2048/2048"),
)
"""The workloads of Modal's LLM Almanac (May 2025), as input/output tokens."""
MEASURES = ("sweep", "capacity", "batch")
OF_THE_MACHINE = (
    *("gpus", "lease-timeout", "lease-dir", "startup-timeout", "workers", "dir", "prices", "cache-limit"),
)
"""Options that say where and with what a cell is measured, and not what: they make no other cell of it."""
_SAID_BY_KEYS = ("model", "slo", "duration", "rates", "concurrency")
_NOT_OF_A_MATRIX = (
    *("engine", "json", "history", "exit-codes", "budget", "requests", "replay"),
    *("against", "baseline", "tolerance", "gate", "inconclusive"),
)
KEYS = {
    "": (*_SAID_BY_KEYS, "batch_requests", "measure", "workloads", "engine", "options"),
    "engine": ("subject", "versions", "flags", "model"),
    "workloads": tuple(field.name for field in fields(Workload) if field.init),
}
_SLUG = 72


@dataclass(frozen=True)
class Cell:
    """One subject under one workload: what is measured of it, and with which options (by name, as typed).

    ``batch_requests`` is how many requests a batch has.
    """

    subject: Subject
    workload: Workload
    measure: tuple[str, ...]
    slo: Slo
    batch_requests: int
    options: Mapping[str, str]

    @property
    def declared(self) -> dict[str, Any]:
        """All that makes it another cell if it changes, as JSON has it; without secrets."""
        return {
            "subject": str(self.subject),
            "workload": self.workload.as_json(),
            "measure": list(self.measure),
            "slo": {limit.key.name: limit.value for limit in self.slo.limits},
            "batch_requests": self.batch_requests if "batch" in self.measure else None,
            "options": {
                name: value
                for name, value in sorted(self.options.items())
                if name not in (*OF_THE_MACHINE, "slo")
            },
        }

    @property
    def id(self) -> str:
        """A readable name with a hash of what is declared."""
        content = json.dumps(self.declared, sort_keys=True, ensure_ascii=False)
        digest = hashlib.sha256(content.encode()).hexdigest()[:8]
        return f"{slug(f'{self.subject} {self.workload}')}-{digest}"


@dataclass(frozen=True)
class Grid:
    """The cells of a file, in its order; those of one subject side by side."""

    path: Path
    text: str
    cells: tuple[Cell, ...]


def slug(text: str) -> str:
    """``text`` as a part of a file name."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")[:_SLUG].rstrip("-.")


def read_grid(path: Path) -> Grid:
    """Read a file. Raises :class:`DeclarationError` that names the file, the key and what is valid."""
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except OSError as error:
        raise DeclarationError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise DeclarationError(f"{path} is not TOML: {error}") from None
    try:
        return Grid(path, text, tuple(_cells(content)))
    except DeclarationError as error:
        raise DeclarationError(f"{path}: {error}") from None


def _cells(content: Mapping[str, Any]) -> Iterator[Cell]:
    _check_keys(content, "")
    engines = content.get("engine")
    if not isinstance(engines, list) or not engines:
        raise DeclarationError('names no engine: add [[engine]] with subject = "vllm"')
    measure = _measure(content.get("measure", ["sweep", "capacity"]))
    batch_requests = content.get("batch_requests", 1000)
    if type(batch_requests) is not int or batch_requests < 1:
        raise DeclarationError(f"batch_requests = {batch_requests!r}: a whole number, at least 1")
    workloads = _workloads(content.get("workloads"))
    seen: dict[str, str] = {}
    for number, engine in enumerate(engines, 1):
        where = f"[[engine]] {number}"
        if not isinstance(engine, dict):
            raise DeclarationError("engine: a table for each, [[engine]]")
        _check_keys(engine, "engine", where)
        options = _options({**content, **({"model": engine["model"]} if "model" in engine else {})})
        settings = _settings(options)
        if "capacity" in measure and not settings.above.slo.limits:
            raise DeclarationError('measure: a capacity needs an SLO, as in slo = "ttft_ms=300 tpot_ms=40"')
        for subject in _subjects(engine, where):
            for workload in workloads:
                cell = Cell(subject, workload, measure, settings.above.slo, batch_requests, options)
                if cell.id in seen:
                    raise DeclarationError(f"{where}: {subject} with {workload} is there twice")
                seen[cell.id] = where
                yield cell


def _check_keys(table: Mapping[str, Any], kind: str, where: str = "") -> None:
    for key in table:
        if key not in KEYS[kind]:
            at = f"{where}: " if where else ""
            raise DeclarationError(f"{at}{key}: not a key; valid: {', '.join(KEYS[kind])}")


def _measure(value: object) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or any(name not in MEASURES for name in names):
        raise DeclarationError(f"measure = {value!r}: a list of {', '.join(MEASURES)}")
    return tuple(dict.fromkeys(names))


def _texts(table: Mapping[str, Any], key: str, where: str, default: str = "") -> list[str]:
    value = table.get(key, [default])
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not listed or not all(isinstance(one, str) for one in listed):
        raise DeclarationError(f"{where}: {key} = {value!r}: a list of texts in quotes")
    return listed


def _subjects(engine: Mapping[str, Any], where: str) -> Iterator[Subject]:
    text = engine.get("subject")
    if not isinstance(text, str):
        raise DeclarationError(f'{where}: needs subject = "vllm", or another engine')
    try:
        base = parse_subject(text)
    except DeclarationError as error:
        raise DeclarationError(f"{where}: subject: {error}") from None
    versions = _texts(engine, "versions", where)
    if versions != [""] and (base.version or base.path or base.url):
        raise DeclarationError(f"{where}: versions: {base.target} says which one already")
    for version in versions:
        for flags in _texts(engine, "flags", where):
            if flags and base.url:
                raise DeclarationError(f"{where}: flags: a server that runs already takes none from here")
            target = f"{base.engine}=={version}" if version else base.target
            try:
                checked = parse_subject(f"{shlex.join([target])} {flags}")
            except DeclarationError as error:
                raise DeclarationError(f"{where}: versions or flags: {error}") from None
            yield replace(checked, args=(*base.args, *checked.args), env=base.env)


def _workloads(value: object) -> list[Workload]:
    if value == "almanac":
        value = list(ALMANAC)
    if not isinstance(value, list) or not value:
        raise DeclarationError(
            'workloads: "almanac", or a list of "1024/128" and {input_tokens = 1024, output_tokens = 128}'
        )
    return [_workload(one, f"workloads, number {number}") for number, one in enumerate(value, 1)]


def _workload(value: object, where: str) -> Workload:
    if isinstance(value, str):
        before, slash, after = value.partition("/")
        if not (slash and before.strip().isdecimal() and after.strip().isdecimal()):
            raise DeclarationError(f'{where}: {value!r}: input/output tokens, as in "1024/128"')
        value = {"input_tokens": int(before), "output_tokens": int(after)}
    if not isinstance(value, dict):
        raise DeclarationError(f'{where}: {value!r}: "1024/128" or a table')
    _check_keys(value, "workloads", where)
    given: dict[str, Any] = dict(value)
    try:
        for name in ("input_tokens", "output_tokens"):
            if isinstance(given.get(name), str):
                given[name] = parse_lengths(given[name])
        return Workload(**given)
    except DeclarationError as error:
        raise DeclarationError(f"{where}: {error}") from None


def _options(content: Mapping[str, Any]) -> dict[str, str]:
    """All options by name, as they are typed."""
    said = content.get("options", {})
    if not isinstance(said, dict):
        raise DeclarationError("options: a table, [options]")
    valid = [
        option.name
        for option in OPTIONS
        if option.metavar is not None and option.name not in (*_SAID_BY_KEYS, *_NOT_OF_A_MATRIX)
    ]
    found = {}
    for key, value in said.items():
        name = key.replace("_", "-")
        if name in _SAID_BY_KEYS:
            raise DeclarationError(f"options: {key}: a key of its own, above the tables")
        if name not in valid:
            raise DeclarationError(f"options: {key}: not one for a matrix; valid: {', '.join(valid)}")
        found[name] = _as_text(value)
    found |= {key: _as_text(content[key]) for key in _SAID_BY_KEYS if key in content}
    if not {"rates", "concurrency"} & found.keys():
        found["rates"] = "adaptive"
    return {"launches": "1", **found}


def _settings(options: Mapping[str, str]) -> Settings:
    """What the options come to. Raises :class:`DeclarationError` in the words of this file."""
    try:
        return Settings.resolve(options, {}, {})
    except DeclarationError as error:
        raise DeclarationError(str(error).replace("--llmperf-", "")) from None


def _as_text(value: object) -> str:
    """A value as one would type it; TOML has lists and numbers of its own."""
    return (
        ", ".join(map(str, value))
        if isinstance(value, Sequence) and not isinstance(value, str)
        else str(value)
    )
