"""Which models a worker holds, for whom, and until when. Pure: no clock, no loading.

A model's time to live runs from its last use and never during use.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cupola.scheduler.messages import Generate, Load, LocalModel
from cupola.workers.backend import Backend

FOREVER = -1.0


@dataclass(slots=True)
class Resident:
    """One model. Loading while ``backend`` is None."""

    model: LocalModel
    ttl: float
    last_used: float
    backend: Backend | None = None
    waiting: list[Generate | Load] = field(default_factory=list)  # until it is loaded
    running: set[str] = field(default_factory=set)
    leaving: list[str] = field(default_factory=list)  # ids of unload requests to confirm

    @property
    def in_use(self) -> bool:
        return self.backend is None or bool(self.running)

    @property
    def expires_at(self) -> float | None:
        """When it may be unloaded; None: not by time."""
        if self.in_use or self.ttl == FOREVER:
            return None
        return self.last_used + self.ttl


class Residency:
    def __init__(self, default_ttl: float) -> None:
        self.default_ttl = default_ttl
        self.models: dict[str, Resident] = {}

    def start(self, model: LocalModel, ttl: float | None, now: float) -> Resident:
        """Record that ``model`` is being loaded."""
        ttl = self.default_ttl if ttl is None else ttl
        resident = self.models[model.id] = Resident(model, ttl, now)
        return resident

    def touch(self, resident: Resident, ttl: float | None, now: float) -> None:
        """The model is used; a request's own time to live replaces the earlier one."""
        resident.last_used = now
        if ttl is not None:
            resident.ttl = ttl

    def finish(self, request_id: str, now: float) -> None:
        for resident in self.models.values():
            if request_id in resident.running:
                resident.running.discard(request_id)
                resident.last_used = now

    def expired(self, now: float) -> list[Resident]:
        """Models to drop now: their time is over, or they were told to leave and are idle."""
        return [
            resident
            for resident in self.models.values()
            if (resident.leaving and not resident.in_use)
            or ((at := resident.expires_at) is not None and at <= now)
        ]

    def next_deadline(self) -> float | None:
        expiries = (resident.expires_at for resident in self.models.values())
        return min((at for at in expiries if at is not None), default=None)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.models))
