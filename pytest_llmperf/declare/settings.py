"""The settings of a test session, from the command line, the environment and the configuration file.

One rule of precedence for everything that can be said in several places::

    command line  >  LLMPERF_* variable  >  the test (call, then its markers, closest first)
                  >  pyproject.toml / pytest.ini  >  the default

Every setting has one spelling: ``--llmperf-request-timeout``, ``LLMPERF_REQUEST_TIMEOUT``,
``llmperf_request_timeout``.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar, cast

from pytest_llmperf.declare.launches import Launches, parse_launches
from pytest_llmperf.declare.load import Sweep
from pytest_llmperf.declare.metrics import STATISTICS, MetricKey, parse_metric
from pytest_llmperf.declare.number import read_duration, read_number, read_seconds, read_size, read_whole
from pytest_llmperf.declare.options import OPTIONS, OUTPUTS
from pytest_llmperf.declare.place import ModalPlace, parse_place
from pytest_llmperf.declare.slo import Slo, parse_slo
from pytest_llmperf.declare.subject import Subject, parse_subject
from pytest_llmperf.declare.tolerance import Tolerances, parse_tolerances
from pytest_llmperf.errors import DeclarationError

T = TypeVar("T")

API_KEY_VARIABLE = "LLMPERF_API_KEY"


@dataclass(frozen=True)
class Layer:
    """What one level of the precedence says about the things that a test can say as well."""

    engine: Subject | None = None
    sweep: Sweep = field(default_factory=Sweep)
    slo: Slo = field(default_factory=Slo)
    tolerances: Tolerances = field(default_factory=Tolerances)

    def merged(self, higher: Layer) -> Layer:
        """``higher``, with what only this one says of limits and tolerances, which is all that it says."""
        return dataclasses.replace(
            higher,
            slo=self.slo.updated(higher.slo),
            tolerances=self.tolerances.updated(higher.tolerances),
        )


@dataclass(frozen=True)
class Settings:
    """The resolved settings; ``above`` outranks what a test says, ``below`` is outranked by it."""

    above: Layer
    below: Layer
    model: str | None
    place: ModalPlace | None
    """Where engines are started; None: on this machine."""
    percentile: str
    launches: Launches
    against: Subject | None
    """What everything is compared with, side by side; None: with baselines."""
    baseline: str | None
    """A path, or a name of git's, of the baselines to compare with; None: those of the store."""
    budget_s: float | None
    """How long more launches may be asked for; None: for as many as there may be."""
    exit_codes: Literal["pytest", "bisect"]
    gate: tuple[MetricKey, ...]
    inconclusive: Literal["warn", "fail"]
    directory: str
    history: str | None
    """A path, a URL or ``none``; None: that of the directory."""
    outputs: Mapping[str, str]
    """Where to write what is made of the record, by the name of the option."""
    startup_timeout_s: float
    request_timeout_s: float
    workers: int | None
    """Processes that drive the load; None: as many as the load takes."""
    gpus: tuple[str, ...] | None
    """Indices, UUIDs or ``all``; None: what CUDA_VISIBLE_DEVICES says."""
    prices: str | None
    """A file of prices; None: those of the package."""
    lease_timeout_s: float
    lease_directory: str
    cache_limit: int | None
    """What the environments of engines may take, in bytes; None: all are kept."""
    update: bool

    @property
    def tolerances(self) -> Tolerances:
        """Those of a test that says none of its own."""
        return self.below.tolerances.updated(self.above.tolerances)

    @classmethod
    def resolve(
        cls,
        command_line: Mapping[str, str | None],
        environment: Mapping[str, str],
        configuration: Mapping[str, str | None],
        update: bool = False,
    ) -> Settings:
        """Read the three sources, the first two by option name and variable name, and check every value.

        Raises :class:`DeclarationError` that names the source as the person spelled it.
        """
        _check_variables(environment)
        above: dict[str, _Said] = {}
        outranked: dict[str, _Said] = {}
        below: dict[str, _Said] = {}
        for option in OPTIONS:
            if option.metavar is None:
                continue
            # An empty variable is how CI systems spell one that is not set.
            typed, exported = command_line.get(option.name), environment.get(option.variable) or None
            configured = configuration.get(option.name)
            if typed is not None:
                above[option.name] = _Said(option.flag, typed)
                if exported is not None and option.name in _MERGED:
                    outranked[option.name] = _Said(option.variable, exported)
            elif exported is not None and not any(
                command_line.get(rival) is not None for rival in _rivals(option.name)
            ):
                above[option.name] = _Said(option.variable, exported)
            if configured is not None:
                below[option.name] = _Said(option.ini, configured)
            elif option.default is not None:
                below[option.name] = _Said(option.flag, option.default)
        said = {**below, **above}
        base = _base(above, below, update)
        percentile = said["percentile"].read(_choice(*STATISTICS))
        return cls(
            above=_layer(outranked, percentile).merged(_layer(above, percentile)),
            below=_layer(below, percentile),
            model=said["model"].text if "model" in said else None,
            place=said["place"].read(parse_place),
            percentile=percentile,
            launches=said["launches"].read(parse_launches) if "launches" in said else Launches(),
            against=base["against"].read(parse_subject) if "against" in base else None,
            baseline=base["baseline"].read(_named) if "baseline" in base else None,
            budget_s=said["budget"].read(read_duration) if "budget" in said else None,
            exit_codes=cast(
                'Literal["pytest", "bisect"]', said["exit-codes"].read(_choice("pytest", "bisect"))
            ),
            gate=said["gate"].read(lambda text: _metrics(text, percentile)),
            inconclusive=cast('Literal["warn", "fail"]', said["inconclusive"].read(_choice("warn", "fail"))),
            directory=said["dir"].text,
            history=said["history"].read(_history) if "history" in said else None,
            outputs={name: said[name].read(_file) for name in OUTPUTS if name in said},
            startup_timeout_s=said["startup-timeout"].read(read_seconds),
            request_timeout_s=said["request-timeout"].read(read_seconds),
            workers=said["workers"].read(parse_workers),
            gpus=said["gpus"].read(parse_gpus) if "gpus" in said else None,
            prices=said["prices"].text if "prices" in said else None,
            lease_timeout_s=said["lease-timeout"].read(read_seconds),
            lease_directory=said["lease-dir"].read(_absolute),
            cache_limit=said["cache-limit"].read(read_size) if "cache-limit" in said else None,
            update=update,
        )


# Each group is one thing (see Sweep.updated): typing the one takes back an exported other.
_POINTS = ("rates", "concurrency", "replay")
_EXTENT = ("duration", "requests")
_BASES = ("against", "baseline")
# What a variable says is merged with what is typed, and not taken back by it.
_MERGED = ("slo", "tolerance")


def _rivals(name: str) -> list[str]:
    groups = (_POINTS, _EXTENT, _BASES)
    return [other for group in groups if name in group for other in group if other != name]


def _base(above: Mapping[str, _Said], below: Mapping[str, _Said], update: bool) -> dict[str, _Said]:
    """What is compared with, from the highest place that says it."""
    if update and "against" in above:
        raise above["against"].error("compares with no baseline, so it has none to update")
    for place in (above, below):
        if len(named := [name for name in _BASES if name in place]) > 1:
            raise place[named[0]].error(f"either this or {place[named[1]].where}, not both")
        if named and not (update and named == ["against"]):
            return {named[0]: place[named[0]]}
    return {}


def _check_variables(environment: Mapping[str, str]) -> None:
    """Raise :class:`DeclarationError` for a variable of our name that is none of ours: a slip of the pen."""
    known = [option.variable for option in OPTIONS if option.metavar is not None] + [API_KEY_VARIABLE]
    for name in environment:
        if name.startswith("LLMPERF_") and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise DeclarationError(f"{name}: not a setting{hint}; valid: {', '.join(known)}")


@dataclass(frozen=True)
class _Said:
    """What a person wrote, and where."""

    where: str
    text: str

    def error(self, why: object) -> DeclarationError:
        return DeclarationError(f"{self.where}: {why}")

    def read(self, parse: Callable[[str], T]) -> T:
        try:
            return parse(self.text)
        except DeclarationError as error:
            raise self.error(error) from None


def _layer(said: Mapping[str, _Said], percentile: str) -> Layer:
    if len(points := [said[name] for name in _POINTS if name in said]) > 1:
        raise points[0].error(f"either this or {points[1].where}, not both")
    arguments: dict[str, object] = {}
    for name, reader in _SWEEP_READERS.items():
        if name in said:
            argument = name.removeprefix("sweep-")
            arguments[argument] = said[name].read(reader)
            try:  # one at a time, so that the error names the source of the value that is wrong
                Sweep.of(**{argument: arguments[argument]})
            except DeclarationError as error:
                raise said[name].error(error) from None
    return Layer(
        engine=said["engine"].read(parse_subject) if "engine" in said else None,
        sweep=Sweep.of(**arguments),
        slo=said["slo"].read(lambda text: parse_slo(text, percentile)) if "slo" in said else Slo(),
        tolerances=said["tolerance"].read(lambda text: parse_tolerances(text, percentile))
        if "tolerance" in said
        else Tolerances(),
    )


def parse_workers(text: str) -> int | None:
    """``auto`` (None) or a number of processes. Raises :class:`DeclarationError`."""
    if text == "auto":
        return None
    try:
        return read_whole(text)
    except DeclarationError:
        raise DeclarationError(f"{text!r}: auto, or a number of processes") from None


def parse_gpus(text: str) -> tuple[str, ...]:
    """Indices and UUIDs of GPUs, or ``all``; whether they exist is not asked here.

    Raises :class:`DeclarationError`.
    """
    words = tuple(text.replace(",", " ").split())
    for word in words:
        if not (word.isdecimal() or word.startswith(("GPU-", "MIG-")) or words == ("all",)):
            raise DeclarationError(f"{word!r}: all, or indices and UUIDs of GPUs as in 0,1 or GPU-8932f937")
    if not words:
        raise DeclarationError("names no GPU")
    return words


def _absolute(text: str) -> str:
    if not text.startswith("/"):
        raise DeclarationError(f"{text!r}: an absolute path, since it is the same for every project")
    return text


def _numbers(text: str) -> list[float]:
    return [read_number(word) for word in text.replace(",", " ").split()]


def _rates(text: str) -> str | list[float | str]:
    if text.strip()[:1].isalpha():
        return text
    return [word if ".." in word else read_number(word) for word in text.replace(",", " ").split()]


def _named(text: str) -> str:
    if not text.strip():
        raise DeclarationError("names no baselines: a directory, a file, or a branch, tag or commit")
    return text


def _history(text: str) -> str:
    if not text.strip():
        raise DeclarationError("names no history: a file, a URL as s3://bucket/dir, or none")
    return text


def _file(text: str) -> str:
    if text.strip() in ("", "-"):
        raise DeclarationError(f"{text!r} names no file: name one")
    return text


def _metrics(text: str, percentile: str) -> tuple[MetricKey, ...]:
    keys = tuple(parse_metric(word, percentile) for word in text.replace(",", " ").split())
    if not keys:
        raise DeclarationError("names no metric")
    return keys


def _choice(*valid: str) -> Callable[[str], str]:
    def choose(text: str) -> str:
        if text not in valid:
            raise DeclarationError(f"{text!r}: valid: {', '.join(valid)}")
        return text

    return choose


_SWEEP_READERS: dict[str, Callable[[str], object]] = {
    "rates": _rates,
    "concurrency": _numbers,
    "replay": _numbers,
    "arrivals": str,
    "duration": read_number,
    "requests": read_number,
    "sweep-budget": str,
}
