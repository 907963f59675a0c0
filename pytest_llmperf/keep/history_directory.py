"""A history as a directory of objects, one for each session, wherever fsspec finds one: S3, GCS, a shared
disk.

An object is written once, whole, under a name of its own: runners that add at once do not meet.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib
import json
import os
import zlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pytest_llmperf.declare.subject import without_credentials
from pytest_llmperf.errors import DeclarationError, StoreError
from pytest_llmperf.keep.files import parse_json
from pytest_llmperf.keep.history import KIND, VERSION, Known, Session

_END = ".json.gz"
_STAMP = "%Y%m%dT%H%M%SZ"
NEEDS = "pip install 'pytest-llmperf[history]'"


class HistoryDirectory:
    """A history at a URL as ``s3://bucket/dir``. See :class:`~.history.History`.

    Raises :class:`DeclarationError` for a URL that nothing here knows how to reach.
    """

    def __init__(self, url: str) -> None:
        scheme, shown = url.partition("://")[0], without_credentials(url)
        try:
            fsspec = importlib.import_module("fsspec")
        except ImportError:
            raise DeclarationError(f"{shown}: a history on object storage needs fsspec: {NEEDS}") from None
        try:
            self._files, path = fsspec.core.url_to_fs(url)
        except ValueError:
            known = ", ".join(sorted(fsspec.available_protocols())[:40])
            raise DeclarationError(
                f"{shown}: {scheme} is no storage that fsspec knows; it knows {known}"
            ) from None
        except ImportError as error:
            raise DeclarationError(f"{shown}: {error}") from None
        except Exception as error:  # whatever a storage makes of its address
            told = str(error).replace(url, shown)
            raise DeclarationError(f"{shown}: {type(error).__name__}: {told}") from None
        self._url, self._is_local = shown, scheme in ("file", "local")
        self._path = str(path).rstrip("/")

    @property
    def name(self) -> str:
        return self._url

    def add(self, session: Session) -> bool:
        name = f"{session.started:{_STAMP}}-{_safe(session.id)}{_END}"
        with self._reaching():
            self._files.makedirs(self._path, exist_ok=True)
            self._files.invalidate_cache(self._path)
            path = f"{self._path}/{name}"
            if self._files.exists(path):
                return False
            content = gzip.compress(json.dumps(session.as_json()).encode(), mtime=0)
            if not self._is_local:
                self._files.pipe_file(path, content)  # an object is there when all of it is
                return True
            scratch = f"{self._path}/.{name}.{os.getpid()}.part"
            try:
                self._files.pipe_file(scratch, content)
                os.replace(scratch, path)
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(scratch)
            return True

    def tests(self) -> list[Known]:
        found: dict[str, tuple[int, datetime]] = {}
        for session in self.read():
            for test in {result.test for result in session.results}:
                found[test] = found.get(test, (0, session.started))[0] + 1, session.started
        return [Known(test, *known) for test, known in sorted(found.items())]

    def read(self, test: str | None = None, newest: int | None = None) -> list[Session]:
        paths = self._paths()
        if not paths:
            raise StoreError(f"there is no history at {self._url}: sessions with --llmperf-history write one")
        if test is None and newest is not None:
            paths = paths[len(paths) - newest :] if newest < len(paths) else paths
        with self._reaching():
            contents: dict[str, Any] = self._files.cat(paths) if len(paths) > 1 else {}
            contents = contents or {paths[0]: self._files.cat_file(paths[0])}
        sessions = [self._session(path, contents[path], test) for path in paths if path in contents]
        sessions = [one for one in sessions if test is None or one.results]
        sessions.sort(key=lambda one: (one.started, one.id))
        return sessions if newest is None else sessions[max(len(sessions) - newest, 0) :]

    def prune(self, before: datetime | None = None, keep: int | None = None) -> int:
        paths = self._paths()
        gone = set() if keep is None else set(paths[: max(len(paths) - keep, 0)])
        if before is not None:
            gone |= {path for path in paths if path.rpartition("/")[2] < f"{before:{_STAMP}}"}
        with self._reaching():
            for path in sorted(gone):
                self._files.rm_file(path)
        return len(gone)

    def _paths(self) -> list[str]:
        """Those of the objects, oldest first."""
        with self._reaching():
            self._files.invalidate_cache(self._path)
            if not self._files.exists(self._path):
                return []
            found = [str(path) for path in self._files.ls(self._path, detail=False)]
        ours = [path for path in found if path.endswith(_END) and not path.rpartition("/")[2].startswith(".")]
        return sorted(ours, key=lambda path: path.rpartition("/")[2])

    def _session(self, path: str, content: bytes, test: str | None) -> Session:
        name = f"{self._url.rstrip('/')}/{path.rpartition('/')[2]}"
        try:
            text = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise StoreError(f"{name} is damaged: {error}; remove it") from None
        session = Session.read(parse_json(text, name, KIND, VERSION), name)
        results = [one for one in session.results if test is None or one.test == test]
        return Session(**{**vars(session), "results": results})

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Storages fail in ways of their own."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:
            said = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise StoreError(f"{self._url} cannot be reached: {said}") from None


def _safe(text: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in text)[:80]
