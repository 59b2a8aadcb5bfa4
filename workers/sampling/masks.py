"""The token masks of one step, computed beside the model's run and applied to its logits.

masks.begin([sequence.matcher for sequence in ready])
logits = session.run(...)                    # the GIL is released here, and by llguidance
masks.apply(logits)
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from cupola.workers.grammar.constraints import LATE, Matcher

LATE_SECONDS = 2.0  # for one mask, after the model's run


class MaskBatch:
    """Masks for up to ``rows`` rows of logits ``[R, size]``."""

    def __init__(self, rows: int, size: int, ends: Collection[int]) -> None:
        self._bits = np.zeros((rows, (size + 31) // 32), np.uint32)
        self._size = size
        self._not_ends = np.full(self._bits.shape[1], 0xFFFFFFFF, np.uint32)
        for end in ends:
            self._not_ends[end // 32] &= ~np.uint32(1 << (end % 32))
        self._masked: list[tuple[int, Matcher]] = []  # of the step that runs
        self._thread: _MaskThread | None = None
        self._end: Callable[[], object] = lambda: None

    @property
    def pending(self) -> int:
        """Masks that were begun and neither applied nor dropped."""
        return len(self._masked)

    def begin(self, matchers: Sequence[Matcher | None]) -> None:
        """Start on the masks of a step's rows; None: a row that is free."""
        self._masked = [(row, m) for row, m in enumerate(matchers) if m is not None]
        if self._masked:
            thread = self._thread or self._start()
            for row, matcher in self._masked:
                thread.submit(matcher, self._bits[row])

    def apply(self, logits: NDArray[np.float32]) -> None:
        """Set what the grammars forbid to -inf. Every row keeps a token that can be chosen.

        A matcher whose mask does not come has ``failure`` set, and its row is left free.
        """
        good = self._collect()
        if not good:
            return
        forbidden = np.unpackbits(
            (~self._bits[good]).view(np.uint8), axis=1, count=self._size, bitorder="little"
        ).view(bool)
        for mask, row in zip(forbidden, good, strict=True):
            np.putmask(logits[row], mask, -np.inf)
            if not (self._bits[row] & self._not_ends).any():
                logits[row, ~mask] = 0.0  # whoever forbade the end before us: nothing else is left

    def drop(self) -> None:
        """The run failed: the masks that were begun are waited for and not used."""
        self._collect()

    def _collect(self) -> list[int]:
        """Wait for the masks; the rows whose masks came."""
        for row, matcher in self._masked:
            if self._thread is None or not self._thread.wait(LATE_SECONDS):
                self._give_up(row, matcher)
        good = [row for row, matcher in self._masked if matcher.failure is None]
        self._masked = []
        return good

    def _give_up(self, row: int, matcher: Matcher) -> None:
        """``matcher`` is stuck, and its thread with it: the rows behind it get another one."""
        matcher.fail(LATE)
        behind = self._masked[[at for at, _ in self._masked].index(row) + 1 :]
        self._bits = self._bits.copy()  # the stuck thread may yet write into the old ones
        self._end()
        thread = self._start()
        for at, other in behind:
            thread.submit(other, self._bits[at])

    def _start(self) -> _MaskThread:
        thread = self._thread = _MaskThread()
        self._end = weakref.finalize(self, thread.abandon)
        return thread


class _MaskThread:
    """Computes masks in the order in which they are asked for."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[tuple[Matcher, NDArray[np.uint32]] | None] = (
            queue.SimpleQueue()
        )
        self._made: queue.SimpleQueue[None] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True, name="masks").start()

    def submit(self, matcher: Matcher, bits: NDArray[np.uint32]) -> None:
        self._asked.put((matcher, bits))

    def wait(self, patience: float) -> bool:
        """Wait for the oldest mask that was not waited for; False: it did not come."""
        try:
            self._made.get(timeout=patience)
        except queue.Empty:
            return False
        return True

    def abandon(self) -> None:
        """Have it end once it is through with what it is at; nothing else is done."""
        while not self._asked.empty():
            self._asked.get()
        self._asked.put(None)

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None:
            matcher, bits = asked
            try:
                matcher.state.unsafe_compute_mask_ptr(bits.ctypes.data, bits.nbytes)
                if matcher.state.is_error():
                    matcher.fail(LATE)
            except Exception:  # whatever llguidance has against it is this answer's failure
                matcher.fail(LATE)
            self._made.put(None)
