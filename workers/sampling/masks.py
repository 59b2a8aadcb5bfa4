"""The token masks of one step, computed beside the model's run and applied to its logits.

masks.begin([sequence.matcher for sequence in ready])
logits = session.run(...)          # releases the GIL, as llguidance does
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
    """The masks of the rows of a step."""

    def __init__(self, rows: int, size: int, ends: Collection[int]) -> None:
        """For at most ``rows`` rows of logits ``[R, size]``. ``ends``: the end tokens."""
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
        """How many masks were begun and neither applied nor dropped."""
        return len(self._masked)

    def begin(self, matchers: Sequence[Matcher | None]) -> None:
        """Start to compute the masks of a step's rows; None: a row without a grammar."""
        self._masked = [(row, m) for row, m in enumerate(matchers) if m is not None]
        if self._masked:
            thread = self._thread or self._start()
            for row, matcher in self._masked:
                thread.submit(matcher, self._bits[row])

    def apply(self, logits: NDArray[np.float32]) -> None:
        """Set the logits of forbidden tokens to -inf. In every row some token can still be chosen.

        If a mask does not come in time, its matcher's ``failure`` is set and its row is not masked.
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
                logits[row, ~mask] = 0.0  # only end tokens are left, also if they were forbidden

    def drop(self) -> None:
        """Wait for the masks that were begun, and do not use them: the run failed."""
        self._collect()

    def _collect(self) -> list[int]:
        """Wait for the masks. Returns the rows whose masks came."""
        for row, matcher in self._masked:
            if self._thread is None or not self._thread.wait(LATE_SECONDS):
                self._give_up(row, matcher)
        good = [row for row, matcher in self._masked if matcher.failure is None]
        self._masked = []
        return good

    def _give_up(self, row: int, matcher: Matcher) -> None:
        """The thread is stuck with ``matcher``. The rows behind it get another thread."""
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
    """Computes masks in the order in which they are submitted."""

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[tuple[Matcher, NDArray[np.uint32]] | None] = (
            queue.SimpleQueue()
        )
        self._done: queue.SimpleQueue[None] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True, name="masks").start()

    def submit(self, matcher: Matcher, bits: NDArray[np.uint32]) -> None:
        self._requests.put((matcher, bits))

    def wait(self, patience: float) -> bool:
        """Wait for the next mask in order; False: it did not come in time."""
        try:
            self._done.get(timeout=patience)
        except queue.Empty:
            return False
        return True

    def abandon(self) -> None:
        """Let the thread end after the mask that it computes now."""
        while not self._requests.empty():
            self._requests.get()
        self._requests.put(None)

    def _work(self) -> None:
        while (request := self._requests.get()) is not None:
            matcher, bits = request
            try:
                matcher.state.unsafe_compute_mask_ptr(bits.ctypes.data, bits.nbytes)
                if matcher.state.is_error():
                    matcher.fail(LATE)
            except Exception:  # whatever llguidance raises, only this answer fails
                matcher.fail(LATE)
            self._done.put(None)
