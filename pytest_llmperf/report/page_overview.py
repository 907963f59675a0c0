"""The top of the page: what was tested, how it ended, a sentence on each test that failed, what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

from pytest_llmperf.declare.metrics import CAPACITY, parse_metric
from pytest_llmperf.report.judged import is_side_by_side
from pytest_llmperf.report.markup import Child, Markup, tag
from pytest_llmperf.report.outcome import HINDERED, outcomes
from pytest_llmperf.report.page_record import FAILING, UNSURE, Entry, Record, mean_of, name_of
from pytest_llmperf.report.page_subjects import preformatted
from pytest_llmperf.report.page_tables import table
from pytest_llmperf.report.page_test import badge, steps, told, tone
from pytest_llmperf.report.table import is_search

_STATUS = {
    "running": "this session was not finished when its record was written",
    "stopped": "this session was stopped before all tests had run",
    "interrupted": "this session was interrupted",
    "crashed": "this session crashed",
}
_SILENT = ("error", "invalid", HINDERED)


def title_of(records: Sequence[Record]) -> str:
    """What stands on the tab of a browser."""
    return (
        f"{_count(len(records), 'record')} · llmperf"
        if len(records) != 1
        else f"{_ended(records[0])} · llmperf"
    )


def overview(record: Record, anchors: Sequence[str], *, level: int) -> Iterator[Child]:
    """The headline of one session; ``anchors`` are where its tests stand on the page."""
    yield tag("p", " · ".join(_when(record)), class_="quiet")
    yield tag(f"h{level}", _ended(record), class_=_tone(record))
    for line in dict.fromkeys(_tested(entry) for entry in record["tests"]):
        yield tag("p", line, class_="tested")
    if record["status"] in _STATUS:
        yield tag("p", _STATUS[record["status"]].capitalize(), ".", class_="unsure")
    yield _failures(record)
    yield _stories(record["tests"], anchors)
    yield _contents(record["tests"], anchors)


def _ended(record: Record) -> str:
    """``2 of 5 tests failed``; one whose engine did not start counts, though it has measured nothing."""
    words = [outcome.word for outcome in outcomes(record)]
    if not record["tests"]:
        return "Nothing was measured"
    silent = sum(word in _SILENT for word in words)
    failed = sum(word in FAILING for word in words if word not in _SILENT)
    unsure = sum(word in UNSURE for word in words)
    if len(words) == 1:
        said = "failed" if failed else "could not be measured" if silent else "passed"
        return f"The test {f'is {words[0]}' if unsure else said}"
    of = f"of {len(words)} tests"
    if failed:
        return f"{failed} {of} failed" + (f", {silent} could not be measured" if silent else "")
    if silent:
        return f"{silent} {of} could not be measured"
    unjudged, left = words.count("not judged"), unsure - words.count("not judged")
    if record["status"] == "interrupted" and unjudged == len(words):
        return f"Interrupted: {len(words)} tests measured, none judged"
    parts = [f"{left} {of} undecided"] if left else []
    parts += [f"{unjudged} {'' if parts else f'{of} '}not judged"] if unjudged else []
    return ", ".join(parts) or f"All {len(words)} tests passed"


def _tone(record: Record) -> str:
    """The colour of the headline: that of the test that fared worst."""
    worst = next((outcome.word for outcome in outcomes(record)), "not judged")
    return tone("not judged" if worst == HINDERED else worst)


def _when(record: Record) -> Iterator[str]:
    started = str(record["started"])
    yield started.replace("T", " ").replace("+00:00", " UTC")
    try:
        took = datetime.fromisoformat(str(record["written"])) - datetime.fromisoformat(started)
    except (ValueError, TypeError, KeyError):
        took = None
    if took is not None:
        minutes, seconds = divmod(round(took.total_seconds()), 60)
        yield f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
    yield _count(len(record["launches"]), "launch", "es")
    if version := record["versions"].get("pytest-llmperf"):
        yield f"pytest-llmperf {version}"


def _tested(entry: Entry) -> str:
    """``vllm==0.24.0 against vllm==0.22.1, side by side, on NVIDIA H100``."""
    said = [entry["subject"]["text"] or "no subject"]
    version = entry["subject"]["fields"].get("version", "")
    if version and version not in said[0]:
        said[0] += f" ({version})"
    if is_side_by_side(entry):
        base = entry["compared_with"]
        version = base["fields"].get("version", "")
        told = base["text"] if not version or version in base["text"] else f"{base['text']} ({version})"
        said.append(f"against {told}, side by side")
    elif entry["compared_with"] is not None:
        said.append(f"against its baseline, {entry['compared_with']['text']}")
    environment = entry["environment"]
    where = environment.get("accelerators") or environment.get("cpu")
    if where:
        said.append(f"on {where}")
    return " ".join(said)


def _failures(record: Record) -> Markup | None:
    """Where an engine did not start, or failed, and why."""
    told = [tag("li", *_failure(failure)) for failure in record["failures"]]
    return tag("ul", told, class_="bad") if told else None


def _failure(failure: Entry) -> Iterator[Child]:
    """What happened, then the command, the exit code and the end of the log, line by line."""
    first, *others = str(failure.get("error", "")).splitlines() or [""]
    yield f"{name_of(failure)}: {failure.get('text', '')} ({failure.get('side', '')}): {first}"
    if others:
        yield preformatted(others)


def _stories(tests: Sequence[Entry], anchors: Sequence[str]) -> Markup | None:
    """One sentence and the next steps for each test that did not pass, failed ones first."""
    found = sorted(
        (entry["verdict"] not in FAILING, number)
        for number, entry in enumerate(tests)
        if entry["verdict"] in FAILING or entry["verdict"] == "inconclusive"
    )
    told_of = [
        tag(
            "li",
            badge(tests[i]["verdict"]),
            tag("div", tag("p", _linked(tests[i], anchors[i])), _first_step(tests[i])),
        )
        for _, i in found
    ]
    return tag("ul", told_of, class_="stories") if told_of else None


def _first_step(entry: Entry) -> Markup | None:
    found = steps(entry)
    return tag("p", tag("span", "Next: ", class_="quiet"), found[0]) if found else None


def _linked(entry: Entry, anchor: str) -> Child:
    return tag("a", told(entry), href=f"#{anchor}")


def _contents(tests: Sequence[Entry], anchors: Sequence[str]) -> Markup | None:
    """All tests with their lightest load's latencies, if there are several."""
    if len(tests) < 2:
        return None
    counts = Counter(entry["verdict"] for entry in tests)
    chips = [tag("span", f"{count} ", badge(verdict), class_="count") for verdict, count in counts.items()]
    rows = [
        (_link(entry, anchor), badge(entry["verdict"]), *key_figures(entry))
        for entry, anchor in zip(tests, anchors, strict=True)
    ]
    return tag("div", tag("p", chips), table("Tests", ("test", "verdict", *_KEYS), rows, words=2))


_KEYS = ("loads", "capacity", "TTFT p50, ms", "TPOT p50, ms", "most tokens/s")


def _link(entry: Entry, anchor: str) -> Markup:
    return tag("a", name_of(entry), href=f"#{anchor}")


def key_figures(entry: Entry) -> Sequence[str]:
    """The number of loads, what capacity was found, latencies at the lightest load, most output tokens."""
    points = [point for point in entry["points"] if point["runs"] and not is_search(point)]
    rated = [(mean_of(point["runs"], "requests_per_s"), point) for point in points]
    lightest = min(((rate, i) for i, (rate, _) in enumerate(rated) if rate), default=None)
    at = points[lightest[1]]["runs"] if lightest else []
    most = [value for point in points if (value := mean_of(point["runs"], "output_tokens_per_s")) is not None]
    found = [value for point in entry["points"] if (value := mean_of(point["runs"], CAPACITY)) is not None]
    return (
        str(len(points) or "–"),
        ", ".join(parse_metric(CAPACITY).format(value) for value in found) or "–",
        *(_short(mean_of(at, name)) for name in ("ttft_p50_ms", "tpot_p50_ms")),
        f"{max(most):.0f}" if most else "–",
    )


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def index(
    records: Sequence[Record], anchors: Sequence[Sequence[str]], sections: Sequence[str]
) -> Iterator[Child]:
    """What stands above several records: a line for each test of each."""
    yield tag("h1", _count(len(records), "record"))
    rows = [
        (
            tag("a", str(record["started"]).replace("T", " ").replace("+00:00", ""), href=f"#{section}"),
            entry["subject"]["text"],
            _link(entry, anchor),
            badge(entry["verdict"]),
            *key_figures(entry),
        )
        for record, of_record, section in zip(records, anchors, sections, strict=True)
        for entry, anchor in zip(record["tests"], of_record, strict=True)
    ]
    yield table("Records", ("session, UTC", "subject", "test", "verdict", *_KEYS), rows, words=4)


def _count(number: int, word: str, plural: str = "s") -> str:
    return f"{number} {word}{plural if number != 1 else ''}"
