"""Finds out when a model is loaded what it takes that a row has the same bits in every run.

Which kernel computes what depends on the processor, the runtime and the graph. So a short text is
read in one chunk, and once more in pieces, alone and beside another row. The logits must be equal.
"""

from __future__ import annotations

import numpy as np

from cupola.workers.run.packing import Doubling, Row
from cupola.workers.run.runner import Logits, Runner

_TEXT = 6  # tokens


def required_doubling(runner: Runner, slots: int) -> Doubling:
    """The least that makes rows reproducible; nothing if no doubling does.

    It leaves the runner and its cache as they were. Raises what onnxruntime raises.
    """
    logits = np.empty((_TEXT + 2, runner.vocabulary), np.float32)
    found = Doubling.NOTHING
    for doubling in (Doubling.QUERIES, Doubling.TOKENS):
        runner.doubling = doubling
        if _holds(runner, logits, min(slots, 2)):
            found = doubling
            break
    runner.doubling = Doubling.NOTHING
    for slot in range(min(slots, 2)):
        runner.cache.forget(slot)
    return found


def _holds(runner: Runner, logits: Logits, slots: int) -> bool:
    """Whether the logits are the same in a chunk, alone, and beside another row if there is one."""
    text = [(7 * place + 11) % runner.vocabulary for place in range(_TEXT)]

    def row(slot: int, start: int, end: int) -> Row:
        return Row(slot, start, text[start:end], end - start, reproducible=True)

    def run(*rows: Row) -> Logits:
        runner.run(rows, logits)
        return logits[: sum(row.logits for row in rows)].copy()

    whole = run(row(0, 0, _TEXT))
    alone = run(row(0, 0, 1)), run(row(0, 1, 2))
    if not np.array_equal(np.concatenate(alone), whole[:2]):
        return False
    if slots == 1:
        return np.array_equal(run(row(0, 2, _TEXT)), whole[2:])
    beside = run(row(1, 0, 4), row(0, 2, 3))
    return np.array_equal(beside, whole[[0, 1, 2, 3, 2]])
