"""Files of ours: written whole or not at all, read with an error that names the way out."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from pytest_llmperf.errors import StoreError

# Numbers, or a row of a table that begins with one: JSON's indentation would spread them over lines.
_FLAT_ARRAY = re.compile(
    r"\[\n *-?[0-9][0-9.e+-]*(?:,\n *(?:-?[0-9][0-9.e+-]*|null|\"(?:[^\"\\\n]|\\.)*\"))*\n *\]"
)
_NEVER_OURS = frozenset(
    ".cfg .csv .db .gguf .ini .jsonl .lock .py .pyi .sh .sqlite .sqlite3 .toml .yaml .yml".split()
)
WAY_OUT = "restore it (git checkout -- FILE) or delete it; it will not be overwritten"
LEAVE_OUT = "leave it out, or move it away"
# Of what is not committed there is nothing to restore: what to do with one that is damaged, and with one of
# another version.
_WAYS_OUT = {
    "llmperf_record": (LEAVE_OUT, LEAVE_OUT),
    "llmperf_history": ("remove it", "keep the history elsewhere (--llmperf-history)"),
}
_COMMITTED = (WAY_OUT, "delete it and accept a new one")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` to ``path`` atomically, making its directory.

    Raises :class:`StoreError` if that is not possible; a file that was there is then unharmed.
    """
    try:
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"{path} cannot be written: its content is not JSON ({error})") from None
    with replacing(path) as file:
        file.write(_FLAT_ARRAY.sub(lambda array: re.sub(r"\n *", " ", array[0]), text))


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file beside ``path`` that takes its place if the block ends well; its directory is made.

    Raises :class:`StoreError` if that is not possible; a file that was there is then unharmed.
    """
    scratch: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        # A lone surrogate, as in an argument that is not UTF-8, becomes the JSON escape of itself.
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(scratch, 0o644)
        os.replace(scratch, path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        if scratch is not None:
            Path(scratch).unlink(missing_ok=True)


def read_json(path: Path, kind: str, *versions: int) -> dict[str, Any]:
    """Read a file of this ``kind`` (``llmperf_baseline``, say) and one of these ``versions``.

    Raises :class:`StoreError` for a file that is truncated, foreign or of another version.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from None
    return parse_json(content, str(path), kind, *versions)


def parse_json(text: bytes, name: str, kind: str, *versions: int) -> dict[str, Any]:
    """The same for what was read already, from where ``name`` says."""
    way_out, of_version = _WAYS_OUT.get(kind, _COMMITTED)
    try:
        content = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{name} is damaged: not JSON ({error}); {way_out}") from None
    if not isinstance(content, dict) or kind not in content:
        raise StoreError(f"{name} is not a file of ours (no {kind!r} in it); {way_out}")
    if content[kind] not in versions:
        known = " or ".join(map(str, versions))
        raise StoreError(
            f"{name} has {kind} version {content[kind]!r}, this release reads version {known}: use the "
            f"release that wrote it, or {of_version}"
        )
    return content


def is_writable(directory: Path) -> bool:
    """Whether a file could be made in ``directory``, or in a directory that could be made there."""
    while not directory.exists():
        if directory.parent == directory:
            return False
        directory = directory.parent
    return directory.is_dir() and os.access(directory, os.W_OK | os.X_OK)


def check_writable(path: Path) -> None:
    """Make sure that a file can be written at ``path``, before there is anything to lose; leaves none.

    Raises :class:`StoreError`.
    """
    if path.exists() and not path.is_file():
        raise StoreError(f"{path} cannot be written: it is not a regular file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".part"):
            pass
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from None


def check_replaceable(path: Path) -> None:
    """Make sure that no test, configuration, workload or database is at ``path``, by its suffix: a mistyped
    option is not to cost one. Raises :class:`StoreError`."""
    if path.suffix.lower() in _NEVER_OURS and path.exists():
        raise StoreError(
            f"{path} is there, and no output of ours is a {path.suffix} file: name another, or delete that "
            "first"
        )


@contextlib.contextmanager
def kept_for_one(directory: Path, other: str, way_out: str) -> Iterator[None]:
    """No other process that asks for the same writes to ``directory`` meanwhile; it is made.

    Raises :class:`StoreError` if one does (``other`` is what it is called, ``way_out`` what to do
    instead of waiting), or if nobody can.
    """
    path = directory / ".lock"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(f"{other} writes to {directory}: wait for it, or {way_out}") from None
        yield
    finally:
        os.close(handle)


def rounded(value: float) -> float:
    """Six significant digits: more than any measurement has, and readable in a diff."""
    return float(f"{value:.6g}")


def rounded_values(items: Iterable[tuple[str, float]]) -> dict[str, float]:
    return {name: rounded(value) for name, value in items}


def rounded_all(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same of the numbers among these, and of those one level below."""
    return {
        name: rounded_values(value.items())
        if isinstance(value, Mapping)
        else rounded(value)
        if isinstance(value, float)
        else value
        for name, value in fields.items()
    }
