"""The scheduler's records of requests, workers and gateways."""

from __future__ import annotations

from dataclasses import dataclass, field

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.messages import (
    Generate,
    Load,
    LoadModel,
    LocalModel,
    Serving,
    Submit,
    WorkerStatus,
)

Peer = bytes  # a ZeroMQ identity


@dataclass(slots=True)
class Request:
    """Something a gateway wants of one worker. Queued while ``worker`` is None, else running."""

    gateway: Peer
    message: Submit | LoadModel
    deadline: float  # until when it may be queued
    worker: Peer | None = None
    started: bool = False  # the client has seen output, so it cannot run again elsewhere
    attempts: int = 0

    @property
    def model(self) -> LocalModel:
        return self.message.model

    def order(self) -> Generate | Load:
        """What the worker is told."""
        asked = self.message
        if isinstance(asked, LoadModel):
            return Load(asked.request_id, asked.model, asked.ttl)
        return Generate(asked.request_id, asked.model, asked.work, asked.ttl)


@dataclass(slots=True)
class Unloading:
    """An UnloadModel that some workers have yet to confirm."""

    gateway: Peer
    waiting: set[Peer]


@dataclass(slots=True)
class Worker:
    """One life of a worker. What it holds is a hint, renewed by its heartbeats."""

    peer: Peer
    name: str
    provider: ExecutionProvider
    pid: int
    slots: int
    expires_at: float
    memory_bytes: int = 0
    resident: frozenset[str] = frozenset()  # loaded
    loading: frozenset[str] = frozenset()  # going to be
    serving: dict[str, Serving] = field(default_factory=dict)  # how those run that are loaded
    running: set[str] = field(default_factory=set)

    @property
    def free(self) -> int:
        return self.slots - len(self.running)

    @property
    def holds(self) -> frozenset[str]:
        return self.resident | self.loading

    @property
    def status(self) -> WorkerStatus:
        return WorkerStatus(
            name=self.name,
            provider=self.provider,
            pid=self.pid,
            running=len(self.running),
            memory_bytes=self.memory_bytes,
            resident=tuple(sorted(self.resident)),
            serving=self.serving,
        )
