"""Tries a grammar in a process of its own, which is killed when it takes too long.

llguidance limits its work, but not all of it. Some short grammars keep it busy for minutes, in the
compiler or at a later mask. So each new grammar is first compiled here, and followed for some
random tokens. ``python -m cupola.workers.grammar.grammar_probe`` is the child process. It reads
constraints and writes verdicts, each as a line of JSON.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec
import numpy as np
from llguidance import LLMatcher

from cupola.scheduler.protocol.messages import ErrorCode
from cupola.scheduler.protocol.tasks import Constraint
from cupola.workers.grammar.grammar import Vocabulary, compile_constraint
from cupola.workers.grammar.refusals import refused
from cupola.workers.model.backend import RequestError

START_SECONDS = 60.0  # for an interpreter and a vocabulary on a busy machine
PROBE_SECONDS = 3.0  # for one grammar
MASK_SECONDS = 0.15  # of processor time, for one mask
WALK = 64  # tokens
TOO_COMPLEX = "it is too complex or too ambiguous: make it smaller"

UNWANTED = "nobody waits for it any more"


class Verdict(msgspec.Struct):
    """What the child says about a grammar."""

    error: str | None = None  # None: the grammar is good


class GrammarProbe:
    """The child process of one model. It starts when it is needed, and ends with this object.

    It is used from one thread. Only ``stop`` may be called from another.
    """

    def __init__(self, tokenizer: Path, size: int, ends: Collection[int]) -> None:
        self._arguments = [str(tokenizer), str(size), *map(str, sorted(ends))]
        self._child: subprocess.Popen[bytes] | None = None
        self._end: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        self._unwanted: Callable[[], bool] | None = None  # of the grammar that is being tried

    def check(self, constraint: Constraint, unwanted: Callable[[], bool] = lambda: False) -> None:
        """Try a grammar. Raises RequestError if it is wrong or takes too long.

        It also ends when ``stop`` is called and nobody wants the grammar any more.
        """
        child = self._running()
        with self._lock:
            if unwanted():
                raise refused(constraint, UNWANTED)
            self._unwanted = unwanted
        try:
            line = _exchange(child, msgspec.json.encode(constraint) + b"\n", PROBE_SECONDS)
        finally:
            with self._lock:
                self._unwanted = None
        if not line:  # killed, or it died of the grammar
            self.close()
            raise refused(constraint, UNWANTED if unwanted() else TOO_COMPLEX)
        error = msgspec.json.decode(line, type=Verdict).error
        if error is not None:
            raise RequestError(ErrorCode.INVALID_REQUEST, error, "constraint")

    def stop(self) -> None:
        """End the trial of a grammar that nobody wants any more."""
        with self._lock:
            if self._child is not None and self._unwanted is not None and self._unwanted():
                self._child.kill()

    def close(self) -> None:
        """Kill the child."""
        self._end()
        self._child = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self.close()
        child = self._child = subprocess.Popen(
            [sys.executable, "-m", "cupola.workers.grammar.grammar_probe", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # the terminal's Ctrl+C is not for it
        )
        self._end = weakref.finalize(self, _kill, child)
        if not _exchange(child, b"", START_SECONDS):
            self.close()
            raise RuntimeError("the process that tries grammars could not be started")
        return child


def _kill(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.communicate()


def _exchange(child: subprocess.Popen[bytes], line: bytes, patience: float) -> bytes:
    """Send a line, and return the child's answer.

    The answer is empty if the child ends, or if it is killed because it took too long.
    """
    assert child.stdin is not None
    assert child.stdout is not None
    timer = threading.Timer(patience, child.kill)
    timer.daemon = True
    timer.start()
    try:
        child.stdin.write(line)
        child.stdin.flush()
        return child.stdout.readline()
    except BrokenPipeError:
        return b""
    finally:
        timer.cancel()


# -- the child -------------------------------------------------------------------------------------


def follow(matcher: LLMatcher, vocabulary: Vocabulary, constraint: Constraint) -> None:
    """Follow random tokens of the grammar. Raises RequestError if a mask takes too long."""
    chance = random.Random(0)
    mask = np.zeros(vocabulary.words, np.int32)
    for _ in range(WALK):
        began = time.process_time()
        matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        if time.process_time() - began > MASK_SECONDS:
            raise refused(constraint, TOO_COMPLEX)
        allowed = np.unpackbits(mask.view(np.uint8), bitorder="little")
        allowed[list(vocabulary.ends)] = 0
        onward = np.flatnonzero(allowed)
        if matcher.is_stopped() or not len(onward):
            break
        matcher.consume_token(int(onward[chance.randrange(len(onward))]))
    if matcher.is_error():
        raise refused(constraint, matcher.get_error())


def judge(line: bytes, vocabulary: Vocabulary) -> Verdict:
    """The verdict on one constraint, which comes as JSON."""
    constraint = msgspec.json.decode(line, type=Constraint)
    try:
        follow(compile_constraint(constraint, vocabulary), vocabulary, constraint)
    except RequestError as error:
        return Verdict(str(error))
    return Verdict()


def main() -> None:
    """The child process."""
    tokenizer, size, *ends = sys.argv[1:]
    if hasattr(os, "nice"):
        os.nice(5)  # streams go first
    vocabulary = Vocabulary(Path(tokenizer), int(size), [int(end) for end in ends])
    print(flush=True)
    for line in sys.stdin.buffer:
        if hasattr(signal, "alarm"):
            signal.alarm(int(PROBE_SECONDS) + 2)  # in case the parent is gone and cannot kill it
        verdict = judge(line, vocabulary)
        if hasattr(signal, "alarm"):
            signal.alarm(0)
        print(msgspec.json.encode(verdict).decode(), flush=True)


if __name__ == "__main__":
    main()
