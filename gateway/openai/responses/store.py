"""Stored responses: one SQLite file that all gateway processes of a service share.

Bounded by count and by age. Everything here blocks: call it in a thread. An unfinished response
counts as lost when its process does not renew it for a while. Records and inputs are JSON. The
events of a stream in the background are kept as frames, several in a row of the table.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from cupola.gateway.openai.responses.answers import ResponseError, ResponseObject

MAX_AGE = 30 * 24 * 3600.0  # seconds, as OpenAI keeps them
LOST_AFTER = 60.0  # seconds without a sign of life of an unfinished response
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
    record TEXT NOT NULL
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
_decode = msgspec.json.Decoder(ResponseObject).decode
_frames = msgspec.msgpack.Decoder(list[bytes]).decode
_OPEN = "status IN ('queued', 'in_progress')"


class ResponseStore:
    """``limit``: how many responses are kept. ``now`` is the wall clock's, in seconds."""

    def __init__(self, file: Path, limit: int) -> None:
        self._file = file
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: sqlite3.Connection | None = None

    def close(self) -> None:
        with self._lock:
            if self._kept is not None:
                self._kept.close()
                self._kept = None

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """One write or read, as a transaction."""
        with self._lock:
            if self._kept is None:
                self._kept = _connect(self._file)
            with self._kept:
                yield self._kept

    def add(self, record: ResponseObject, items: Sequence[dict[str, Any]], now: float) -> None:
        """A new response with its input; the oldest make room."""
        row = (record.id, record.previous_response_id, now, now, record.status)
        with self._connection() as connection:
            connection.execute(
                "INSERT INTO responses (id, previous, created, renewed, status, input, record)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*row, json.dumps(items), _encoded(record)),
            )
            connection.execute("DELETE FROM responses WHERE created < ?", (now - MAX_AGE,))
            connection.execute(
                "DELETE FROM responses WHERE number <= "
                "(SELECT number FROM responses ORDER BY number DESC LIMIT 1 OFFSET ?)",
                (self._limit,),
            )

    def update(self, record: ResponseObject, now: float) -> bool:
        """A new state of a response that was not finished; False where it is over by now."""
        with self._connection() as connection:
            changed = connection.execute(
                "UPDATE responses SET renewed = ?, status = ?, record = ?"
                f" WHERE id = ? AND {_OPEN}",
                (now, record.status, _encoded(record), record.id),
            )
            return changed.rowcount == 1

    def renew(self, response_id: str, now: float) -> bool:
        """A sign of life. False: somebody has cancelled or deleted the response."""
        with self._connection() as connection:
            changed = connection.execute(
                f"UPDATE responses SET renewed = ? WHERE id = ? AND {_OPEN}", (now, response_id)
            )
            return changed.rowcount == 1

    def add_events(self, response_id: str, first: int, frames: Sequence[bytes], now: float) -> bool:
        """More events of a stream, the first of them with that number; also a sign of life.

        False: somebody has cancelled or deleted the response.
        """
        row = (response_id, first, zlib.compress(msgspec.msgpack.encode(frames)))
        with self._connection() as connection:
            changed = connection.execute(
                f"UPDATE responses SET renewed = ? WHERE id = ? AND {_OPEN}", (now, response_id)
            )
            if changed.rowcount == 1 and frames:
                connection.execute("INSERT INTO events VALUES (?, ?, ?)", row)
            return changed.rowcount == 1

    def events(self, response_id: str, after: int) -> list[bytes] | None:
        """The frames of the events after that number; None where no events were kept."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT first, frames FROM events WHERE response = ? AND first >= COALESCE("
                "(SELECT MAX(first) FROM events WHERE response = ? AND first <= ?), 0)"
                " ORDER BY first",
                (response_id, response_id, max(0, after + 1)),
            ).fetchall()
        if not rows:
            return None
        frames = [frame for _, blob in rows for frame in _frames(zlib.decompress(blob))]
        return frames[max(0, after + 1 - rows[0][0]) :]

    def get(self, response_id: str, now: float) -> ResponseObject | None:
        with self._connection() as connection:
            row = connection.execute(
                "SELECT record, renewed FROM responses WHERE id = ? AND created >= ?",
                (response_id, now - MAX_AGE),
            ).fetchone()
        return None if row is None else _alive(_decode(row[0]), row[1], now)

    def input_of(self, response_id: str, now: float) -> list[dict[str, Any]] | None:
        with self._connection() as connection:
            row = connection.execute(
                "SELECT input FROM responses WHERE id = ? AND created >= ?",
                (response_id, now - MAX_AGE),
            ).fetchone()
        return None if row is None else list(json.loads(row[0]))

    def delete(self, response_id: str) -> bool:
        with self._connection() as connection:
            gone = connection.execute("DELETE FROM responses WHERE id = ?", (response_id,))
            return gone.rowcount == 1

    def conversation(self, response_id: str, now: float) -> list[dict[str, Any]] | None:
        """All items up to the end of a response, the oldest first; None where a part is gone."""
        turns: list[list[dict[str, Any]]] = []
        following: str | None = response_id
        with self._connection() as connection:
            while following is not None:
                row = connection.execute(
                    "SELECT input, record, previous FROM responses WHERE id = ? AND created >= ?",
                    (following, now - MAX_AGE),
                ).fetchone()
                if row is None:
                    return None
                turns.append([*json.loads(row[0]), *json.loads(row[1])["output"]])
                following = row[2]
        return [item for turn in reversed(turns) for item in turn]

    def page(
        self, limit: int, after: str | None, *, newest_first: bool, now: float
    ) -> tuple[list[ResponseObject], bool] | None:
        """Some responses, and whether more follow; None where there is no ``after``."""
        order, beyond = ("DESC", "<") if newest_first else ("ASC", ">")
        with self._connection() as connection:
            edge = None
            if after is not None:
                found = connection.execute("SELECT number FROM responses WHERE id = ?", (after,))
                if (edge := found.fetchone()) is None:
                    return None
            where, given = (f"AND number {beyond} ?", edge) if edge else ("", ())
            rows = connection.execute(
                f"SELECT record, renewed FROM responses WHERE created >= ? {where}"
                f" ORDER BY number {order} LIMIT ?",
                (now - MAX_AGE, *given, limit + 1),
            ).fetchall()
        records = [_alive(_decode(record), renewed, now) for record, renewed in rows]
        return records[:limit], len(records) > limit


def _alive(record: ResponseObject, renewed: float, now: float) -> ResponseObject:
    if not record.ended and now - renewed > LOST_AFTER:
        message = "The process that made this response has ended; send the request again"
        return replace(record, status="failed", error=ResponseError("server_error", message))
    return record


def _encoded(record: ResponseObject) -> str:
    return msgspec.json.encode(record).decode()


def _connect(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(parents=True, exist_ok=True)
    # Conversations are nobody else's to read. SQLite's further files take over these rights.
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(file, timeout=BUSY, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.commit()
    except sqlite3.Error:
        connection.close()
        raise
    return connection
