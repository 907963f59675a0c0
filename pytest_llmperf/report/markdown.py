"""A session in GitHub's Markdown, for the comment on a pull request: for someone who has one minute.

The verdict comes first, then the lines that matter, then what differs, how to measure it again and how to
find what did it. The rest is folded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pytest_llmperf.declare.nodeid import short_name
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.report.cause import likely_cause
from pytest_llmperf.report.differs import what_differs
from pytest_llmperf.report.explain import error_lines
from pytest_llmperf.report.figures import MATTERS, PASSED, TITLES, figure_rows
from pytest_llmperf.report.gfm import block, code, folded, plain, table
from pytest_llmperf.report.outcome import HINDERED, Outcome, outcomes
from pytest_llmperf.report.printable import TYPED, instead_of, typed_words
from pytest_llmperf.report.probes import probe_lines
from pytest_llmperf.report.progress import duration
from pytest_llmperf.report.steps import next_steps
from pytest_llmperf.report.sweeps import sweep_lines
from pytest_llmperf.report.told import told

MOST = 60_000
"""Characters: GitHub refuses a comment of more than 65,536, and whoever posts this may add to it."""
_ROWS, _FOLDED_ROWS, _ERRORS, _STEPS = 10, 40, 3, 5
_ICONS = {"pass": "✅", "improved": "✅", "inconclusive": "⚠️", "invalid": "⚠️", HINDERED: "⚠️"}
_SILENT = (HINDERED, str(Verdict.INVALID), str(Verdict.ERROR))
_FINE = ("pass", "improved")
_ENDS = {
    "stopped": "The session was stopped early (`-x`, say): other tests were not measured.",
    "interrupted": "The session was interrupted: this is what was known until then.",
    "crashed": "pytest crashed: this is what was known until then.",
    "running": "The session did not end: this is what was known until then.",
}
_CUT_SHORT = ("interrupted", "crashed", "running")

Record = Mapping[str, Any]
Lines = list[str]


def markdown(records: Sequence[Record], most: int = MOST) -> str:
    """One comment on these records, of ``most`` characters. The first line marks it as one of ours:
    ``<!-- llmperf:NAME -->``, where the name is that of the engines."""
    lines = [marker(_engines(records)), ""]
    left = most - sum(map(len, lines)) - 200
    for number, record in enumerate(sorted(records, key=_severity)):
        sections = [*([["---", ""]] if number else []), *_sections(record)]
        dropped = 0
        for section in sections:
            size = sum(len(line) + 1 for line in section)
            if size > left:
                dropped += 1
                continue
            left -= size
            lines += section
        if dropped:
            parts = "one part is" if dropped == 1 else f"{dropped} parts are"
            note = f"_Cut: {parts} left out, since a comment has an end. The record has all._"
            lines += [note, ""] if left > 0 else []
            left -= len(note)
    return "\n".join(lines).rstrip() + "\n"


def marker(name: str) -> str:
    """The comment that tells a tool which of the comments on a pull request is its own."""
    return f"<!-- llmperf:{re.sub(r'[^A-Za-z0-9._/@ ]+', '-', name)[:80].strip() or 'llmperf'} -->"


def _engines(records: Sequence[Record]) -> str:
    entries = (entry for record in records for entry in record["tests"])
    return " ".join(sorted({str(entry["subject"]["fields"].get("engine", "")) for entry in entries}))


def _severity(record: Record) -> tuple[int, float, str]:
    return min((outcome.rank for outcome in outcomes(record)), default=(-1, 0.0, ""))


def _sections(record: Record) -> Iterator[Lines]:
    """The parts of the comment; each stands for itself, so that one can be left out."""
    found = outcomes(record)
    icon = _ICONS.get(found[0].word, "❌") if found else "⚠️"
    said, *sentences = told(found)
    yield [f"### {icon} LLM serving performance: {said}", "", *sentences, ""]
    if record["status"] in _ENDS:
        yield [_ENDS[record["status"]], ""]
    yield from _figures(found)
    yield from _silent(found)
    yield from _why(found)
    yield from _next(found, is_whole=record["status"] not in _CUT_SHORT)
    yield from _fine(found)
    yield _compared(found)
    yield [_footer(record), ""]


# -- figures ------------------------------------------------------------------------------------------


def _figures(found: Sequence[Outcome]) -> Iterator[Lines]:
    entries = [outcome.entry for outcome in found if outcome.entry and outcome.word not in _SILENT]
    rows = figure_rows(entries, MATTERS)
    if not rows:
        return
    yield [*_table(rows[:_ROWS]), ""]
    if more := rows[_ROWS:]:
        yield _folded_rows(f"{len(more)} more lines of these", more)


def _fine(found: Sequence[Outcome]) -> Iterator[Lines]:
    entries = [outcome.entry for outcome in found if outcome.entry and outcome.word not in _SILENT]
    rows = figure_rows(entries, PASSED)
    if rows:
        n = len(rows)
        told_of = f"{n} figure{'s' if n > 1 else ''} within {'their' if n > 1 else 'its'} tolerance or limit"
        yield _folded_rows(told_of, rows)


def _folded_rows(title: str, rows: Sequence[Sequence[str]]) -> Lines:
    more = [f"… and {len(rows) - _FOLDED_ROWS} more in the record", ""] if len(rows) > _FOLDED_ROWS else []
    return folded(title, [*_table(rows[:_FOLDED_ROWS]), "", *more])


def _table(rows: Sequence[Sequence[str]]) -> Lines:
    """Without the columns in which there is nothing, or the same test everywhere."""
    shown = [
        number
        for number, title in enumerate(TITLES)
        if any(row[number] for row in rows) and (title != "test" or len({row[number] for row in rows}) > 1)
    ]
    return table([TITLES[number] for number in shown], ([row[number] for number in shown] for row in rows))


# -- what there is no figure for ------------------------------------------------------------------------


def _silent(found: Sequence[Outcome]) -> Iterator[Lines]:
    """What engines and the load generator said where nothing could be measured."""
    silent = [outcome for outcome in found if outcome.word in _SILENT]
    lines: Lines = []
    for outcome in silent[:_ERRORS]:
        head = [f"{code(short_name(outcome.test), 80)}: {_WORDS[outcome.word]}", ""] if len(found) > 1 else []
        lines += [*head, *block(_ends(outcome.error.splitlines()), "text", most=14, widest=300), ""]
    if more := silent[_ERRORS:]:
        names = ", ".join(code(short_name(outcome.test), 80) for outcome in more[:20])
        lines += [f"Nor is anything known of {names}{' …' if len(more) > 20 else ''}.", ""]
    if silent and silent[0] is not found[0]:
        lines = folded(f"{_count(len(silent), 'test')} of which nothing is known", lines)
    if silent:
        yield lines
    for outcome in found:
        kinds = [line for point in (outcome.entry or {}).get("points", ()) for line in error_lines(point)]
        if kinds and outcome.word not in _SILENT:
            yield ["Requests that failed:", "", *block(dict.fromkeys(kinds), "text", most=5), ""]
            return


_WORDS = {
    HINDERED: "what the engine needs was in use or out of reach, which says nothing about it",
    "invalid": "the measurement is invalid, which says nothing about the engine",
    "error": "there is no measurement",
}


def _ends(lines: Sequence[str]) -> list[str]:
    """The first and the last of many lines: what happened, and the end of the engine's log."""
    return list(lines) if len(lines) <= 13 else [*lines[:4], f"… {len(lines) - 12} lines …", *lines[-8:]]


# -- why, and what next ---------------------------------------------------------------------------------


def _why(found: Sequence[Outcome]) -> Iterator[Lines]:
    """What differs in the test that fared worst, and in how many others it does as well."""
    compared = [o.entry for o in found if o.entry and o.entry["compared_with"] and o.word not in _SILENT]
    if not compared:
        return
    entry = compared[0]
    title, *lines = what_differs(entry["subject_differences"])
    shown = block((line[2:] for line in lines), most=16) if lines else []
    if all(outcome.word in _FINE for outcome in found):
        yield folded(title.rstrip(":"), shown) if shown else [title, ""]
        return
    others = [other for other in compared if other["subject_differences"] != entry["subject_differences"]]
    of = f" of {code(short_name(entry['test']), 80)}; in other tests, other things" if others else ""
    head, _, rest = title.partition(":")
    yield [f"**{head}**{of}{':' if rest else ''}{rest}", "", *shown, ""]
    if cause := likely_cause(entry):
        word = "Likely" if cause.is_told else "Perhaps"
        yield [f"**{word}:** {plain(cause.part)} ({plain('; '.join(cause.basis), 400)})", ""]


def _next(found: Sequence[Outcome], *, is_whole: bool) -> Iterator[Lines]:
    """What to type: of the worst test as it stands, of the others folded."""
    wanting = [o for o in found if o.entry and o.word not in (*_FINE, *_SILENT)]
    steps = [(outcome, _steps(outcome, is_whole=is_whole)) for outcome in wanting[:_STEPS]]
    for number, (outcome, lines) in enumerate(steps):
        of = f" of {code(short_name(outcome.test), 80)}" if len(wanting) > 1 else ""
        if not number:
            yield [f"**Next**{of}", "", *lines, ""]
    if len(steps) > 1:
        rest = [line for o, lines in steps[1:] for line in (code(short_name(o.test), 80), "", *lines, "")]
        yield folded(f"Next of {_count(len(steps) - 1, 'other test')}", rest)
    silent = [outcome for outcome in found if outcome.word in _SILENT and outcome.entry]
    if silent and not steps:
        again = ["# measure it again, with nothing else running", _typed(_again(silent[0]))]
        yield ["**Next**", "", *block(again, "sh", widest=TYPED), ""]


def _again(outcome: Outcome) -> str:
    """The command that measured this test."""
    return typed_words(outcome.entry["command"]) if outcome.entry else ""


def _steps(outcome: Outcome, *, is_whole: bool) -> Lines:
    """``is_whole``: the session came to its end."""
    assert outcome.entry is not None
    lines: Lines = []
    # What failed by itself is not accepted, nor measured more often: its own assertions decide. Nor is what
    # nobody has judged because there is too little of it.
    is_cut = outcome.word == Verdict.NOT_JUDGED and not (is_whole and outcome.entry["points"])
    steps = [] if is_cut or outcome.word == Verdict.FAILED_BY_ITSELF else next_steps(outcome.entry)
    for step in steps or [f"measure it again: {_again(outcome)}"]:
        said, command = _parted(step)
        lines += [f"# {said}", *([_typed(command)] if command else [])]
    return block(lines, "sh", widest=TYPED)


def _typed(command: str) -> str:
    said = instead_of(command)
    return command if said is None else f"# ({said})"


def _parted(step: str) -> tuple[str, str]:
    """What a step is for, and its command."""
    found = re.search(r": (?=(?:pytest|llmperf) )", step)
    return (step[: found.start()], step[found.end() :]) if found else (step, "")


# -- the rest -------------------------------------------------------------------------------------------


def _compared(found: Sequence[Outcome]) -> Lines:
    """What each test was compared with, and what was left out of it."""
    lines = []
    for outcome in found[:_FOLDED_ROWS]:
        if (entry := outcome.entry) is None:
            continue
        how = plain(entry["baseline"], 300) or "compared with nothing"
        if not entry["launches"]:
            probes = [plain(line, 400) for line in probe_lines(entry)] or ["nothing was measured"]
            lines += [f"* {code(entry['test'], 120)}: {probes[0]}", *(f"  * {line}" for line in probes[1:])]
            continue
        lines.append(
            f"* {code(entry['test'], 120)} {outcome.word}: {code(entry['subject']['text'])} "
            f"{plain(entry['subject']['fields'].get('version', ''), 60)}, "
            f"{_count(entry['launches'], 'launch', 'es')}; {how}"
        )
        lines += [f"  * {plain(line, 300)}" for line in sweep_lines(entry)]
        lines += [f"  * left out: {plain(problem, 300)}" for problem in entry["left_out"][:3]]
    return folded("What was measured, and compared with what", lines) if lines else []


def _footer(record: Record) -> str:
    places = {
        entry["environment"].get("accelerators") or entry["environment"].get("cpu")
        for entry in record["tests"]
    }
    parts = [
        f"pytest-llmperf {record.get('versions', {}).get('pytest-llmperf', '')}".strip(),
        *sorted(filter(None, places))[:3],
    ]
    return f"<sub>{' · '.join([*(plain(part, 80) for part in parts), *_when(record)])}</sub>"


def _when(record: Record) -> list[str]:
    """When it began, and how long it took."""
    try:
        begun, ended = (datetime.fromisoformat(record[name]) for name in ("started", "written"))
        return [f"{begun:%Y-%m-%d %H:%M} UTC", duration((ended - begun).total_seconds())]
    except (KeyError, TypeError, ValueError):
        return []


def _count(n: int, noun: str, plural: str = "s") -> str:
    return f"{n} {noun}{plural if n != 1 else ''}"
