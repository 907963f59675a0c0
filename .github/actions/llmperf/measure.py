"""Run pytest --llmperf with what the inputs say, have what it found in one directory, and end as it does."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_llmperf.report.outcome import NOTHING, worst

FILES = {"json": "llmperf.json", "html": "llmperf.html", "markdown": "llmperf.md"}
ENDED = {
    2: "it was interrupted, or a test file could not be read",
    3: "pytest crashed",
    4: "an option or an argument is wrong",
    5: "no test was found",
}


def command(inputs: Mapping[str, str], directory: Path) -> list[str]:
    """What to run. A value goes with its option as one word, so that none is taken for an option itself."""
    said = [f"--llmperf-{name}={inputs[name]}" for name in ("engine", "against", "baseline") if inputs[name]]
    files = [f"--llmperf-{kind}={directory / name}" for kind, name in FILES.items()]
    junit = f"--junitxml={directory / 'junit.xml'}"
    more = [*shlex.split(inputs["args"]), *shlex.split(inputs["tests"])]
    return [sys.executable, "-m", "pytest", "--llmperf", *said, *files, junit, *more]


def run(words: Sequence[str]) -> int:
    """The code that it ends with. A signal that ends a job goes on to it, so that it stops its engines and
    keeps what it knows: by itself, Python would kill it."""
    with subprocess.Popen(words) as process:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: process.send_signal(number))
        return process.wait()


def keep_logs(directory: Path, since: float) -> None:
    """Copy what engines wrote, from where it is kept unless --llmperf-dir says another place."""
    for log in Path(".llmperf", "logs").glob("*.log"):
        if log.is_file() and log.stat().st_mtime >= since:
            directory.mkdir(exist_ok=True)
            shutil.copy(log, directory)


def main() -> int:
    names = ("tests", "engine", "against", "baseline", "args")
    inputs = {name: os.environ[f"INPUT_{name.upper()}"].strip() for name in names}
    directory = Path(os.environ["RUNNER_TEMP"], "llmperf")
    shutil.rmtree(directory, ignore_errors=True)  # a runner of one's own has what the last job left
    directory.mkdir(parents=True)
    begun = time.time()
    code = run(command(inputs, directory))
    keep_logs(directory / "logs", begun)
    record, comment = directory / FILES["json"], directory / FILES["markdown"]
    verdict = worst([json.loads(record.read_text())]) if record.exists() else NOTHING
    if not comment.exists():
        why = ENDED.get(code, f"pytest ended with {code}")
        comment.write_text(
            "### ⚠️ LLM serving performance: nothing was measured\n\n"
            f"Nothing is known about the engine: {why}. The log of the job says more.\n"
        )
    told = {"verdict": verdict, "directory": directory, "markdown": comment}
    told |= {kind: path for kind in ("json", "html") if (path := directory / FILES[kind]).exists()}
    with Path(os.environ["GITHUB_OUTPUT"]).open("a") as file:
        file.writelines(f"{'record' if name == 'json' else name}={value}\n" for name, value in told.items())
    return code


if __name__ == "__main__":
    sys.exit(main())
