"""Which models a worker holds, for whom, and until when. Pure: no clock, no loading.

    absent ──start──> loading ──loaded──> resident ──time over, or told to leave, and idle──> absent
                         └────failed────────────────────────────────────────────────────────────┘

A model's time to live runs from its last use and never during use. Whoever gives one explicitly is
promised it: until it is over, only a forced unload takes the model away. A pinned model has no end.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from msgspec.structs import replace

from cupola.scheduler.protocol.messages import Generate, Load, LocalModel, Serving
from cupola.workers.model.backend import Backend

FOREVER = -1.0


@dataclass(slots=True)
class Resident:
    """One model. Loading while ``backend`` is None."""

    model: LocalModel
    ttl: float
    last_used: float
    pinned: bool = False
    promised: bool = False  # the time to live was asked for
    backend: Backend | None = None
    waiting: list[Generate | Load] = field(default_factory=list)  # until it is loaded
    came: dict[str, float] = field(default_factory=dict)  # when those came, by request
    waited: dict[str, float] = field(default_factory=dict)  # for how long those did that run
    running: set[str] = field(default_factory=set)
    leaving: list[str] = field(default_factory=list)  # ids of unload requests to confirm
    afterwards: list[Generate | Load] = field(default_factory=list)  # came while it was leaving

    @property
    def in_use(self) -> bool:
        return self.backend is None or bool(self.running)

    @property
    def expires_at(self) -> float | None:
        """When it may be unloaded; None: not by time."""
        if self.in_use or self.pinned or self.ttl == FOREVER:
            return None
        return self.last_used + self.ttl

    def leaves_in(self, now: float) -> float | None:
        """Seconds until it is unloaded if nobody uses it from now on; None: not by time."""
        if self.pinned or self.ttl == FOREVER:
            return None
        return max(0.0, (now if self.in_use else self.last_used) + self.ttl - now)

    @property
    def orders(self) -> list[str]:
        """Ids of the requests that have not ended: those that run come first."""
        later = [order.request_id for order in (*self.waiting, *self.afterwards)]
        return [*sorted(self.running), *later]


class Residency:
    def __init__(self, default_ttl: float, pinned: Collection[str] = ()) -> None:
        """``pinned``: ids of models that stay."""
        self.default_ttl = default_ttl
        self.pinned = frozenset(pinned)
        self.models: dict[str, Resident] = {}

    def start(self, model: LocalModel, now: float) -> Resident:
        """Record that ``model`` is being loaded."""
        pinned = model.id in self.pinned
        resident = self.models[model.id] = Resident(model, self.default_ttl, now, pinned)
        return resident

    def touch(self, resident: Resident, ttl: float | None, now: float) -> None:
        """The model is used; a request's own time to live replaces the earlier one."""
        resident.last_used = now
        if ttl is not None:
            resident.ttl = ttl
            resident.promised = ttl > 0

    def finish(self, request_id: str, now: float) -> None:
        for resident in self.models.values():
            if request_id in resident.running:
                resident.running.discard(request_id)
                resident.waited.pop(request_id, None)
                resident.last_used = now

    def may_leave(self, model_id: str, force: bool) -> bool:
        """Whether an unload request takes the model away."""
        resident = self.models[model_id]
        return force or not (resident.pinned or resident.promised)

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
    def loaded(self) -> tuple[str, ...]:
        return tuple(sorted(i for i, model in self.models.items() if model.backend is not None))

    @property
    def loading(self) -> tuple[str, ...]:
        return tuple(sorted(i for i, model in self.models.items() if model.backend is None))

    def serving(self, now: float) -> dict[str, Serving]:
        """How the models run that are loaded."""
        return {
            model_id: replace(resident.backend.serving, leaves_in=resident.leaves_in(now))
            for model_id, resident in sorted(self.models.items())
            if resident.backend is not None
        }
