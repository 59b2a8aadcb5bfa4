"""The log: what clients put into it harms nobody, and it stays small."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.cache.system.line_rate import BURST, LINES_PER_SECOND
from cupola.service.output.log_file import OLDER, older, own_log, rotate
from cupola.service.output.logs import (
    JsonFormatter,
    LineFormatter,
    RateLimit,
)


def record(message: str, *arguments: object, line: int = 1, error: bool = False):
    exc_info = None
    if error:
        try:
            raise ValueError(message)
        except ValueError:
            exc_info = sys.exc_info()
    return logging.LogRecord("name", logging.INFO, "file.py", line, message, arguments, exc_info)


# -- what a line can hold --------------------------------------------------------------------------


@given(st.text(), st.booleans())
def test_no_text_can_forge_a_line_or_command_a_terminal(text: str, error: bool) -> None:
    first, *others = LineFormatter("gateway").format(record("%s", text, error=error)).split("\n")
    assert "gateway" in first
    assert all(line.startswith("    ") for line in others)
    controls = [c for c in "\n".join([first, *others]) if unicodedata.category(c)[0] == "C"]
    assert set(controls) <= {"\n", "\t"} | {c for c in text if ord(c) > 0xFFFF} | unassigned(text)


def unassigned(text: str) -> set[str]:
    return {c for c in text if unicodedata.category(c) in ("Cn", "Co")}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb", "a\\x0db"),
        ("a\nb", "a\n    b"),
        ("a\u2028b", "a\\u2028b"),
        ("a\u202eb", "a\\u202eb"),
        ("a\ud800b", "a\\ud800b"),
        ("naïve 模型 🙂\t.", "naïve 模型 🙂\t."),
    ],
)
def test_how_text_is_shown(text: str, shown: str) -> None:
    assert LineFormatter("gateway").format(record("%s", text)).endswith(f" {shown}")


# -- how many lines there are ----------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def passed(limit: RateLimit, count: int, line: int = 1, error: bool = False) -> list[str]:
    formatter = LineFormatter("gateway")
    records = [record("again", line=line, error=error) for _ in range(count)]
    return [formatter.format(each) for each in records if limit.filter(each)]


def test_a_flood_of_lines_is_limited_and_counted(clock: Clock) -> None:
    limit = RateLimit(clock)
    lines = passed(limit, 10_000)
    assert len(lines) == BURST
    assert "may be left out" in lines[-1] and "left out" not in lines[0]
    clock.now += 1.0
    lines = passed(limit, 10_000)
    assert len(lines) == LINES_PER_SECOND
    assert f"[{10_000 - BURST:.0f} lines like this were left out]" in lines[0]


def test_tracebacks_count_more(clock: Clock) -> None:
    assert len(passed(RateLimit(clock), 10_000, error=True)) <= BURST / 5


def test_a_flood_hides_no_other_lines(clock: Clock) -> None:
    limit = RateLimit(clock)
    passed(limit, 10_000)
    assert len(passed(limit, 1, line=2)) == 1


def test_lines_at_a_slow_rate_all_pass(clock: Clock) -> None:
    limit = RateLimit(clock)
    for _ in range(1000):
        clock.now += 2 / LINES_PER_SECOND
        assert len(passed(limit, 1)) == 1


# -- how large the file is -------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "cupola-2026-01-01.log"


@pytest.fixture
def writer(log: Path) -> Iterator[io.FileIO]:
    """A process that has the log open to append to it."""
    with open(log, "ab", buffering=0) as stream:
        yield stream


def test_a_small_log_stays(log: Path, writer: io.FileIO) -> None:
    writer.write(b"one\n")
    assert not rotate(log, max_bytes=4)
    assert log.read_bytes() == b"one\n"


def test_a_large_log_goes_on_empty_and_the_oldest_is_deleted(log: Path, writer: io.FileIO) -> None:
    count = OLDER + 3
    for number in range(count):
        writer.write(b"%d\n" % number)
        assert rotate(log, max_bytes=1)
    writer.write(b"last\n")
    assert log.read_bytes() == b"last\n"
    kept = sorted(log.parent.iterdir())
    assert kept == sorted([log, *(older(log, number) for number in range(1, OLDER + 1))])
    assert [older(log, n).read_bytes() for n in (1, 2)] == [b"5\n", b"4\n"]
    assert max(log.parent.glob("cupola-*.log")) == log
    if os.name == "posix":
        assert {older(log, 1).stat().st_mode & 0o777} == {0o600}


def test_a_log_that_cannot_be_copied_is_emptied(log: Path, writer: io.FileIO) -> None:
    (older(log, OLDER) / "folder").mkdir(parents=True)  # no file can take its place
    older(log, OLDER - 1).touch()
    writer.write(b"much\n")
    assert rotate(log, max_bytes=1)
    assert log.read_bytes() == b""


def test_a_process_finds_its_own_log_only(tmp_path: Path, log: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from cupola.service.output.log_file import own_log; "
        "print(own_log(Path(sys.argv[1])))"
    )
    for path, found in ((log, log), (tmp_path / "users.log", None)):
        with path.open("ab") as stream:
            done = subprocess.run(
                [sys.executable, "-c", code, str(tmp_path)],
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                check=True,
            )
        assert done.stdout.strip() == str(found)
    assert own_log(tmp_path / "missing") is None


@pytest.mark.parametrize("text", ["plain", 'a "quoted"\nline', "\x1b[31mred\u202e", "\ud800"])
def test_a_record_is_a_json_object_on_one_line(text: str) -> None:
    made = record("%s", text)
    made.fields = {"model": text, "status": 200}
    line = JsonFormatter("gateway").format(made)
    assert "\n" not in line and line.isascii() and line.isprintable()
    told = json.loads(line)
    assert (told["message"], told["model"], told["status"]) == (text, text, 200)
    assert (told["process"], told["level"]) == ("gateway", "info")
    assert datetime.fromisoformat(told["time"]).tzinfo is not None
