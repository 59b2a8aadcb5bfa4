"""What an operator decides about the scheduler."""

from __future__ import annotations

from dataclasses import dataclass

from cupola.cache.catalog import ExecutionProvider


@dataclass(frozen=True, slots=True)
class SchedulerPolicy:
    """All times are in seconds."""

    workers: dict[str, ExecutionProvider]  # the workers that should be there, by name
    queue_limit: int = 256
    queue_tokens: int = 0  # of the prompts that wait, roughly; 0: any number
    queue_timeout: float = 300.0  # the longest time that a request waits for a worker
    lease: float = 10.0  # a worker or gateway that is silent for so long counts as lost
    # A worker that loads a model may be silent for so much longer: onnxruntime-genai blocks every
    # thread of the process meanwhile. If such a worker dies, the supervisor reports it.
    loading_lease: float = 600.0
