"""What is made of records for people and for other tools: each kind is an option of pytest and of ``llmperf
report`` that takes a path."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmperf.declare.options import OUTPUTS
from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.files import replacing, write_json
from pytest_llmperf.report.benchmark import as_benchmarks
from pytest_llmperf.report.markdown import markdown

Record = Mapping[str, Any]


def write_output(kind: str, path: Path, records: Sequence[Record]) -> None:
    """Write the output of this kind (one of :data:`OUTPUTS`) to where ``path`` leads, and not over a link.

    Raises :class:`StoreError`; a file that was there is then unharmed.
    """
    with _told():
        _WRITERS[kind](path.resolve(), records)


def output_text(kind: str, records: Sequence[Record]) -> str:
    """The same as text, for those that have one. Raises :class:`StoreError`."""
    if kind not in _TEXTS:
        raise StoreError(f"--{kind} -: it is no text for a terminal; name a file")
    with _told():
        return _TEXTS[kind](records)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Whether a record is at fault, or what reads it, cannot be known here: so both are named, and where."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        *_, at = traceback.extract_tb(error.__traceback__)
        raise StoreError(
            f"nothing can be made of this record ({type(error).__name__}: {error}; "
            f"{Path(at.filename).name}:{at.lineno}): it is damaged, or another release wrote it; if it was "
            "this one, that is a mistake of ours: please report it"
        ) from error


def _write_json(path: Path, records: Sequence[Record]) -> None:
    if len(records) != 1:
        raise StoreError(f"{len(records)} records: as JSON, a record is a file of its own")
    write_json(path, records[0])


def _write_html(path: Path, records: Sequence[Record]) -> None:
    from pytest_llmperf.report.page import page

    _write_text(path, page(records))


def _write_markdown(path: Path, records: Sequence[Record]) -> None:
    _write_text(path, markdown(records))


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text)


def _write_benchmarks(path: Path, records: Sequence[Record]) -> None:
    if len(records) != 1:
        raise StoreError(f"{len(records)} records: for pytest-benchmark, each is a file of its own")
    write_json(path, as_benchmarks(records[0]))


_TEXTS: dict[str, Callable[[Sequence[Record]], str]] = {"markdown": markdown}
_WRITERS: dict[str, Callable[[Path, Sequence[Record]], None]] = {
    "json": _write_json,
    "html": _write_html,
    "markdown": _write_markdown,
    "benchmark-json": _write_benchmarks,
}
assert tuple(_WRITERS) == OUTPUTS
