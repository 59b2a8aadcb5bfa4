"""A simulated request: what it asks for, and what has become of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class SimulatedRequest:
    """All requests are of one client and one class, as far as the queue and the plan ask.

    ``cached``: tokens of the prompt that need not be computed. ``pending``: those that are still to
    be computed on its worker; 1 once it generates.
    """

    arrival: int  # rises from request to request
    since: float  # when it came
    prompt: int
    tokens: int
    cached: int = 0
    deadline: float = 0.0  # until when it may wait
    first: float | None = None  # when its prompt was read
    pending: int = 0
    ready: float = 0.0  # when its worker's engine has it
    to_read: int = 0  # tokens of the prompt, but for the cached ones

    client = ""
    kind = "cpu"
    priority = rank = 0
    returned = patient = False

    @property
    def size(self) -> int:
        return self.prompt
