"""What records know of how configurations serve: their launches at all loads, by environment and workload.

Records of several sessions are put together where environment and workload are the same; one configuration is
what has the same subject in all its fields. A launch is counted once, however many records it is in. A sweep
that found its own rates has those at which the engine was saturated apart from its load points: they count
with the launch that found them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import shorten
from typing import Any

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.declare.metrics import CAPACITY
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.errors import StoreError
from pytest_llmperf.judge.advice import Launch
from pytest_llmperf.judge.fit import ANYWHERE, Fit, Point
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.keep.environment import differences
from pytest_llmperf.keep.files import read_json
from pytest_llmperf.keep.record import KIND, VERSION
from pytest_llmperf.keep.values import middle

CLOSED = "closed loop"
_LONG = 200
_SAYS_NOTHING = (Verdict.ERROR, Verdict.INVALID)
_EXPLORES = 1
"""The launch in which a sweep looks for its rates."""

_Run = Mapping[str, Any]
_Key = tuple[str, ...]


@dataclass
class Configuration:
    """One subject: how it is written, all its fields, the model as it was typed and how its engine is started
    by hand (empty: not recorded), and the runs of each launch, with the point that each belongs to."""

    text: str
    fields: Mapping[str, str]
    model: str = ""
    command: str = ""
    runs: dict[_Key, list[tuple[Mapping[str, Any], _Run]]] = field(default_factory=dict)

    @property
    def sessions(self) -> int:
        return len({key[0] for key in self.runs})

    @property
    def tokens_per_request(self) -> float | None:
        """Output tokens of a request, as they were counted."""
        counted = [
            values["output_tokens_per_s"] / values["requests_per_s"]
            for runs in self.runs.values()
            for _, run in runs
            for values in (run["values"], *(probe["values"] for probe in run.get("probes", ())))
            if values.get("requests_per_s") and "output_tokens_per_s" in values
        ]
        return middle(counted) if counted and min(counted) > 0 else None

    def launches(self, slo: Slo) -> list[Launch]:
        """What the launches came to; a capacity counts if it was searched for under ``slo``."""
        asked = {str(limit) for limit in slo.of_load().with_no_errors().limits}
        return [Launch(tuple(_points(runs)), tuple(_searches(runs, asked))) for runs in self.runs.values()]


@dataclass
class Scene:
    """What can be compared: one environment, one workload and one kind of load (``poisson``, say)."""

    environment: Mapping[str, str]
    workload: str
    load: str
    configurations: list[Configuration] = field(default_factory=list)

    @property
    def is_closed(self) -> bool:
        return self.load == CLOSED

    def configuration(self, text: str, fields: Mapping[str, str]) -> Configuration:
        for known in self.configurations:
            if not differences(known.fields, fields):
                return known
        self.configurations.append(Configuration(text, fields))
        return self.configurations[-1]

    def names(self) -> list[str]:
        """A name for each configuration: the subject, with the version where it does not say one, and with
        what else differs where that does not tell two apart."""
        names = [_name(one) for one in self.configurations]
        for i, name in enumerate(names):
            if names.index(name) < i:
                other = self.configurations[names.index(name)]
                unlike = differences(other.fields, self.configurations[i].fields)
                names[i] = f"{name} ({'; '.join(unlike[:2])})"
        return [name if names.index(name) == i else f"{name} [{i + 1}]" for i, name in enumerate(names)]


@dataclass
class Evidence:
    """All scenes of some records, and what of them says nothing, in words."""

    scenes: list[Scene] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    records: int = 0

    def scene(self, environment: Mapping[str, str], workload: str, load: str) -> Scene:
        for scene in self.scenes:
            alike = (scene.workload, scene.load) == (workload, load)
            if alike and not differences(scene.environment, environment):
                return scene
        self.scenes.append(Scene(environment, workload, load))
        return self.scenes[-1]


def read_evidence(paths: Iterable[Path]) -> Evidence:
    """Read records, and those in directories. Raises :class:`StoreError` for a file that was named and is
    none; what is none in a directory, or in its ``runs`` and ``cells``, is left out, and said."""
    evidence = Evidence()
    for path in paths:
        if path.is_dir():
            for file in sorted(
                file for part in (".", "runs", "cells") for file in (path / part).glob("*.json")
            ):
                try:
                    _read(file, evidence)
                except StoreError as error:
                    evidence.left_out.append(str(error).partition(";")[0])
        else:
            _read(path, evidence)
    return evidence


def _read(path: Path, evidence: Evidence) -> None:
    content = read_json(path, KIND, VERSION)
    try:
        take_record(content, evidence)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StoreError(
            f"{path} is not a record that can be read ({type(error).__name__}: {error}); leave it out"
        ) from None


def take_record(content: Mapping[str, Any], evidence: Evidence) -> None:
    """Add what a record knows."""
    session = str(content["started"])
    commands = {launch["text"]: launch["command"] for launch in content["launches"] if launch.get("command")}
    # The cell of a matrix was not typed, but declared.
    declared = content.get("matrix", {}).get("declared", {}).get("options", {}).get("model", "")
    for entry in content["tests"]:
        model = _typed_model(entry["command"]) or declared
        _take(session, entry, commands, model, evidence)
    evidence.records += 1


def _take(
    session: str,
    entry: Mapping[str, Any],
    commands: Mapping[str, str],
    model: str,
    evidence: Evidence,
) -> None:
    if entry["verdict"] in _SAYS_NOTHING:
        why = shorten(" ".join(str(entry["error"]).splitlines()[:2]), _LONG, placeholder=" …")
        text = f"{entry['subject']['text']}, {session}: {entry['verdict']}: {why}"
        if text not in evidence.left_out:  # it may be in several records
            evidence.left_out.append(text)
        return
    subjects = [("runs", entry["subject"]["text"], entry["subject"]["fields"])]
    base = entry.get("compared_with")
    if base and base["kind"] == "side by side":
        subjects.append(("base_runs", base["text"], base["fields"]))
    for point in (*entry["points"], *_saturated(entry, session, evidence)):
        kind = _kind(point)
        if kind is None:
            continue
        for side, text, fields in subjects:
            valid = _valid(point, side)
            if not valid:
                continue
            scene = evidence.scene(entry["environment"], point["workload"], kind)
            found = scene.configuration(text, fields)
            found.command = commands.get(text, found.command)
            found.model = model or found.model
            for run in valid:
                # A server that runs already is one launch, whichever session asked it.
                is_url = fields["engine"].startswith(("http://", "https://"))
                launch = () if is_url else (session, side, str(run["launch"]))
                kept = found.runs.setdefault(launch or (fields["engine"],), [])
                if not any(at["load"] == point["load"] and _is_one(run, other) for at, other in kept):
                    kept.append((point, run))


def _valid(point: Mapping[str, Any], side: str) -> list[_Run]:
    return [run for run in point.get(side) or [] if not run["health"]["problems"]]


def _saturated(entry: Mapping[str, Any], session: str, evidence: Evidence) -> Iterator[Mapping[str, Any]]:
    """The rates at which sweeps of an entry found its engine saturated, as load points like the others."""
    for sweep in entry.get("sweeps", ()):
        points = [point for point in entry["points"] if point["workload"] == sweep["workload"]]
        side = "base_runs" if sweep.get("side") == "base" else "runs"
        beyond = [one for one in sweep["saturated"] if one["rate"] is not None]
        if not beyond or all(run["launch"] != _EXPLORES for p in points for run in _valid(p, side)):
            continue  # of a launch that says nothing, this does not either
        arrivals = {kind for point in points if (kind := _kind(point)) not in (None, CLOSED)}
        if len(arrivals) != 1:
            text = (
                f"{entry['subject']['text']}, {session}: saturated at {beyond[0]['rate']:g}/s, "
                "and how requests arrived is not recorded"
            )
            if text not in evidence.left_out:
                evidence.left_out.append(text)
            continue
        for one in beyond:
            point = LoadPoint(rate=one["rate"], arrivals=str(*arrivals))
            run = {
                "launch": _EXPLORES,
                "requests": one["requests"],
                "values": one["values"],
                "health": {"problems": []},
                "saturated": True,
            }
            load = {"rate": point.rate, "arrivals": point.arrivals}
            at = {"workload": sweep["workload"], "load": point.label, "declared": {"load": load}}
            yield {**at, side: [run]}


def _typed_model(command: Sequence[str]) -> str:
    """What stood behind ``--llmperf-model``."""
    flag = "--llmperf-model"
    return command[command.index(flag) + 1] if flag in command[:-1] else ""


def _kind(point: Mapping[str, Any]) -> str | None:
    """What loads can be compared by; None for what is no single load, as a ramp, a replay or a batch."""
    load = point["declared"]["load"]
    if "batch" in load:
        return None
    if "concurrency" in load:
        return CLOSED
    is_single = "seeks" in load or isinstance(load.get("rate"), int | float)
    return str(load.get("arrivals", "poisson")) if is_single else None


def _is_one(run: _Run, other: _Run) -> bool:
    """Whether both are the same run, read from two records: no two have all figures alike."""
    return json.dumps([run["values"], run["health"]]) == json.dumps([other["values"], other["health"]])


def _points(runs: Sequence[tuple[Mapping[str, Any], _Run]]) -> Iterator[Point]:
    """One for each load: repeated runs of a launch are put together by their means."""
    by_label: dict[str, list[tuple[Mapping[str, Any], _Run]]] = {}
    for point, run in runs:
        if CAPACITY not in run["values"]:
            by_label.setdefault(point["load"], []).append((point, run))
    for label, some in by_label.items():
        load = some[0][0]["declared"]["load"]
        values = [run["values"] for _, run in some]
        known = [run.get("uncertainty", {}) for _, run in some]
        yield Point(
            float(load["rate"] if "rate" in load else load["concurrency"]),
            label,
            {name: middle([one[name] for one in values if name in one]) for name in values[0]},
            {name: max(one.get(name, 0.0) for one in known) for name in known[0]},
            is_saturated=any(run.get("saturated") for _, run in some),
            requests=sum(run["requests"] for _, run in some),
        )


def _searches(runs: Sequence[tuple[Mapping[str, Any], _Run]], asked: set[str]) -> Iterator[Fit]:
    for point, run in runs:
        sought = point["declared"]["load"].get("seeks", "")
        if CAPACITY in run["values"] and set(sought.split(", ")) == asked:
            known = float(run["uncertainty"].get(CAPACITY, 0.0))
            found = Fit(float(run["values"][CAPACITY]), run["capacity"]["kind"], known)
            yield _limited(found, run.get("probes", ()))


def _limited(found: Fit, probes: Sequence[Mapping[str, Any]]) -> Fit:
    """A search that met the SLO as long as the engine kept up found what the engine carries, or nearly: it is
    between that and the lowest rate at which it was saturated."""
    beyond = [float(probe["rate"]) for probe in probes if probe.get("saturated")]
    if found.kind != "above" or not beyond or found.rate <= 0:
        return found
    gap = max(math.log(min(beyond) / found.rate), 0.0)
    return replace(
        found, kind="found", deviation=math.hypot(found.deviation, ANYWHERE * gap), is_saturated=True
    )


def _name(configuration: Configuration) -> str:
    version = configuration.fields.get("version", "unknown")
    shows = version == "unknown" or version in configuration.text
    return configuration.text if shows else f"{configuration.text} ({version})"
