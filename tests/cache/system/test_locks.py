"""Locks exclude each other, between objects and processes, and die with their holder."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cupola.cache.system.locks import delete, file_lock, try_acquire


def test_a_lock_is_held_once(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.lock"
    with file_lock(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not try_acquire(file_lock(path))
    second = file_lock(path)
    assert try_acquire(second)
    second.release()


def test_a_lock_of_another_process_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    code = f"""
import pathlib, sys
from cupola.cache.system.locks import file_lock
lock = file_lock(pathlib.Path({str(path)!r}))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        lock = file_lock(path)
        assert not try_acquire(lock)
        holder.kill()
        holder.wait()
        assert try_acquire(lock)
        lock.release()


def test_who_waits_for_a_deleted_lock_gets_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    first, acquired = file_lock(path), threading.Event()
    first.acquire()

    def wait() -> None:
        with file_lock(path):
            assert path.exists()  # it is held on a file that others can see
            acquired.set()

    thread = threading.Thread(target=wait)
    thread.start()
    delete(first)
    thread.join(10)
    assert acquired.is_set()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows deletes no open file")
def test_a_file_that_is_deleted_before_it_is_locked_gives_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    path, lock_file = tmp_path / "a.lock", fcntl.flock
    first, second = file_lock(path), file_lock(path)
    first.acquire()

    def deleted_meanwhile(descriptor: int, operation: int) -> None:
        """What another process may do between the two calls of who opens and locks a file."""
        if operation & fcntl.LOCK_EX and first.is_locked:
            delete(first)
        lock_file(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", deleted_meanwhile)
    assert not try_acquire(second)
    assert not first.is_locked and not path.exists()
    assert try_acquire(second)
    assert path.exists() and not try_acquire(file_lock(path))
    delete(second)


def test_delete_leaves_no_file(tmp_path: Path) -> None:
    lock = file_lock(tmp_path / "a.lock")
    lock.acquire()
    delete(lock)
    assert not lock.is_locked
    assert list(tmp_path.iterdir()) == []
