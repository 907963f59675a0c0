"""What to type next: every command is one that runs as it stands."""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmperf.declare.bisection import without_refused
from pytest_llmperf.declare.metrics import parse_metric
from pytest_llmperf.declare.subject import REDACTED, Subject, parse_subject
from pytest_llmperf.errors import DeclarationError
from pytest_llmperf.judge.change import Change, launches_to_decide
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.report.judged import changes, is_side_by_side, limits
from pytest_llmperf.report.printable import typed_words
from pytest_llmperf.report.table import SLO_BROKEN

_FEWEST, _HOPELESS = 3, 24
_COMMIT = re.compile(r"[0-9a-f]{7,40}")
# What an index has: 0.24.0, 0.24.0rc1, 0.5.16.post1.
_RELEASE = re.compile(r"[0-9]+(\.[0-9]+)*((a|b|rc)[0-9]+)?(\.post[0-9]+)?")
# Of each of these a command may have one.
_RIVALS = (("against", "baseline"), ("rates", "concurrency", "replay"))
_LOADS = {"rate": "rates", "concurrency": "concurrency", "replay": "replay"}
_AT_A_URL = (
    "a server at a URL is one launch however often it is measured, and launches of one build differ; only a "
    "change beyond the interval can be told: widen --llmperf-tolerance, or test an engine that is started "
    "from here"
)
_LONGER = (
    "measure for longer, by --llmperf-duration or --llmperf-requests: the more requests, the narrower the "
    "interval"
)


def next_steps(entry: Mapping[str, Any]) -> list[str]:
    """What would help after this verdict; nothing after the cell of a matrix, which takes no options."""
    if entry["command"][:1] == ["llmperf"]:
        return []
    broken, worse = any(limits(entry, SLO_BROKEN)), _is_worse(entry)
    if broken or worse:
        steps = _to_look_closer(entry) + _to_bisect(entry) if worse else []
        steps = steps or [f"see whether it repeats: {_again(entry, launches=max(3, entry['launches']))}"]
        return steps + (_of_broken(entry) if broken else _to_accept(entry))
    if any(changes(entry, "inconclusive")) or any(limits(entry, "inconclusive")):
        return _to_decide(entry)
    if is_side_by_side(entry):
        return [f"see whether both sides have a value now: {_again(entry)}"]
    return [f"accept what is measured, if it is as it should be: {_accepting(entry)}"]


def _is_worse(entry: Mapping[str, Any]) -> bool:
    crept = any(point["creep"] for point in entry["points"])
    return crept or any(changes(entry, "regressed"))


def _again(entry: Mapping[str, Any], launches: int | str | None = None, **options: str | None) -> str:
    """The command that measured this, with these options in place of its own; None takes one away."""
    return typed_words(_words(entry, launches, **options))


def _words(entry: Mapping[str, Any], launches: int | str | None = None, **options: str | None) -> list[str]:
    words = list(entry["command"])
    given = options if launches is None else {**options, "launches": str(launches)}
    for name in given:
        for rival in next((group for group in _RIVALS if name in group), (name,)):
            words = _without(words, f"--llmperf-{rival}")
    for name, value in given.items():
        words += [] if value is None else [f"--llmperf-{name}", value]
    return words


def _without(words: Sequence[str], flag: str) -> list[str]:
    kept = [word for word in words if not word.startswith(f"{flag}=")]
    while flag in kept:
        at = kept.index(flag)
        del kept[at : at + 2]
    return kept


# -- the subjects -------------------------------------------------------------------------------------


def _candidate(entry: Mapping[str, Any]) -> Subject | None:
    return _startable(entry["subject"]["text"])


def _base(entry: Mapping[str, Any]) -> Subject | None:
    """The other side as a subject that can be started again; None where that is not what it was.

    What was just "the installed one" is named with its version; at a path there may be something else by now,
    unless it is a wheel, or was measured just now. What got worse in small steps is beside the first of them.
    """
    compared = entry["compared_with"]
    if compared is None:
        return None
    if _is_worse(entry) and not any(changes(entry, "regressed")):
        return _crept_from(entry)
    base = _startable(compared["text"])
    if base is None or is_side_by_side(entry):
        return base
    if base.path is not None:
        return base if base.path.endswith(".whl") else None
    version = compared["fields"].get("version", "unknown")
    if base.version is None and version != entry["subject"]["fields"].get("version"):
        if base.engine == "command":
            return base if compared["text"] != entry["subject"]["text"] else None
        return dataclasses.replace(base, version=version) if version != "unknown" else None
    return base


def _crept_from(entry: Mapping[str, Any]) -> Subject | None:
    """The subject of the first baseline, where its name says which version it was."""
    told = [change["since_subject"] for point in entry["points"] for change in point["creep"]]
    subject = _startable(told[0]) if told else None
    return subject if subject is not None and subject.version is not None else None


def _startable(text: str) -> Subject | None:
    try:
        subject = parse_subject(text)
    except DeclarationError:
        return None
    return None if subject.url is not None or REDACTED in text else subject


def _runs_already(entry: Mapping[str, Any]) -> bool:
    return str(entry["subject"]["fields"].get("engine", "")).startswith("http")


# -- worse --------------------------------------------------------------------------------------------


def _to_look_closer(entry: Mapping[str, Any]) -> list[str]:
    base = _base(entry)
    load = _worst_load(entry)
    if base is None or _runs_already(entry):
        return [f"see whether it repeats at that load alone: {_again(entry, **load)}"] if load else []
    if is_side_by_side(entry) and not load:
        return [f"see whether it repeats: {_again(entry)}"]
    alone = " at that load alone" if load else ""
    beside = "" if is_side_by_side(entry) else f", side by side with {base}"
    return [f"look closer{beside}{alone}: {_again(entry, against=str(base), **load)}"]


def _worst_load(entry: Mapping[str, Any]) -> dict[str, str]:
    """The option for the load point that got worse most; none where a test has only one."""
    worse = [
        (abs(math.log1p(change["estimate"])), number, point)
        for number, point in enumerate(entry["points"])
        for change in (*point["changes"], *point["creep"])
        if change["verdict"] == "regressed" and not _is_of_launch(change)
    ]
    if not worse or len({point["load"] for point in entry["points"]}) < 2:
        return {}
    declared = max(worse)[2]["declared"]["load"]
    return {
        option: f"{declared[kind]:g}" if isinstance(declared[kind], float) else str(declared[kind])
        for kind, option in _LOADS.items()
        if declared.get(kind) is not None
    }


def _to_bisect(entry: Mapping[str, Any]) -> list[str]:
    here, there = entry["subject"]["fields"], (entry["compared_with"] or {}).get("fields")
    candidate = _candidate(entry)
    if there is None or candidate is None:
        return []
    old, new = there.get("commit"), here.get("commit")
    if candidate.path is not None and old != new and _is_commit(old) and _is_commit(new):
        return [f"find the commit: {_commits(entry, candidate, str(old), str(new))}"]
    base = _base(entry)
    if base is None:
        return []
    old, new = there.get("version", "unknown"), here.get("version", "unknown")
    if old != new:
        return _to_find_release(entry, base, candidate, old, new)
    return _to_find_flags(entry, base, candidate)


def _is_commit(text: str | None) -> bool:
    return text is not None and _COMMIT.fullmatch(text) is not None


def _to_find_release(
    entry: Mapping[str, Any], base: Subject, candidate: Subject, old: str, new: str
) -> list[str]:
    """Between two releases of one engine; first of all it is asked whether it is the flags."""
    is_packaged = base.path is None and candidate.path is None and base.engine != "command"
    if not is_packaged or base.engine != candidate.engine or not any(changes(entry, "regressed")):
        return []
    steps = []
    if (candidate.args, candidate.env) != (base.args, base.env):
        alike = dataclasses.replace(candidate, args=base.args, env=base.env)
        command = _again(entry, engine=str(alike), against=str(base))
        steps.append(f"tell the flags from the version, by the old flags with the new version: {command}")
    if _RELEASE.fullmatch(old) and _RELEASE.fullmatch(new):
        ends = (str(dataclasses.replace(base, version=version)) for version in (old, new))
        steps.append(f"find the release: {_bisection(entry, *ends)}")
    return steps


def _to_find_flags(entry: Mapping[str, Any], base: Subject, candidate: Subject) -> list[str]:
    """Where several flags and variables differ, and nothing else."""
    differing = [line for line in entry["subject_differences"] if line.startswith(("flag ", "variable "))]
    if len(differing) < 2 or (base.engine, base.path) != (candidate.engine, candidate.path):
        return []
    good = dataclasses.replace(base, version=candidate.version)  # it is the same, as it turned out
    if (good.args, good.env) == (candidate.args, candidate.env):
        return []
    return [f"find the flag: {_bisection(entry, str(good), str(candidate))}"]


def _commits(entry: Mapping[str, Any], candidate: Subject, good: str, bad: str) -> str:
    path = str(candidate.path)
    there = [] if path in (".", "./") else ["--repository", path]
    template = str(dataclasses.replace(candidate, path="{checkout}"))
    # As a person types it: quoted once.
    template = template.replace(
        shlex.quote(f"{candidate.engine}@{{checkout}}"), f"{candidate.engine}@{{checkout}}"
    )
    return _bisection(entry, good, bad, *there, "--subject", template)


def _bisection(entry: Mapping[str, Any], good: str, bad: str, *more: str) -> str:
    """At the load that got worse most, which is quicker."""
    measured = without_refused(_words(entry, **_worst_load(entry))[2:])  # after pytest --llmperf
    return typed_words(["llmperf", "bisect", "--good", good, "--bad", bad, *more, "--", *measured])


def _to_accept(entry: Mapping[str, Any]) -> list[str]:
    if is_side_by_side(entry):
        return []
    return [f"if it is meant to be so, accept it: {_accepting(entry)}"]


def _accepting(entry: Mapping[str, Any]) -> str:
    """Into the project's own baselines: what is on a branch cannot be written to."""
    return f"{_again(entry, baseline=None)} --llmperf-update"


def _of_broken(entry: Mapping[str, Any]) -> list[str]:
    if _all_failed(entry):
        return ["read what the engine says: the examples of its errors, and its log"]
    if all(_is_of_launch(objective) for _, objective in limits(entry, SLO_BROKEN)):
        return ["see what the start spends its time on: its phases, and the engine's log"]
    where = {parse_metric(objective["metric"]).metric.per for _, objective in limits(entry, SLO_BROKEN)}
    if where == {"search"}:
        return ["see which limit is reached first, and how: @sweep() shows how latency grows with load"]
    if all("batch" in point["declared"]["load"] for point, _ in limits(entry, SLO_BROKEN)):
        return ["look at the engine's flags, or at the limit: a batch has no load that could be less"]
    return [
        "find the load that still meets the SLO: one of those that were measured, or less in --llmperf-rates "
        "or --llmperf-concurrency"
    ]


def _is_of_launch(judged: Mapping[str, Any]) -> bool:
    return parse_metric(judged["metric"]).metric.per == "launch"


def _all_failed(entry: Mapping[str, Any]) -> bool:
    return all(
        sum(error["count"] for error in run["errors"].values()) == run["requests"]
        for point in entry["points"]
        for run in point["runs"]
    )


# -- undecided ----------------------------------------------------------------------------------------


def _to_decide(entry: Mapping[str, Any]) -> list[str]:
    undecided = [change for _, change in changes(entry, "inconclusive")]
    objectives = [objective for _, objective in limits(entry, "inconclusive")]
    if _runs_already(entry):
        return [_AT_A_URL] if undecided else [_LONGER]
    needed = [launches_to_decide(_change(change)) for change in undecided]
    needed += [_launches_for(objective) for objective in objectives]
    least = max((n for n in needed if n is not None), default=None)
    if least is None:
        near = "--llmperf-tolerance" if undecided else "the limit"
        return [f"more launches will hardly decide it: it lies too close to {near}"]
    least = max(_FEWEST, least)
    told = f"{least}..{least + max(2, least // 2)}"
    is_short = not is_side_by_side(entry) and any(c["base_launches"] < least for c in undecided)
    # What stopped for want of time would do so again.
    options: dict[str, str | None] = {"budget": None}
    if is_short and (base := _base(entry)) is not None:
        command = _again(entry, told, **options, against=str(base))
        return [f"decide it side by side, with about {least} launches of each: {command}"]
    both = " on both sides" if undecided else ""
    steps = [f"decide it with about {least} launches{both}: {_again(entry, told, **options)}"]
    if is_short:
        steps.append("the same with --llmperf-update, run on what the baseline is from, gives it as many")
    return steps


def _launches_for(objective: Mapping[str, Any]) -> int | None:
    """About how many launches bring the limit out of the interval, whose width goes with 1/√launches."""
    distance = abs(objective["value"] - objective["limit"])
    half = max(objective["value"] - objective["low"], objective["high"] - objective["value"])
    if not distance:
        return None
    needed = math.ceil(objective["launches"] * (half / distance) ** 2)
    return max(objective["launches"] + 1, needed) if needed <= _HOPELESS else None


def _change(entry: Mapping[str, Any]) -> Change:
    fields = {field.name: entry[field.name] for field in dataclasses.fields(Change)}
    return Change(**{**fields, "verdict": Verdict(entry["verdict"])})
