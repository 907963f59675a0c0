"""Real engines on one GPU, through the plugin's own fixtures.

    python -m bench.gpu.run sweep   --engine 'vllm==0.24.0' --engine 'sglang==0.5.16'
    python -m bench.gpu.run sweep   --engine 'vllm==0.24.0' --peer-python PYTHON
    python -m bench.gpu.run curve   --engine 'vllm==0.24.0' --engine 'sglang==0.5.16'
    python -m bench.gpu.run upgrade --from 'vllm==0.22.1' --to 'vllm==0.24.0'
    python -m bench.gpu.run upgrade --from 'vllm==0.24.0' --to 'vllm==0.24.0 --max-num-batched-tokens 512'
    python -m bench.gpu.run against --from 'vllm==0.24.0' --to 'vllm==0.24.0 --max-num-batched-tokens 512'
    python -m bench.gpu.run kill    --engine 'vllm==0.24.0'

Run it from the root of the repository, with the project installed, on a machine with a GPU of 40 GB or
more. The model is Llama-3.1-8B's shape with dummy weights, so nothing is downloaded but the engines.
``sweep`` drives rates up to beyond what one H100 serves and judges an SLO; with an interpreter that has vLLM,
``vllm bench serve`` measures the same launch in turn with us. ``curve`` finds the rates by itself, up to
saturation, then the capacity under an SLO, then measures a batch. ``upgrade`` accepts a baseline of the one
and judges the other against it. ``against`` measures the two side by side. ``kill`` kills the test run while
it measures and waits for the GPU to be free.
Records and tables go to ``--out``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.gpu.kill import kill_and_watch
from bench.gpu.model import write_model
from bench.gpu.tables import beside_table, record_tables

HERE = Path(__file__).resolve().parent
TESTS = ("test_chat.py", "test_beside.py")
CURVE = ("test_curve.py",)
# The flags without which dummy weights cannot be served; the same for vLLM and SGLang but for one spelling.
FLAGS = {
    "vllm": "--load-format dummy --max-model-len 4096",
    "sglang": "--load-format dummy --context-length 4096",
}


def main() -> None:
    arguments = _arguments()
    out: Path = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    model = arguments.model or write_model(out / "model")
    if arguments.step == "sweep":
        for subject in arguments.engine:
            sweep(out, model, subject, arguments.rates, arguments.peer_python)
    elif arguments.step == "curve":
        for subject in arguments.engine:
            measure(out, model, subject, CURVE, "--llmperf-launches", arguments.launches)
    elif arguments.step == "upgrade":
        baselines = out / ".llmperf" / "baselines"
        shutil.rmtree(baselines, ignore_errors=True)
        options = ("--llmperf-rates", arguments.rates, "--llmperf-launches", arguments.launches)
        measure(out, model, arguments.before, TESTS[:1], *options, "--llmperf-update")
        measure(out, model, arguments.after, TESTS[:1], *options)
    elif arguments.step == "against":
        options = ("--llmperf-rates", arguments.rates, "--llmperf-launches", arguments.launches)
        base = with_flags(arguments.before)
        measure(out, model, arguments.after, TESTS[:1], *options, "--llmperf-against", base)
    else:
        (subject,) = arguments.engine
        report = kill_and_watch(command(out, model, subject, TESTS[:1]), out)
        (out / "kill.json").write_text(json.dumps(report, indent=1))
        print(json.dumps(report, indent=1))


def sweep(out: Path, model: Path, subject: str, rates: str, peer_python: str | None) -> None:
    """One launch under several rates, and beside the peer if there is one."""
    options = ("--llmperf-rates", rates)
    if peer_python is None:
        measure(out, model, subject, TESTS[:1], *options)
        return
    result = out / "beside.json"
    result.unlink(missing_ok=True)
    peer = {"PEER_PYTHON": peer_python, "PEER_MODEL": str(model), "BESIDE_RESULT": str(result)}
    measure(out, model, subject, TESTS, *options, variables=peer)
    if not result.exists():
        sys.exit("the peer has no result; its output is above")
    table = beside_table(json.loads(result.read_text()))
    (out / "beside.md").write_text(table)
    print(table)


def command(out: Path, model: Path, subject: str, tests: Sequence[str], *options: str) -> list[str]:
    """The test run that a user would type."""
    return [
        *(sys.executable, "-m", "pytest", "-c", str(HERE / "pytest.ini")),
        *(str(HERE / test) for test in tests),
        *("-s", "-p", "no:cacheprovider", "--llmperf", "--llmperf-engine", with_flags(subject)),
        *("--llmperf-model", str(model), "--llmperf-dir", str(out / ".llmperf"), *options),
    ]


def with_flags(subject: str) -> str:
    """The subject with what it needs to serve dummy weights."""
    return f"{subject} {next(flags for name, flags in FLAGS.items() if name in subject)}"


def measure(
    out: Path,
    model: Path,
    subject: str,
    tests: Sequence[str],
    *options: str,
    variables: Mapping[str, str] | None = None,
) -> None:
    """Run it, and add what its record says to the tables. A failed test is a result, too."""
    record = out / f"record-{len(list(out.glob('record-*.json'))) + 1}.json"
    line = command(out, model, subject, tests, "--llmperf-json", str(record), *options)
    code = subprocess.run(line, env={**os.environ, **(variables or {})}, check=False).returncode
    print(f"pytest ended with exit code {code}", flush=True)
    if code not in (0, 1) or not record.exists():
        sys.exit(code or 1)
    table = record_tables(json.loads(record.read_text()))
    with (out / "tables.md").open("a") as file:
        file.write(table)
    print(table, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu-results"))
    parser.add_argument("--model", type=Path, help="a model folder of your own")
    steps = parser.add_subparsers(dest="step", required=True)
    for name in ("sweep", "curve", "kill"):
        step = steps.add_parser(name)
        step.add_argument("--engine", action="append", required=True, metavar="SUBJECT")
        if name == "curve":
            step.add_argument("--launches", default="1")
        if name == "sweep":
            step.add_argument("--rates", default="2,8,14,20")
            step.add_argument("--peer-python", help="an interpreter that has vLLM")
    for name, launches in (("upgrade", "2"), ("against", "3..8")):
        step = steps.add_parser(name)
        step.add_argument("--from", dest="before", required=True, metavar="SUBJECT")
        step.add_argument("--to", dest="after", required=True, metavar="SUBJECT")
        step.add_argument("--rates", default="8,14")
        step.add_argument("--launches", default=launches)
    return parser.parse_args()


if __name__ == "__main__":
    main()
