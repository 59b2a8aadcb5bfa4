"""An upper bound of what settings can reach, from five seconds of arithmetic.

A step reads all weights once, and multiplies them with each sequence's values. So it takes at least
the bytes of the weights divided by the memory's speed, and the products divided by the cores'
speed (Williams et al., "Roofline", 2009). The bound only decides what is measured first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cupola.loadtests.tune.candidate import Candidate

PROBE_SECONDS = 2.5  # for each of the two speeds
_BYTES = 256 * 2**20  # more than any cache holds
_SIDE = 768  # of the matrices
_STEP_SECONDS = 0.002  # of a step outside the products: planning, sampling, messages


@dataclass(frozen=True, slots=True)
class Machine:
    bytes_s: float  # read from memory
    products_s: float  # multiplications with an addition, by one core
    cores: int


def probe(cores: int, seconds: float = PROBE_SECONDS) -> Machine:
    """Measures. With the machine in use it finds too little, for all candidates alike."""
    block = np.ones(_BYTES // 8, np.float64)
    square = np.ones((_SIDE, _SIDE), np.float32)
    reads = _best(lambda: float(block.sum()), seconds)
    multiplied = _best(lambda: square @ square, seconds)
    # numpy multiplies on all cores that it may use.
    return Machine(_BYTES / reads, _SIDE**3 / multiplied / cores, cores)


def bound(candidate: Candidate, machine: Machine, weight_bytes: int, clients: int) -> float:
    """The most tokens a second of ``clients`` at once."""
    slots = candidate.slots or clients
    running = min(clients, candidate.workers * slots)
    rows = -(-running // candidate.workers)  # of the fullest worker
    busy = min(candidate.workers, running)
    threads = min(machine.cores, candidate.threads)
    # Integer weights: about a byte each. Workers read their weights over one memory.
    read = weight_bytes * busy / machine.bytes_s
    multiply = weight_bytes * rows * busy / (machine.products_s * threads)
    return running / (max(read, multiply) + _STEP_SECONDS)


def _best(work: Callable[[], object], seconds: float) -> float:
    """The shortest of many times: others can only make it longer."""
    end, best = time.perf_counter() + seconds, float("inf")
    while (began := time.perf_counter()) < end:
        work()
        best = min(best, time.perf_counter() - began)
    return best
