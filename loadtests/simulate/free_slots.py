"""Finds the worker with most free slots among thousands. Pure."""

from __future__ import annotations

from heapq import heappop, heappush

from cupola.loadtests.simulate.worker import SimulatedWorker


class FreeSlots:
    """Of workers with as many free slots, the one that joined first, as ``Placement`` chooses.

    For each number of running requests there is a heap of the workers that have so many. A worker
    whose number changes leaves its entry behind, which counts again when it comes back.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._heaps: list[list[tuple[int, SimulatedWorker]]] = [[] for _ in range(slots)]
        self._least = 0  # no worker that takes requests runs fewer

    def changed(self, worker: SimulatedWorker) -> None:
        """It is new, or runs more or fewer requests than before."""
        running = worker.running
        if running >= self._slots:
            return
        if running < self._least:
            self._least = running
        if not worker.listed >> running & 1:
            worker.listed |= 1 << running
            heappush(self._heaps[running], (worker.number, worker))

    def best(self) -> SimulatedWorker | None:
        """None: all are full."""
        while self._least < self._slots:
            heap = self._heaps[self._least]
            while heap:
                worker = heap[0][1]
                if worker.running == self._least:
                    return worker
                heappop(heap)
                worker.listed &= ~(1 << self._least)
            self._least += 1
        return None
