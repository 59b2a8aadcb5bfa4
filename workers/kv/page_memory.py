"""Memory that is committed page by page when it is touched, and that can be given back."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import weakref

PAGE_BYTES = mmap.PAGESIZE

_FALLOC_FL_KEEP_SIZE, _FALLOC_FL_PUNCH_HOLE = 1, 2  # linux/falloc.h
_MAP_FIXED = 0x10  # linux/mman.h
_MAP_FAILED = ctypes.c_void_p(-1).value


class AnonymousMemory:
    """Memory of this process only. ``buffer`` is zeroed and has small pages."""

    def __init__(self, size: int) -> None:
        if os.name == "posix":  # private: pages of shared memory could not be given back
            self.buffer = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        else:
            self.buffer = mmap.mmap(-1, size)
        _keep_small(self.buffer)

    def give_back(self, start: int, size: int) -> None:
        """Return a range's pages to the system, if it takes them. They read as zeros then."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self.buffer.madvise(mmap.MADV_DONTNEED, start, size)


class SharedMemory:
    """Memory whose pages can be shown at several places of ``buffer``. Only on Linux.

    It is a file without a name (``file`` is its descriptor), which ends with the process. At first
    each place of the buffer shows the page of the file at the same offset.
    """

    def __init__(self, size: int) -> None:
        """Raises OSError."""
        self.file = os.memfd_create("cupola-keys-and-values")
        weakref.finalize(self, os.close, self.file)
        os.ftruncate(self.file, size)
        self.buffer = mmap.mmap(self.file, size)
        _keep_small(self.buffer)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self.buffer))
        libc = ctypes.CDLL(None, use_errno=True)
        self._map = libc.mmap
        self._map.restype = ctypes.c_void_p
        self._map.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
        self._allocate = libc.fallocate
        self._allocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]

    @staticmethod
    def available() -> bool:
        """Whether this system has such memory."""
        return sys.platform == "linux" and hasattr(os, "memfd_create")

    def show(self, at: int, offset: int, size: int) -> None:
        """Show the pages of the file at ``offset`` at the place ``at`` of the buffer.

        Raises OSError.
        """
        access, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | _MAP_FIXED
        if self._map(self._base + at, size, access, flags, self.file, offset) == _MAP_FAILED:
            raise OSError(ctypes.get_errno(), "keys and values cannot be mapped")

    def give_back(self, start: int, size: int) -> None:
        """Return pages of the file to the system, wherever they are shown. They read as zeros then.

        Raises OSError.
        """
        if self._allocate(self.file, _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE, start, size):
            raise OSError(ctypes.get_errno(), "memory of keys and values cannot be given back")


def _keep_small(memory: mmap.mmap) -> None:
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
