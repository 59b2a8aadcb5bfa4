"""Requests at random to a port, in a process of its own that gives way to all others.

    background_load.py PORT REQUESTS_A_SECOND SEED < REQUEST

A generator that shares a loop with the client that measures would hold it up, and one that shares
its processors would hold the servers up. This one says ``begun`` and goes on until it is ended.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen

from cupola.loadtests.overhead.load import at_random

_NICENESS = 10
_LONGEST = 3600.0  # seconds


@contextmanager
def background_load(port: int, request: bytes, rate: float, seed: int) -> Iterator[None]:
    """So many requests a second come meanwhile, beside what the block does."""
    command = [sys.executable, __file__, str(port), str(rate), str(seed)]
    with Popen(command, stdin=PIPE, stdout=PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(request)
            process.stdin.close()
            if not process.stdout.readline():
                raise RuntimeError("the background load did not begin")
            yield
        finally:
            process.terminate()


async def main() -> None:
    port, rate, seed = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    request = sys.stdin.buffer.read()
    os.nice(_NICENESS)
    print("begun", flush=True)
    await at_random(port, request, rate, _LONGEST, seed)


if __name__ == "__main__":
    asyncio.run(main())
