"""The standard streams of our programs: UTF-8, whatever the language of the system is."""

from __future__ import annotations

import codecs
import os
import sys
from typing import TextIO, cast

_REPLACEMENT = "\ufffd"
_TOLERANT = "cupola.tolerant"  # the name of the error handler below


class _Tolerant:
    """Replaces what is not UTF-8 in what is read, and says so once."""

    def __init__(self) -> None:
        self._told = False

    def __call__(self, error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeDecodeError):
            raise error
        if not self._told:
            self._told = True
            text = f"standard input is not all UTF-8; {_REPLACEMENT} stands for what cannot be read"
            print(f"cupola: {text}", file=sys.stderr, flush=True)
        return _REPLACEMENT, error.end


def use_utf8() -> None:
    """Read and write UTF-8. A stream that the caller has closed becomes the null device.

    Programs read our output as UTF-8. What is typed or piped may begin with a byte order mark.
    """
    sys.stdin = sys.stdin or _null("r")
    sys.stdout = sys.stdout or _null("w")
    sys.stderr = sys.stderr or _null("w")
    codecs.register_error(_TOLERANT, _Tolerant())
    _reconfigure(sys.stdin, "utf-8-sig", _TOLERANT)
    for stream in (sys.stdout, sys.stderr):
        _reconfigure(stream, "utf-8", "replace")


def flush() -> OSError | None:
    """Write what is still to be written. The error, if that is impossible.

    Then nothing more is written: Python would complain when it flushes at its end.
    """
    failed = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            failed = failed or error
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return failed


def _null(mode: str) -> TextIO:
    flags = os.O_RDONLY if mode == "r" else os.O_WRONLY
    descriptor = os.open(os.devnull, flags)  # open until the process ends
    return cast(TextIO, open(descriptor, mode, encoding="utf-8", closefd=False))


def _reconfigure(stream: TextIO, encoding: str, errors: str) -> None:
    if reconfigure := getattr(stream, "reconfigure", None):  # not what a test puts in its place
        reconfigure(encoding=encoding, errors=errors)
