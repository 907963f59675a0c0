"""The paragraph under a failed test: what got worse, by how much, what differs, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from pytest_llmperf.declare.metrics import parse_metric
from pytest_llmperf.judge.change import CONFIDENCE, Change, launches_to_decide
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.report.table import percent

_MOST_NEW = 6


def explain(entry: Mapping[str, Any]) -> str:
    """Plain words for an entry whose verdict is not a pass."""
    broken, worse, undecided = _broken(entry), _changes(entry, "regressed"), _changes(entry, "inconclusive")
    name = entry["test"].rpartition("::")[2]
    said = []
    if broken:
        said.append("misses its SLO")
    if worse:
        said.append("is worse than its baseline")
    if not said and undecided:
        said.append("could not be told from its baseline, nor be called equal")
    if not said:
        said.append("was not compared with a baseline in everything")
    first = next(iter((*broken, *worse)), "").partition(" (")[0].partition("\n")[0]
    headline = f"{first}: " if first else ""
    lines = [f"{headline}{name} {' and '.join(said)} ({entry['subject']['text']}).", ""]
    lines += [f"  SLO       {line}" for line in broken]
    lines += [f"  worse     {line}" for line in worse]
    if not (broken or worse):
        lines += [f"  undecided {line}" for line in undecided]
    if worse or undecided:
        lines += ["", f"  {entry['baseline']}", *_what_differs(entry)]
    elif not broken:
        lines.append(f"  {entry['baseline']}")
    lines += ["", "  Next:", *(f"    {step}" for step in _next_steps(entry, bool(broken), bool(worse)))]
    return "\n".join(lines)


def _broken(entry: Mapping[str, Any]) -> list[str]:
    lines = []
    for point in entry["points"]:
        for objective in point["objectives"]:
            if objective["met"]:
                continue
            key = parse_metric(objective["metric"])
            line = (
                f"{objective['label']} at {point['load']} is {key.format(objective['value'])}, "
                f"limit {key.format(objective['limit'])}"
            )
            if objective["margin"] is not None:
                beyond = "over" if key.metric.better == "lower" else "short"
                line += (
                    f" ({percent(abs(objective['margin']))[1:]} {beyond}; "
                    f"missed in {objective['missed']} of {objective['launches']} launches)"
                )
            if objective["metric"] == "error_rate":
                line = "\n".join((line, *(f"{'':14}{error}" for error in error_lines(point))))
            lines.append(line)
    return lines


def error_lines(point: Mapping[str, Any]) -> list[str]:
    """The kinds of errors at a load point: how many there were, and one of them."""
    found: dict[str, tuple[int, str]] = {}
    for run in point["runs"]:
        for kind, error in run["errors"].items():
            count, example = found.get(kind, (0, error["example"]))
            found[kind] = count + error["count"], example
    return [f"{count} × {example}" for count, example in found.values()]


def _changes(entry: Mapping[str, Any], verdict: str) -> list[str]:
    lines = []
    for point in entry["points"]:
        for change in point["changes"]:
            if change["verdict"] != verdict:
                continue
            key = parse_metric(change["metric"])
            lines.append(
                f"{change['label']} at {point['load']}: {key.format(change['base'])} → "
                f"{key.format(change['candidate'])}, {percent(change['estimate'])} "
                f"({CONFIDENCE:.0%} interval {percent(change['low'])} to {percent(change['high'])}; "
                f"{change['base_launches']} + {change['candidate_launches']} launches; "
                f"tolerance {change['tolerance'] * 100:.3g}%)"
            )
    return lines


def _what_differs(entry: Mapping[str, Any]) -> list[str]:
    if not entry["subject_differences"]:
        return ["  What differs: nothing that is known of; version, flags, variables and settings are equal"]
    lines = list(entry["subject_differences"])
    # Another version knows other settings; a list of these would hide what matters.
    new = [line for line in lines if line.startswith("setting ") and _is_of_one_side(line)]
    if len(new) > _MOST_NEW:
        names = ", ".join(line.removeprefix("setting ").partition(":")[0] for line in new[:_MOST_NEW])
        lines = [line for line in lines if line not in new]
        lines.append(f"{len(new)} settings that only one of them tells, all in the record: {names}, …")
    return ["  What differs:", *(f"    {line}" for line in lines)]


def _is_of_one_side(difference: str) -> bool:
    return ": (none) → " in difference or difference.endswith(" → (none)")


def _next_steps(entry: Mapping[str, Any], broken: bool, worse: bool) -> list[str]:
    again = shlex.join(entry["command"])
    undecided = [c for p in entry["points"] for c in p["changes"] if c["verdict"] == "inconclusive"]
    if not (broken or worse):
        if undecided:
            return _steps_to_decide(entry, undecided, again)
        return [f"accept what is measured, if it is as it should be: {again} --llmperf-update"]
    again += f" --llmperf-launches {max(3, entry['launches'])}"
    steps = [f"see whether it repeats: {again}"]
    if worse and not broken:
        steps.append(f"if it is meant to be so, accept it: {again} --llmperf-update")
    if broken and _all_failed(entry):
        steps.append("read what the engine says: the examples above, and its log")
    elif broken:
        steps.append(
            "find the load that still meets the SLO: the table below, or less in --llmperf-rates or "
            "--llmperf-concurrency"
        )
    return steps


def _steps_to_decide(entry: Mapping[str, Any], undecided: list[Any], again: str) -> list[str]:
    if str(entry["subject"]["fields"].get("engine", "")).startswith("http"):
        return [
            "a server at a URL is one launch however often it is measured, and launches of one build differ; "
            "only a change beyond the interval can be told: widen --llmperf-tolerance, or test an engine "
            "that is started from here"
        ]
    needed = [launches_to_decide(_change(change)) for change in undecided]
    most = max((n for n in needed if n is not None), default=None)
    if most is None:
        return ["more launches will hardly decide it: it lies too close to --llmperf-tolerance"]
    steps = [f"decide it with more launches on both sides: {again} --llmperf-launches {most}"]
    if any(change["base_launches"] < most for change in undecided):
        steps.append(
            "the same with --llmperf-update, run on what the baseline is from, gives it as many launches"
        )
    return steps


def _all_failed(entry: Mapping[str, Any]) -> bool:
    return all(
        sum(error["count"] for error in run["errors"].values()) == run["requests"]
        for point in entry["points"]
        for run in point["runs"]
    )


def _change(entry: Mapping[str, Any]) -> Change:
    fields = {name: value for name, value in entry.items() if name not in ("metric", "label", "verdict")}
    return Change(**fields, verdict=Verdict(entry["verdict"]))
