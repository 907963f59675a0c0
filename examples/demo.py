"""The demonstration behind ``make demo``: accept a baseline, then catch a flag that makes it worse."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STORE = ROOT / ".demo"
TEST = "examples/test_chat.py"
COMMON = ["--llmperf", TEST, "--llmperf-launches", "3", "--llmperf-dir", "../.demo"]


def run(title: str, *options: str) -> int:
    """Show a command as a person would type it, run it, and return its exit code."""
    print(f"\n\033[1m── {title}\033[0m" if sys.stdout.isatty() else f"\n── {title}")
    print(f"$ {shlex.join(['pytest', *COMMON, *options])}", flush=True)
    return subprocess.run([sys.executable, "-m", "pytest", *COMMON, *options], cwd=ROOT).returncode


def main() -> int:
    shutil.rmtree(STORE, ignore_errors=True)
    print(
        "A real engine (llama.cpp with a small random model, on the CPU), three launches a side: 2 minutes."
    )
    good = run("1. The engine as it is: meets its SLO, and is accepted as the baseline", "--llmperf-update")
    if good != 0:
        print(
            f"\nThis was meant to pass, but pytest exited with {good}. If a measurement is "
            "called invalid above, the machine has too much else to do: close what else runs, and try again."
        )
        return 1
    bad = run(
        "2. Somebody leaves the engine one slot: the same test against that baseline",
        *("--llmperf-engine", "llamacpp --parallel 1"),
    )
    if bad != 1:
        print(f"\nThis was meant to fail with exit code 1, but pytest exited with {bad}.")
        return 1
    print(
        "\nAs it should be: the first run passed, the second failed (exit code 1), and its message says what "
        "got worse, by how much, and which flag differs.\n"
        f"The baseline that it was compared with is in {STORE.name}/baselines, the records are in "
        f"{STORE.name}/runs."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
