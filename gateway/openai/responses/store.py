"""Stored responses, which all gateway processes of a service share.

Each belongs to an owner, and nobody else finds it. Bounded by count, by bytes and by age; what is
deleted gives its place on the disk back. Everything here blocks: call it in a thread. An unfinished
response counts as lost when its process does not renew it for a while. Records and inputs are JSON.
The events of a stream in the background are kept as frames, several in a row of the table.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from cupola.gateway.openai.responses.answers import ResponseError, ResponseObject
from cupola.gateway.openai.responses.database import Database

MAX_AGE = 30 * 24 * 3600.0  # seconds, as OpenAI keeps them
LOST_AFTER = 60.0  # seconds without a sign of life of an unfinished response
_decode = msgspec.json.Decoder(ResponseObject).decode
_frames = msgspec.msgpack.Decoder(list[bytes]).decode
_OPEN = "status IN ('queued', 'in_progress')"


class ResponseStore:
    """``now`` is the wall clock's, in seconds."""

    def __init__(self, file: Path, limit: int, quota: int, *, each: bool = False) -> None:
        """``limit``: how many responses are kept; ``quota``: and how many bytes.

        ``each``: of each owner, else of all together. Only known owners may have a share of their
        own: there could be any number of others.
        """
        self._database = Database(file)
        self._limit = limit
        self._quota = quota
        self._each = each

    def close(self) -> None:
        self._database.close()

    def add(
        self, record: ResponseObject, items: Sequence[dict[str, Any]], owner: str, now: float
    ) -> None:
        """A new response with its input; the oldest make room."""
        given, made = json.dumps(items), _encoded(record)
        row = (record.id, record.previous_response_id, now, now, record.status)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO responses"
                " (id, previous, created, renewed, status, input, record, owner, bytes)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, given, made, owner, len(given) + len(made)),
            )
            connection.execute("DELETE FROM responses WHERE created < ?", (now - MAX_AGE,))
            self._make_room(connection, owner)
        self._database.shrink()

    def _make_room(self, connection: sqlite3.Connection, owner: str) -> None:
        """Delete the oldest beyond the limits."""
        whose = "owner = ?" if self._each else "? IS NOT NULL"
        connection.execute(
            "DELETE FROM responses WHERE number IN (SELECT number FROM (SELECT number,"
            " COUNT(*) OVER newest AS place, SUM(bytes) OVER newest AS total FROM responses"
            f" WHERE {whose} WINDOW newest AS (ORDER BY number DESC))"
            " WHERE place > ? OR total > ?)",
            (owner, self._limit, self._quota),
        )

    def update(self, record: ResponseObject, now: float) -> bool:
        """A new state of a response that was not finished; False where it is over by now."""
        with self._database.transaction() as connection:
            changed = connection.execute(
                "UPDATE responses SET renewed = ?, status = ?, record = ?,"
                " bytes = bytes - length(record) + ?"
                f" WHERE id = ? AND {_OPEN} RETURNING owner",
                (now, record.status, made := _encoded(record), len(made), record.id),
            ).fetchall()
            for (owner,) in changed:
                self._make_room(connection, owner)
            return bool(changed)

    def renew(self, response_id: str, now: float) -> bool:
        """A sign of life. False: somebody has cancelled or deleted the response."""
        with self._database.transaction() as connection:
            changed = connection.execute(
                f"UPDATE responses SET renewed = ? WHERE id = ? AND {_OPEN}", (now, response_id)
            )
            return changed.rowcount == 1

    def add_events(self, response_id: str, first: int, frames: Sequence[bytes], now: float) -> bool:
        """More events of a stream, the first of them with that number; also a sign of life.

        False: somebody has cancelled or deleted the response.
        """
        row = (response_id, first, zlib.compress(msgspec.msgpack.encode(frames)))
        with self._database.transaction() as connection:
            changed = connection.execute(
                f"UPDATE responses SET renewed = ? WHERE id = ? AND {_OPEN}", (now, response_id)
            )
            if changed.rowcount == 1 and frames:
                connection.execute("INSERT INTO events VALUES (?, ?, ?)", row)
                connection.execute(
                    "UPDATE responses SET bytes = bytes + ? WHERE id = ?",
                    (len(row[2]), response_id),
                )
            return changed.rowcount == 1

    def events(self, response_id: str, after: int) -> list[bytes] | None:
        """The frames of the events after that number; None where no events were kept."""
        with self._database.transaction() as connection:
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

    def get(self, response_id: str, owner: str, now: float) -> ResponseObject | None:
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT record, renewed FROM responses WHERE id = ? AND owner = ? AND created >= ?",
                (response_id, owner, now - MAX_AGE),
            ).fetchone()
        return None if row is None else _alive(_decode(row[0]), row[1], now)

    def input_of(self, response_id: str, owner: str, now: float) -> list[dict[str, Any]] | None:
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT input FROM responses WHERE id = ? AND owner = ? AND created >= ?",
                (response_id, owner, now - MAX_AGE),
            ).fetchone()
        return None if row is None else list(json.loads(row[0]))

    def delete(self, response_id: str, owner: str) -> bool:
        with self._database.transaction() as connection:
            gone = connection.execute(
                "DELETE FROM responses WHERE id = ? AND owner = ?", (response_id, owner)
            )
        self._database.shrink()
        return gone.rowcount == 1

    def conversation(self, response_id: str, owner: str, now: float) -> list[dict[str, Any]] | None:
        """All items up to the end of a response, the oldest first; None where a part is gone."""
        turns: list[list[dict[str, Any]]] = []
        following: str | None = response_id
        with self._database.transaction() as connection:
            while following is not None:
                row = connection.execute(
                    "SELECT input, record, previous FROM responses"
                    " WHERE id = ? AND owner = ? AND created >= ?",
                    (following, owner, now - MAX_AGE),
                ).fetchone()
                if row is None:
                    return None
                turns.append([*json.loads(row[0]), *json.loads(row[1])["output"]])
                following = row[2]
        return [item for turn in reversed(turns) for item in turn]

    def page(
        self, limit: int, after: str | None, owner: str, *, newest_first: bool, now: float
    ) -> tuple[list[ResponseObject], bool] | None:
        """Some responses, and whether more follow; None where there is no ``after``."""
        order, beyond = ("DESC", "<") if newest_first else ("ASC", ">")
        with self._database.transaction() as connection:
            edge = None
            if after is not None:
                found = connection.execute(
                    "SELECT number FROM responses WHERE id = ? AND owner = ?", (after, owner)
                )
                if (edge := found.fetchone()) is None:
                    return None
            where, given = (f"AND number {beyond} ?", edge) if edge else ("", ())
            rows = connection.execute(
                f"SELECT record, renewed FROM responses WHERE owner = ? AND created >= ? {where}"
                f" ORDER BY number {order} LIMIT ?",
                (owner, now - MAX_AGE, *given, limit + 1),
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
