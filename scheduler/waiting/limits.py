"""How many requests may wait, and how many of them may be of one client. Pure.

A client may have as many requests waiting as ``SHARE`` times the places that are free (the dynamic
thresholds of Choudhury and Hahne, 1998). One client alone can fill 4/5 of the queue, two can fill
4/9 each, and there is always a place left for the next.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from cupola.scheduler.waiting.lane import Waiting
from cupola.scheduler.waiting.queue import WaitingQueue

SHARE = 4


class Full(enum.Enum):
    """Why a request may not wait."""

    FOR_CLIENT = "its client has its share of the queue"
    FOR_ALL = "the queue is full"


@dataclass(frozen=True, slots=True)
class QueueLimits:
    requests: int
    tokens: int  # of prompts; 0: any number

    def full(self, queue: WaitingQueue[Any], request: Waiting, elsewhere: int = 0) -> Full | None:
        """Why a new request may not wait; None: it may.

        ``elsewhere``: how many wait in another place. A single prompt may be longer than the limit.
        """
        free = self.requests - len(queue) - elsewhere
        if free <= 0:
            return Full.FOR_ALL
        if queue.requests_of(request.client) >= SHARE * free:
            return Full.FOR_CLIENT
        if not self.tokens or not queue.tokens:
            return None
        free = self.tokens - queue.tokens
        if request.size > free:
            return Full.FOR_ALL
        own = queue.tokens_of(request.client)
        return Full.FOR_CLIENT if own + request.size > SHARE * free and own else None
