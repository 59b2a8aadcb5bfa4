"""Locks exclude each other, between objects and processes, and die with their holder."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
from pathlib import Path

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


def test_delete_leaves_no_file(tmp_path: Path) -> None:
    lock = file_lock(tmp_path / "a.lock")
    lock.acquire()
    delete(lock)
    assert not lock.is_locked
    assert list(tmp_path.iterdir()) == []
