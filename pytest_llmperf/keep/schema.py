"""The JSON Schema of a record: ``docs/record.schema.json``.

A field that is not required was not always written, or there is not always something to write. At its
outermost level a record may have more: what a ``pytest_llmperf_record`` hook puts there.

    python -m pytest_llmperf.keep.schema > docs/record.schema.json
"""

from __future__ import annotations

import json

from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.keep.record import KIND, VERSION
from pytest_llmperf.keep.schema_point import SIDES, point, sweep
from pytest_llmperf.keep.schema_run import metrics, run
from pytest_llmperf.keep.schema_words import (
    Schema,
    fields,
    flag,
    many,
    mapping,
    null_or,
    number,
    one_of,
    or_text,
    ref,
    text,
    time,
    whole,
)

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ANSWERS = {
    "met": "It met its limits.",
    "broken": "It broke one, surely.",
    "undecided": "A limit is within the interval of three runs.",
    "invalid": "The load generator was late, twice.",
    "assumed": "Nothing was measured, and it counts as met: the budget was spent, or no engine started.",
    "engine failed": "The engine did not start, or did not survive.",
}
_SUBJECT = "Engine, version, flags, variables and resolved settings, without secrets: all that can differ."


def schema() -> Schema:
    """Of the whole record."""
    return {
        "$schema": _DIALECT,
        "title": "A record of pytest-llmperf",
        **_record(),
        "additionalProperties": True,
        "$defs": {"run": run(), "metrics": metrics()},
    }


def _record() -> Schema:
    return fields(
        "All that one session measured. Times of day are ISO 8601; every unit is in a field's name or in its "
        "description; numbers have six significant digits.",
        {
            KIND: {"const": VERSION, "description": "What this is, and the version of its form."},
            "status": one_of(
                "How the session ended; running: it has not, or was killed.",
                ("running", "complete", "stopped", "interrupted", "crashed"),
            ),
            "started": time("When the session began."),
            "launches": many("The starts of engines, in their order.", _launch()),
            "tests": many("The performance tests that measured something.", _test()),
        },
        {
            "id": text("The session's own name, which is the same however its record is copied."),
            "written": time("When this file was."),
            "versions": fields(
                "What wrote it.",
                {"pytest-llmperf": text("The plugin's version."), "python": text("Python's.")},
            ),
            "repository": fields(
                "What was checked out where the tests are; empty where there is no repository.",
                {},
                {
                    "commit": text("The name of the commit."),
                    "changed": flag("Whether tracked files were changed since."),
                },
            ),
            "settings": _settings(),
            "failures": many("Engines that did not start, or failed while a test measured them.", _failure()),
            "matrix": fields(
                "The cell of a matrix that this is the record of.",
                {
                    "cell": text("Its name, as in --only."),
                    "declared": mapping("What was declared of it.", {}),
                },
            ),
        },
    )


def _settings() -> Schema:
    return fields(
        "Settings that verdicts depend on.",
        {
            "launches": or_text(whole("How many launches: a number, or a range such as 3-8.")),
            "tolerance": or_text(number("The tolerances for changes, as --llmperf-tolerance has them.")),
            "gate": many("The metrics that are compared.", text("A metric's name.")),
            "percentile": text("The percentile of a metric without one."),
            "request_timeout_s": number("Seconds after which a request has failed."),
        },
    )


def _launch() -> Schema:
    seconds = number("Seconds.")
    return fields(
        "One start of an engine, or one server that ran already.",
        {
            "launch": whole("Its number on its side, from 1."),
            "started": time("When it was ready and had answered."),
            "subject": mapping(_SUBJECT, text("Its value.")),
            "text": text("The subject as one writes it."),
            "startup_s": null_or(
                fields(
                    "Seconds from the start to each phase; null for a server that ran already.",
                    {},
                    {
                        "spawned": number("There was a process, seconds."),
                        "port": number("It took connections, seconds."),
                        "healthy": number("It said that it was ready, seconds."),
                        "first_token": number("The first token came, seconds."),
                        "first_answer": number("The first answer was complete, seconds."),
                    },
                )
            ),
            "log": null_or(text("The file of the engine's log.")),
            "hardware": _hardware(),
            "disturbances": many("What disturbed it, in words.", text("One.")),
        },
        {
            "side": one_of("Whose launch it was in a comparison side by side.", SIDES),
            "command": null_or(text("What starts it by hand; null for a server that ran already.")),
            "startup_cache": null_or(
                {
                    "enum": ["cold", "warm"],
                    "description": "Whether it found its caches, by its log; null: it does not tell.",
                }
            ),
            "startup_phases": mapping("What its log says took how long.", seconds),
        },
    )


def _hardware() -> Schema:
    return fields(
        "What the machine told of itself; empty where nothing can be known.",
        {},
        {
            "kernel": text("The release of the operating system's kernel."),
            "notes": many("What a person has to know of it.", text("One.")),
            "sandbox": text("The id of the Modal sandbox."),
            "image": text("The container image."),
            "gpus": many(
                "The GPUs that it had.",
                fields(
                    "One GPU.",
                    {
                        "index": whole("Its number on the machine."),
                        "uuid": text("Its name in the world."),
                        "name": text("Its model."),
                        "memory_mib": null_or(number("Its memory, MiB.")),
                    },
                    {
                        "memory_before_mib": null_or(number("Memory in use before the start, MiB.")),
                        "memory_after_mib": null_or(number("Memory in use after the stop, MiB.")),
                        "persistence": null_or(text("Its persistence mode.")),
                        "compute_mode": null_or(text("Its compute mode.")),
                    },
                ),
            ),
        },
    )


def _failure() -> Schema:
    return fields(
        "One engine that failed.",
        {
            "test": text("The test's node id."),
            "side": one_of("Whose it was.", SIDES),
            "text": text("The subject as one writes it."),
            "is_hindered": flag(
                "Whether something else was in its way, so that it says nothing of the engine."
            ),
            "error": text("What a person was told."),
        },
    )


def _test() -> Schema:
    words = text("One.")
    return fields(
        "One test.",
        {
            "test": text("Its node id."),
            "command": many("What runs it again.", text("An argument.")),
            "verdict": one_of("What was judged of it.", map(str, Verdict)),
            "error": null_or(text("Why there is nothing to judge; null: there is.")),
            "slo": many("Its limits.", text("One, as in ttft_p95_ms=300.")),
            "subject": fields(
                "What was tested.",
                {"text": text("As one writes it."), "fields": mapping(_SUBJECT, text("Its value."))},
            ),
            "environment": mapping("What has to be equal for a comparison to be fair.", text("Its value.")),
            "launches": whole("How many launches count."),
            "baseline": text("What it was compared with, or why it was not, in words."),
            "is_compared": flag("Whether it was compared with anything."),
            "subject_differences": many("What differs from what it was compared with.", words),
            "points": many("Its load points.", point()),
        },
        {
            "compared_with": null_or(
                fields(
                    "What it was compared with; null: nothing.",
                    {
                        "kind": one_of("What kind of thing that is.", ("baseline", "side by side")),
                        "text": text("Its subject as one writes it."),
                        "fields": mapping(_SUBJECT, text("Its value.")),
                        "launches": whole("How many launches of it there are."),
                        "accepted": null_or(text("When the baseline was accepted; null: it is none.")),
                        "name": null_or(text("What --llmperf-baseline called it; null: nothing.")),
                    },
                )
            ),
            "left_out": many("Runs that say nothing and were made up for, and why.", words),
            "sweeps": many("What is known of sweeps that found their own rates.", sweep()),
            "probed": _probed(),
            "workload": text("The workload of a cell of a matrix that failed before it measured."),
        },
    )


def _probed() -> Schema:
    """What ``llmperf.probe`` came to."""
    return fields(
        "What the probes of the last launch of the candidate came to, together; missing: there were none.",
        {
            "probes": whole("How many there were; the same one again is not another."),
            "runs": whole("How many runs these took."),
            "repeated": whole("How often one was asked again, and answered as before."),
            "seconds": number("How long they took, seconds."),
            "answers": fields(
                "How many had which answer.",
                {},
                {answer: whole(about) for answer, about in _ANSWERS.items()},
            ),
            "last_broken": null_or(
                fields(
                    "The last that broke its limits, or the engine; null: none did.",
                    {
                        "workload": text("The workload in words."),
                        "load": text("The load in full."),
                        "engine": text("The subject as one writes it."),
                        "text": text("What was found, on one line."),
                        "by_hand": many("What measures it alone.", text("A line to type, after its label.")),
                        "values": ref("metrics", "The metrics that have a limit; none if the engine failed."),
                    },
                )
            ),
        },
    )


def as_text() -> str:
    """The file."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(as_text(), end="")
