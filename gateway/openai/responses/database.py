"""The SQLite file of stored responses: its tables, its connection, and its place on the disk.

Several processes use it at once. Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BUSY = 10.0  # seconds to wait for another process' write
_SCHEMA = (
    """
CREATE TABLE IF NOT EXISTS responses (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    previous TEXT,
    created REAL NOT NULL,
    renewed REAL NOT NULL,
    status TEXT NOT NULL,
    input TEXT NOT NULL,
    record TEXT NOT NULL,
    owner TEXT NOT NULL DEFAULT '',
    bytes INTEGER NOT NULL DEFAULT 0
)
""",
    """
CREATE TABLE IF NOT EXISTS events (
    response TEXT NOT NULL,
    first INTEGER NOT NULL,
    frames BLOB NOT NULL,
    PRIMARY KEY (response, first)
) WITHOUT ROWID
""",
    """
CREATE TRIGGER IF NOT EXISTS forget_events AFTER DELETE ON responses
BEGIN DELETE FROM events WHERE response = OLD.id; END
""",
)
# Columns that an earlier version's table lacks.
_ADDED = {"owner": "TEXT NOT NULL DEFAULT ''", "bytes": "INTEGER NOT NULL DEFAULT 0"}
_FREE_PAGES = 256  # of the file, 1 MiB: fewer are kept for what comes next
_WAL_BYTES = 4 * 1024 * 1024  # that the file of changes keeps


class Database:
    """It is opened by its first use. It may be used from several threads, one after the other."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._kept: sqlite3.Connection | None = None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One write or read."""
        with self._lock:
            if self._kept is None:
                self._kept = _connect(self._file)
            with self._kept:
                yield self._kept

    def shrink(self) -> None:
        """Give the place of what was deleted back to the disk, outside of any transaction."""
        with self._lock:
            if self._kept is not None:
                [free] = self._kept.execute("PRAGMA freelist_count").fetchone()
                if free > _FREE_PAGES:
                    # ``execute`` would run its first step only, which frees one page.
                    self._kept.executescript(f"PRAGMA incremental_vacuum({free})")

    def close(self) -> None:
        """The next use opens it again."""
        with self._lock:
            if self._kept is not None:
                self._kept.close()
                self._kept = None


def _connect(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(parents=True, exist_ok=True)
    # Conversations are nobody else's to read. SQLite's further files take over these rights.
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(file, timeout=BUSY, check_same_thread=False)
    try:
        _let_shrink(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")
        for statement in _SCHEMA:
            connection.execute(statement)
        _add_columns(connection)
        connection.commit()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _let_shrink(connection: sqlite3.Connection) -> None:
    """A file of an earlier version is written anew once, where no other process uses it."""
    [kind] = connection.execute("PRAGMA auto_vacuum").fetchone()
    if kind == 2:  # incremental
        return
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    with suppress(sqlite3.OperationalError):
        connection.execute("VACUUM")


def _add_columns(connection: sqlite3.Connection) -> None:
    there = {row[1] for row in connection.execute("PRAGMA table_info(responses)")}
    for name, kind in _ADDED.items():
        if name not in there:
            with suppress(sqlite3.OperationalError):  # another process has just added it
                connection.execute(f"ALTER TABLE responses ADD COLUMN {name} {kind}")
