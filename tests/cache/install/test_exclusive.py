"""One process works at a time, and nothing of the lock is left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cupola.cache.install.exclusive import exclusive, remove_abandoned
from cupola.cache.progress import silent
from cupola.cache.system.locks import file_lock

# Adds one to the number in the file argv[1], argv[2] times in each of four threads.
COUNTER = """
import sys, threading
from pathlib import Path
from cupola.cache.install.exclusive import exclusive
from cupola.cache.progress import silent

number = Path(sys.argv[1])

def count():
    for _ in range(int(sys.argv[2])):
        with exclusive(number.with_suffix(".lock"), silent) as progress:
            before = int(number.read_text())
            progress("count", before, None)
            number.write_text(str(before + 1))

threads = [threading.Thread(target=count) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_nothing_is_left_of_work_that_ends_or_fails(tmp_path: Path) -> None:
    with exclusive(tmp_path / "a.lock", silent) as progress:
        progress("stage", 1, 2)
        assert sorted(each.name for each in tmp_path.iterdir()) == ["a.lock", "a.progress"]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path / "a.lock", silent) as progress:
        progress("stage", 1, 2)
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_who_finds_no_file_works_beside_nobody(tmp_path: Path) -> None:
    number = tmp_path / "number.txt"
    number.write_text("0")
    command = [sys.executable, "-c", COUNTER, str(number), "20"]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert number.read_text() == str(2 * 4 * 20)
    assert list(tmp_path.iterdir()) == [number]


def test_what_killed_processes_left_goes_and_what_is_in_use_stays(tmp_path: Path) -> None:
    (tmp_path / "work-1").mkdir()
    for name in ("work-1.lock", "killed.lock", "killed-2.5.lock", "killed-2.5.progress"):
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    with file_lock(tmp_path / "busy.lock"):
        (tmp_path / "busy.progress").touch()
        remove_abandoned(tmp_path)
        left = sorted(each.name for each in tmp_path.iterdir())
    assert left == ["busy.lock", "busy.progress", "notes.txt", "work-1", "work-1.lock"]
