"""Files that this process has mapped, and which of their pages are in memory.

onnxruntime maps the weights of a graph, and reads all of them when a session starts. Most of them
it has in another layout from then on. Of the others, such as the rows of an embedding, few are read
again. Only Linux tells what a process has mapped.
"""

from __future__ import annotations

import ctypes
import mmap
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_MAPS = Path("/proc/self/smaps")
# "7f2c8a400000-7f2c8a600000 rw-p 00001000 fd:00 1234    /models/model.onnx.data", and then lines
# of figures, each as "Rss:    16 kB".
_NEXT = re.compile(r"^(?=[0-9a-f]+-[0-9a-f]+ )", re.MULTILINE)
_PLACE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+ +(/.*)")
_RESIDENT = re.compile(r"^Rss: +(\d+) kB", re.MULTILINE)
_WRITTEN = re.compile(r"^Anonymous: +(\d+) kB", re.MULTILINE)


def drop_pages(folder: Path) -> int:
    """Give back the memory of the pages that are mapped from files of ``folder``.

    A page is mapped again when it is read, so any thread may do so meanwhile. Mappings that this
    process has written to are left alone. Returns how many bytes were given back.
    """
    if not sys.platform.startswith("linux"):
        return 0
    try:
        maps = _MAPS.read_text("utf-8", "surrogateescape")
    except OSError:  # some containers do not show it
        return 0
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    dropped = 0
    for start, size, resident in _unchanged(maps, f"{folder.resolve()}/"):
        if advise(start, size, mmap.MADV_DONTNEED) == 0:
            dropped += resident
    return dropped


def _unchanged(maps: str, folder: str) -> Iterator[tuple[int, int, int]]:
    """Start, size and resident bytes of the mappings of the folder's files as they are there."""
    for mapping in _NEXT.split(maps):
        place = _PLACE.match(mapping)
        if place is None or not place[3].startswith(folder):
            continue
        resident, written = _RESIDENT.search(mapping), _WRITTEN.search(mapping)
        if resident is not None and written is not None and int(written[1]) == 0:
            start = int(place[1], 16)
            yield start, int(place[2], 16) - start, int(resident[1]) * 1024
