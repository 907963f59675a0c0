"""What was tested, beside what, and where: subjects, their differences, the environment, the starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pytest_llmperf.report.differs import what_differs
from pytest_llmperf.report.markup import Child, Markup, tag
from pytest_llmperf.report.page_record import Entry, Record
from pytest_llmperf.report.page_tables import table
from pytest_llmperf.report.startup import startup_lines

_SETTING = "setting "


def differences(entry: Entry) -> Markup | None:
    """What differs between the subjects, where two were compared; with all that is folded in a terminal."""
    if entry["compared_with"] is None and not entry["subject_differences"]:
        return None
    head, *lines = what_differs(entry["subject_differences"])
    every = entry["subject_differences"]
    folded = any("all in the record" in line for line in lines)
    return tag(
        "section",
        tag("h4", "What differs"),
        preformatted(lines) if lines else tag("p", head.removeprefix("What differs: ")),
        fold(f"All {len(every)} differences", tag("ul", [tag("li", one) for one in every]))
        if folded
        else None,
    )


def preformatted(lines: Sequence[str]) -> Markup:
    """Lines whose columns matter."""
    return tag("pre", [[line, Markup("\n")] for line in lines])


def fold(title: str, *content: Child, is_open: bool = False) -> Markup:
    """What is there for who wants it."""
    return tag("details", tag("summary", title), content, open=is_open)


def subjects(record: Record) -> Markup | None:
    """Each subject once, with the fields that were typed, and its settings folded."""
    parts = [_subject(text, fields) for text, fields in _found(record)]
    return tag("section", tag("h3", "Subjects"), parts) if parts else None


def _found(record: Record) -> Iterator[tuple[str, Mapping[str, str]]]:
    """What was launched; of a session without launches, what its tests name."""
    seen: list[tuple[str, Mapping[str, str]]] = []
    told = [(launch.get("text", ""), launch["subject"]) for launch in record["launches"]]
    told += [(entry["subject"]["text"], entry["subject"]["fields"]) for entry in record["tests"]]
    for text, fields in told:
        if text and text not in [known for known, _ in seen]:
            seen.append((text, fields))
    yield from seen


def _subject(text: str, fields: Mapping[str, str]) -> Markup:
    settings = [
        (name.removeprefix(_SETTING), value) for name, value in fields.items() if name.startswith(_SETTING)
    ]
    typed = [(name, value) for name, value in fields.items() if not name.startswith(_SETTING)]
    return tag(
        "section",
        tag("h4", text),
        pairs(typed),
        fold(f"{len(settings)} settings as the engine tells them", pairs(settings)) if settings else None,
    )


def pairs(of: Sequence[tuple[str, object]]) -> Markup | None:
    """Names and what they stand for."""
    if not of:
        return None
    return tag("dl", [tag("div", tag("dt", name), tag("dd", str(value))) for name, value in of])


def environments(record: Record) -> Markup | None:
    """Where it was measured; each environment once."""
    seen: dict[str, list[tuple[str, object]]] = {}
    for entry in record["tests"]:
        if entry["environment"]:
            seen.setdefault(str(sorted(entry["environment"].items())), list(entry["environment"].items()))
    parts = [pairs(one) for one in seen.values()]
    return tag("section", tag("h3", "Environment"), parts) if parts else None


def starts(record: Record) -> Markup | None:
    """How long the engines took to start, where their logs are, what the machine said."""
    launches = record["launches"]
    if not launches:
        return None
    lines = [tag("p", line) for line in startup_lines([one for one in launches if "text" in one])]
    rows = [
        (
            str(launch.get("launch", "")),
            launch["side"],
            launch.get("text", ""),
            launch["startup_cache"] or "–",
            f"{max(launch['startup_s'].values()):.1f} s" if launch["startup_s"] else "ran already",
            "; ".join(map(str, (*launch["notes"], *launch["disturbances"]))) or "–",
        )
        for launch in launches
    ]
    heads = ("launch", "side", "subject", "caches", "start-up", "notes")
    listed = table("Launches", heads, rows, words=6)
    logs = [tag("li", tag("code", str(launch["log"]))) for launch in launches if launch["log"]]
    return tag(
        "section",
        tag("h3", "Launches"),
        lines,
        fold("Each start", listed),
        fold("Logs of the engines", tag("ul", logs)) if logs else None,
    )
