"""Verdicts on real engines, side by side, again and again: what is recorded of them, and how it is replayed.

    python -m bench.judge.evidence run --engine 'llamacpp==2026.10.11549' --against 'llamacpp==2026.4.8672' \\
        --times 10 --out upgrade.json
    python -m bench.judge.evidence keep --out same.json RECORD …

``run`` starts sessions of ``pytest --llmperf --llmperf-against`` of one small test of llama.cpp, in turn.
``keep`` takes records of sessions that were run elsewhere (on a GPU, say). Either writes one file: the
subjects, the environment, and for each session, load point and metric the value of every launch in its order,
and the verdict. The project's tests judge these launches again, one look after the other.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmperf.declare.metrics import parse_metric
from pytest_llmperf.judge.change import Change, Comparison, judge_changes
from pytest_llmperf.judge.prior import Prior
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.keep.environment import differences

KIND, VERSION = "llmperf_evidence", 1
TEST = """
from pytest_llmperf import Workload

def test_chat(llmperf):
    llmperf(Workload(input_tokens=64, output_tokens=32), concurrency=1, requests={requests})
"""


def main() -> None:
    arguments = _arguments()
    if arguments.step == "keep":
        records = [json.loads(path.read_text()) for path in arguments.records]
        said = arguments.command
    else:
        options = ("--llmperf-engine", arguments.engine, "--llmperf-against", arguments.against)
        records = [_session(options, arguments.requests) for _ in range(arguments.times)]
        said = shlex.join(["python", "-m", "bench.judge.evidence", *sys.argv[1:]])
    content = evidence(records, said)
    arguments.out.write_text(json.dumps(content, indent=1) + "\n")
    for session in content["sessions"]:
        print(session["verdict"], {metric["metric"]: metric["verdict"] for metric in session["metrics"]})


def _session(options: Sequence[str], requests: int) -> dict[str, Any]:
    """The record of one session, in a project of its own."""
    with tempfile.TemporaryDirectory(prefix="llmperf-evidence-") as directory:
        project, record = Path(directory), Path(directory, "record.json")
        (project / "test_chat.py").write_text(TEST.format(requests=requests))
        (project / "pytest.ini").write_text("[pytest]\n")
        line = [sys.executable, "-m", "pytest", "-q", "--llmperf", *options, "--llmperf-json", str(record)]
        code = subprocess.run(line, cwd=project, check=False).returncode
        if code not in (0, 1) or not record.exists():
            sys.exit(code or 1)
        content: dict[str, Any] = json.loads(record.read_text())
        return content


def evidence(records: Sequence[Mapping[str, Any]], command: str) -> dict[str, Any]:
    """What is kept of sessions of one test; they all have the subjects and the environment of the first."""
    tests = [test for record in records for test in record["tests"]]
    first = tests[0]
    return {
        KIND: VERSION,
        "command": command,
        "date": records[0]["started"][:10],
        "candidate": first["subject"]["text"],
        "base": first["compared_with"]["text"],
        "differences": differences(first["compared_with"]["fields"], first["subject"]["fields"]),
        "environment": first["environment"],
        "launches": records[0]["settings"]["launches"],
        "sessions": [
            {
                "started": record["started"],
                "verdict": test["verdict"],
                "error": test["error"],
                "metrics": [metric for point in test["points"] for metric in _metrics(point)],
            }
            for record in records
            for test in record["tests"]
        ],
    }


def _metrics(point: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "load": point["load"],
            "metric": change["metric"],
            "tolerance": change["tolerance"],
            "base": _values(point["base_runs"], change["metric"]),
            "candidate": _values(point["runs"], change["metric"]),
            "sampling": _uncertainty([*point["base_runs"], *point["runs"]], change["metric"]),
            **{name: change[name] for name in ("estimate", "low", "high", "risk", "verdict")},
        }
        for change in point["changes"]
    ]


def _values(runs: Sequence[Mapping[str, Any]], metric: str) -> list[float]:
    return [run["values"][metric] for run in runs if not run["health"]["problems"]]


def _uncertainty(runs: Sequence[Mapping[str, Any]], metric: str) -> float:
    known = [run["uncertainty"].get(metric, 0.0) for run in runs if not run["health"]["problems"]]
    return math.hypot(*known) / math.sqrt(len(known))


def replay(session: Mapping[str, Any], least: int = 3, most: int = 8) -> list[Change]:
    """Judge the launches of one session again, first with ``least`` a side and then with one more at each
    look, until all is decided, something is worse, or there are no more; the changes at the last look."""
    metrics = session["metrics"]
    there = min(len(metric[side]) for metric in metrics for side in ("base", "candidate"))
    for launches in range(least, min(most, there) + 1):
        changes = judge_changes([_comparison(metric, launches, least, most) for metric in metrics])
        is_worse = any(change.verdict is Verdict.REGRESSED for change in changes)
        if is_worse or not any(change.wants_launch for change in changes):
            break
    return changes


def _comparison(metric: Mapping[str, Any], launches: int, least: int, most: int) -> Comparison:
    key = parse_metric(metric["metric"])
    return Comparison(
        group=key.name,
        base=metric["base"][:launches],
        candidate=metric["candidate"][:launches],
        better=key.metric.better,
        tolerance=metric["tolerance"],
        prior=Prior(key.metric.spread),
        sampling=metric["sampling"],
        least=least,
        most=most,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest="step", required=True)
    run = steps.add_parser("run")
    run.add_argument("--engine", required=True, metavar="SUBJECT")
    run.add_argument("--against", required=True, metavar="SUBJECT")
    run.add_argument("--times", type=int, default=10)
    run.add_argument("--requests", type=int, default=100)
    keep = steps.add_parser("keep")
    keep.add_argument("records", nargs="+", type=Path)
    keep.add_argument("--command", required=True, help="what made the records")
    for step in (run, keep):
        step.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
