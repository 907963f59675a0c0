"""The page of a job's step at GitHub: a file that Markdown is appended to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmperf.report.markdown import MOST, markdown

VARIABLE = "GITHUB_STEP_SUMMARY"
FULL = 1024 * 1024
"""Bytes of a step's summary, of which GitHub shows nothing if it is larger."""


def append_step_summary(records: Sequence[Mapping[str, Any]], environment: Mapping[str, str]) -> list[str]:
    """Append to the file that the runner names, if it names one. Returns what a person has to know of it:
    nothing if all went well."""
    named = environment.get(VARIABLE)
    if not named:
        return []
    path = Path(named)
    try:
        there = path.stat().st_size if path.exists() else 0
        text = f"\n{markdown(records, MOST)}\n".encode(errors="backslashreplace")
        if there + len(text) > FULL:
            return [f"{VARIABLE}: it has {there} bytes already, so nothing was added"]
        with path.open("ab") as file:
            file.write(text)
    except OSError as error:
        return [f"{VARIABLE}: {error}"]
    except Exception as error:  # a hook may have made anything of the record, and this is the last to read it
        return [f"{VARIABLE}: nothing can be made of this record ({type(error).__name__}: {error})"]
    return []
