"""Have an interpreter with pytest-llmperf, of this action's own commit, and what else was asked for."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parents[3]


def main() -> int:
    asked = os.environ["INPUT_INSTALL"].strip()
    python = sys.executable
    if asked != "none":
        environment = Path(os.environ["RUNNER_TEMP"], "llmperf-environment")
        venv.create(environment, with_pip=True, clear=True)
        python = str(environment / "bin" / "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, str(HERE), *shlex.split(asked)])
        if done.returncode:
            return done.returncode
    with Path(os.environ["GITHUB_OUTPUT"]).open("a") as file:
        file.write(f"python={python}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
