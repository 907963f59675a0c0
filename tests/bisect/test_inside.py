from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_llmperf.pytest_process import run_pytest

TEST = """
import os

def test_it():
    assert "PYTEST_XDIST_WORKER" not in os.environ
"""


@pytest.mark.parametrize("elsewhere", ["-n 2", "-p no:xdist"])
def test_a_pair_has_the_machine_to_itself_whatever_is_said_elsewhere(elsewhere: str, tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    (tmp_path / "test_it.py").write_text(TEST)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\naddopts = {elsewhere}\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    arguments = ("-p", "pytest_llmperf.bisect.inside", "-p", "no:cacheprovider", "test_it.py")
    with (tmp_path / "log").open("wb") as log:
        code = run_pytest(arguments, environment, log, tmp_path)
    assert code == 0, (tmp_path / "log").read_text()
