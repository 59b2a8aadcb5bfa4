"""One log for all processes of the service, on standard error.

A client can make lines, and choose words in them. So each line is limited in rate and free of
control characters: nobody can fill the disk with them, forge a line or command a terminal.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from cupola.cache.system.line_rate import LineRate
from cupola.service.output.log_writer import LogWriter

TRACEBACK_COST = 10.0  # how many lines a traceback counts as

_NOTE = "log_note"  # attribute of a record: what the log adds to it
_FIELDS = "fields"  # the same: further keys of its JSON, or what gives them
_UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")


class _Escapes(dict[int, str]):
    """For ``str.translate``: control characters, those that change the direction of text, and line
    ends are escaped. What becomes of a character is found when it first comes.
    """

    def __missing__(self, code: int) -> str:
        text = chr(code)
        if unicodedata.category(text) in _UNSAFE and text != "\t":
            form = "\\x{:02x}" if code < 0x100 else "\\u{:04x}" if code < 0x10000 else "\\U{:08x}"
            text = form.format(code)
        if code < 0x10000:
            self[code] = text
        return text


_ESCAPES = _Escapes({ord("\n"): "\n    "})  # a line of the log's own begins at the margin


class LogOptions(NamedTuple):
    """``form``: ``console`` is for people, ``json`` for programs."""

    level: str
    form: Literal["console", "json"] = "console"


def configure(options: LogOptions, process: str) -> None:
    """Log to standard error. ``process``: its name in every line, e.g. ``worker cpu:0/0``."""
    handler = LogWriter(2)
    form = JsonFormatter if options.form == "json" else LineFormatter
    handler.setFormatter(form(process))
    handler.addFilter(RateLimit())
    logging.basicConfig(handlers=[handler], level=options.level.upper(), force=True)
    logging.raiseExceptions = False  # a full disk must not cost more than the line
    # No line tells of these, and they must be found for each.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


class LineFormatter(logging.Formatter):
    """Escapes control characters. Further lines of a record, such as tracebacks, are indented."""

    def __init__(self, process: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s {process:<16} %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record).translate(_ESCAPES)
        note = getattr(record, _NOTE, "")
        return f"{text} [{note}]" if note else text


class JsonFormatter(logging.Formatter):
    """One JSON object a line, of ASCII only: nothing in it can command a terminal."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        told: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields = getattr(record, _FIELDS, {})
        told |= fields() if callable(fields) else fields
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        if note := getattr(record, _NOTE, ""):
            told["note"] = note
        return json.dumps(told, ensure_ascii=True, default=str)


class RateLimit(logging.Filter):
    """Lets so many records of each kind pass. What is left out is counted in the next that passes.

    Records are of one kind if one place in the code makes them, so there are only so many kinds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[tuple[str, int, int], LineRate] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        cost = TRACEBACK_COST if record.exc_info else 1.0
        now = self._clock()
        with self._lock:
            place = (record.pathname, record.lineno, record.levelno)
            if (kind := self._kinds.get(place)) is None:
                kind = self._kinds[place] = LineRate(now)
            if not kind.takes(now, cost):
                return False
            notes = [getattr(record, _NOTE, ""), kind.left_out()]
            if kind.is_full(cost):
                notes.append("more lines like this may be left out")
        setattr(record, _NOTE, "; ".join(filter(None, notes)))
        return True
