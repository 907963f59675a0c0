"""A history in one SQLite file, which many processes may add to at once."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.files import rounded
from pytest_llmperf.keep.history import (
    VERSION,
    Fields,
    Known,
    Result,
    Session,
    fields_key,
    read_time,
    texts,
)
from pytest_llmperf.keep.values import Values, read_launches

OURS = 0x6C6D7068  # "lmph", the application id in the head of the file
PATIENCE_S = 30.0
"""How long one process waits for another to have written."""
_TABLES = (
    "CREATE TABLE fields (key TEXT PRIMARY KEY, fields TEXT NOT NULL)",
    "CREATE TABLE sessions (id TEXT PRIMARY KEY, started TEXT NOT NULL, status TEXT NOT NULL,"
    ' "commit" TEXT NOT NULL, changed INTEGER NOT NULL, record TEXT NOT NULL)',
    "CREATE INDEX sessions_started ON sessions (started)",
    "CREATE TABLE results (id INTEGER PRIMARY KEY,"
    " session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,"
    " test TEXT NOT NULL, side TEXT NOT NULL, verdict TEXT NOT NULL, subject_text TEXT NOT NULL,"
    " subject TEXT NOT NULL REFERENCES fields (key), environment TEXT NOT NULL REFERENCES fields (key))",
    "CREATE INDEX results_test ON results (test)",
    "CREATE INDEX results_session ON results (session)",
    "CREATE TABLE measured (result INTEGER NOT NULL REFERENCES results (id) ON DELETE CASCADE,"
    ' point TEXT NOT NULL, metric TEXT NOT NULL, "values" TEXT NOT NULL, uncertainty TEXT NOT NULL,'
    " PRIMARY KEY (result, point, metric)) WITHOUT ROWID",
    # One row for each session, test, environment, load point and metric: for whoever asks in SQL.
    "CREATE VIEW history AS SELECT s.id AS session, s.started, r.test, r.side, r.environment, m.point, "
    "m.metric,"
    ' m."values", m.uncertainty, r.verdict, r.subject_text, subject.fields AS subject,'
    ' environment.fields AS environment_fields, s."commit", s.changed, s.status, s.record'
    " FROM measured m JOIN results r ON r.id = m.result JOIN sessions s ON s.id = r.session"
    " JOIN fields subject ON subject.key = r.subject"
    " JOIN fields environment ON environment.key = r.environment",
)


class HistoryFile:
    """A history at ``path``, which is made when something is added. See :class:`~.history.History`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        return str(self._path)

    def add(self, session: Session) -> bool:
        with self._open(writes=True) as database:
            found = database.execute("SELECT 1 FROM sessions WHERE id = ?", (session.id,)).fetchone()
            if found is None:
                _insert(database, session)
        return found is None

    def tests(self) -> list[Known]:
        with self._open() as database:
            rows = database.execute(
                "SELECT r.test, COUNT(DISTINCT s.id), MAX(s.started) FROM results r"
                " JOIN sessions s ON s.id = r.session GROUP BY r.test ORDER BY r.test"
            ).fetchall()
        with self._reading():
            return [Known(str(test), int(count), read_time(last)) for test, count, last in rows]

    def read(self, test: str | None = None, newest: int | None = None) -> list[Session]:
        with self._open() as database, self._reading():
            return list(_sessions(database, test, -1 if newest is None else newest))

    def prune(self, before: datetime | None = None, keep: int | None = None) -> int:
        with self._open(writes=True) as database:
            # The newest of all are counted before the old ones are gone, which comes to the same.
            asked = ("" if before is None else before.isoformat(), -1 if keep is None else keep)
            gone = database.execute(
                "DELETE FROM sessions WHERE started < ? OR (? >= 0 AND id NOT IN"
                " (SELECT id FROM sessions ORDER BY started DESC, id DESC LIMIT ?))",
                (asked[0], asked[1], asked[1]),
            ).rowcount
            database.execute(
                "DELETE FROM fields WHERE key NOT IN (SELECT subject FROM results)"
                " AND key NOT IN (SELECT environment FROM results)"
            )
        with self._connected("rw") as database:
            database.execute("VACUUM")
        return gone

    @contextlib.contextmanager
    def _open(self, *, writes: bool = False) -> Iterator[sqlite3.Connection]:
        """A transaction: of what is written all or nothing stays, whatever ends the process."""
        if not writes and not os.path.exists(self._path):
            raise StoreError(
                f"there is no history at {self._path}: sessions with --llmperf write one, and "
                "llmperf history add RECORD… takes in their records"
            )
        if writes:
            self._make_directory()
        # Whoever reads takes back what one that was killed left half written.
        with self._connected("rwc" if writes else "rw") as database:
            database.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
            try:
                self._check(database, makes=writes)
                yield database
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    @contextlib.contextmanager
    def _connected(self, mode: str) -> Iterator[sqlite3.Connection]:
        with self._reading():
            uri = f"{self._path.absolute().as_uri()}?mode={mode}"
            database = sqlite3.connect(uri, uri=True, timeout=PATIENCE_S, isolation_level=None)
            try:
                database.execute("PRAGMA foreign_keys = ON")
                yield database
            finally:
                database.close()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {_why(error)}") from None
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise StoreError(
                f"{self._path} is damaged: {type(error).__name__}: {error}; {_WAY_OUT}"
            ) from None

    def _make_directory(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self._path} cannot be written: {error.strerror or error}") from None

    def _check(self, database: sqlite3.Connection, *, makes: bool) -> None:
        """That the file is ours and of this version; of an empty one, make it so."""
        ((owner,),) = database.execute("PRAGMA application_id").fetchall()
        ((version,),) = database.execute("PRAGMA user_version").fetchall()
        if owner == OURS and version == VERSION:
            return
        if owner == OURS:
            raise StoreError(
                f"{self._path} is a history of version {version}, this release reads version {VERSION}: use "
                "the "
                "release that wrote it, or another file (--llmperf-history)"
            )
        ((tables,),) = database.execute("SELECT COUNT(*) FROM sqlite_master").fetchall()
        if tables or owner:
            raise StoreError(f"{self._path} is a database of something else; it will not be written to")
        if not makes:
            raise StoreError(f"{self._path} is empty, as a full disk leaves it: {_FILLED}")
        for statement in _TABLES:
            database.execute(statement)
        database.execute(f"PRAGMA application_id = {OURS}")
        database.execute(f"PRAGMA user_version = {VERSION}")


_FILLED = "the next session fills it, or llmperf history add .llmperf/runs/*.json"
_WAY_OUT = "move it away and llmperf history add .llmperf/runs/*.json makes another"


def _why(error: sqlite3.Error) -> str:
    text = str(error)
    if "not a database" in text:
        return "not an SQLite file; it will not be overwritten, name another (--llmperf-history)"
    if "malformed" in text or "disk image" in text:
        return f"damaged ({text}); {_WAY_OUT}"
    if "unable to open" in text:
        return "it cannot be opened, or made"
    if "locked" in text:
        return f"another process has been writing to it for {PATIENCE_S:g} s ({text})"
    return text


def _insert(database: sqlite3.Connection, session: Session) -> None:
    database.execute(
        "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?)",
        tuple(
            map(
                _clean,
                (
                    *(session.id, session.started.isoformat(), session.status),
                    *(session.commit, int(session.is_changed), session.record),
                ),
            )
        ),
    )
    for result in session.results:
        keys = [_keep_fields(database, one) for one in (result.subject, result.environment)]
        row = (session.id, result.test, result.side, result.verdict, result.subject_text, *keys)
        number = database.execute(
            "INSERT INTO results (session, test, side, verdict, subject_text, subject, environment)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            tuple(map(_clean, row)),
        ).lastrowid
        database.executemany(
            "INSERT INTO measured VALUES (?, ?, ?, ?, ?)",
            [
                (
                    number,
                    _clean(point),
                    _clean(metric),
                    _list(values),
                    _list(result.uncertainty[point][metric]),
                )
                for point, metrics in result.points.items()
                for metric, values in metrics.items()
            ],
        )


def _keep_fields(database: sqlite3.Connection, fields: Fields) -> str:
    key = fields_key(fields)
    database.execute("INSERT OR IGNORE INTO fields VALUES (?, ?)", (key, json.dumps(dict(fields))))
    return key


def _clean(value: Any) -> Any:
    """Text without lone surrogates, as in an argument that is not UTF-8, which SQLite does not take."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _list(values: Any) -> str:
    return json.dumps([rounded(value) for value in values])


def _sessions(database: sqlite3.Connection, test: str | None, newest: int) -> Iterator[Session]:
    fields: dict[str, Fields] = {
        key: texts(json.loads(text)) for key, text in database.execute("SELECT key, fields FROM fields")
    }
    chosen = "" if test is None else "WHERE id IN (SELECT session FROM results WHERE test = :test)"
    rows = database.execute(
        f'SELECT id, started, status, "commit", changed, record FROM sessions {chosen}'
        " ORDER BY started DESC, id DESC LIMIT :newest",
        {"test": test, "newest": newest},
    ).fetchall()
    for name, started, status, commit, changed, record in reversed(rows):
        results = list(_results(database, name, test, fields))
        yield Session(name, read_time(started), status, commit, bool(changed), record, results)


def _results(
    database: sqlite3.Connection, session: str, test: str | None, fields: Mapping[str, Fields]
) -> Iterator[Result]:
    of_test = "" if test is None else " AND test = :test"
    for number, name, side, verdict, text, subject, environment in database.execute(
        "SELECT id, test, side, verdict, subject_text, subject, environment FROM results"
        f" WHERE session = :session{of_test} ORDER BY id",
        {"session": session, "test": test},
    ).fetchall():
        points, uncertainty = _measured(database, number)
        yield Result(name, side, verdict, text, fields[subject], fields[environment], points, uncertainty)


def _measured(database: sqlite3.Connection, number: int) -> tuple[Values, Values]:
    points: dict[str, dict[str, tuple[float, ...]]] = {}
    uncertainty: dict[str, dict[str, tuple[float, ...]]] = {}
    for point, metric, values, unknown in database.execute(
        'SELECT point, metric, "values", uncertainty FROM measured WHERE result = ?', (number,)
    ):
        points.setdefault(point, {})[metric] = read_launches(json.loads(values))
        uncertainty.setdefault(point, {})[metric] = read_launches(json.loads(unknown))
    return points, uncertainty
