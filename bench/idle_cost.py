"""What having the plugin installed costs a test run that does not use it.

Runs an empty test suite with and without the plugin, in turn, and prints the ratio pair by pair.

    python bench/idle_cost.py [RUNS]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def seconds(directory: Path, *options: str) -> float:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(directory)]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "pytest.ini").write_text("[pytest]\n")
        (directory / "test_empty.py").write_text("def test_nothing():\n    pass\n")
        seconds(directory)  # the first run fills the byte-code caches
        pairs = [(seconds(directory), seconds(directory, "-p", "no:llmperf")) for _ in range(runs)]
    ratios = sorted(with_it / without for with_it, without in pairs)
    added_ms = statistics.median(with_it - without for with_it, without in pairs) * 1e3
    print(f"{runs} pairs; with / without the plugin: median {statistics.median(ratios):.3f}, ", end="")
    print(f"from {ratios[0]:.3f} to {ratios[-1]:.3f}; median difference {added_ms:.0f} ms")


if __name__ == "__main__":
    main()
