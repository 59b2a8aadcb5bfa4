"""Which models a worker holds, for which requests, and until when. Pure: no clock, no loading.

    absent ──start──> loading ──loaded──> resident ──idle, and expired or to be unloaded──> absent
                         └────failed──────────────────────────────────────────────────────────┘

A model's time to live runs from its last use and never during use. A client that sets it can rely
on it: before it ends, only a forced unload takes the model away. A pinned model has no such time.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from msgspec.structs import replace

from cupola.scheduler.protocol.messages import LoadModel, Submit
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.status import Serving
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.workers.model.backend import Backend

FOREVER = -1.0
# Seconds after the last use of a model. After the first, most of the memory is given back that only
# makes later requests faster, after the second all of it.
RESTS = (60.0, 600.0)


@dataclass(slots=True)
class Resident:
    """One model. Loading while ``backend`` is None."""

    model: LocalModel
    ttl: float
    last_used: float
    pinned: bool = False
    promised: bool = False  # a client has set a time to live, and can rely on it
    backend: Backend | None = None
    waiting: list[Submit | LoadModel] = field(default_factory=list)  # for the end of the load
    waiting_since: dict[str, float] = field(default_factory=dict)  # by request id
    load_seconds: dict[str, float] = field(default_factory=dict)  # how long running requests waited
    running: set[str] = field(default_factory=set)  # ids of requests
    rests: int = 0  # how many of RESTS have passed since its last use
    unloads: list[str] = field(default_factory=list)  # ids of unload requests to be answered
    needed: int = 0  # bytes of memory for its weights; 0: not known
    size: int = 0  # bytes of its weights; 0: not known
    outdated: bool = False  # its files were deleted or replaced
    after_unload: list[Submit | LoadModel] = field(default_factory=list)  # came since an unload

    @property
    def in_use(self) -> bool:
        return self.backend is None or bool(self.running)

    @property
    def ends(self) -> bool:
        """Whether it is unloaded as soon as what runs has ended, and takes no new requests."""
        return self.outdated or bool(self.unloads)

    @property
    def expires_at(self) -> float | None:
        """When it is unloaded for want of use; None: not by time, or it is in use."""
        if self.in_use or self.pinned or self.ttl == FOREVER:
            return None
        return self.last_used + self.ttl

    @property
    def rests_at(self) -> float | None:
        """When it rests next; None: it is in use, or has given all back."""
        if self.in_use or self.rests == len(RESTS):
            return None
        return self.last_used + RESTS[self.rests]

    def use(self, now: float) -> None:
        """Note a use."""
        self.last_used = now
        self.rests = 0

    def expires_in(self, now: float) -> float | None:
        """Seconds until it is unloaded if nobody uses it from now on; None: not by time."""
        if self.pinned or self.ttl == FOREVER:
            return None
        return max(0.0, (now if self.in_use else self.last_used) + self.ttl - now)

    @property
    def request_ids(self) -> list[str]:
        """Ids of the requests that have not ended, the running ones first. Without unloads."""
        waiting = [message.request_id for message in (*self.waiting, *self.after_unload)]
        return [*sorted(self.running), *waiting]

    def loaded(self, backend: Backend, now: float) -> list[Submit | LoadModel]:
        """The load has ended. Returns the requests that waited for it."""
        self.backend = backend
        self.use(now)
        self.load_seconds = {i: now - since for i, since in self.waiting_since.items()}
        self.waiting_since.clear()
        messages, self.waiting = self.waiting, []
        return messages

    def withdraw(self, request_id: str) -> None:
        """Forget a request that does not run yet."""
        self.waiting = _without(request_id, self.waiting)
        self.after_unload = _without(request_id, self.after_unload)
        self.waiting_since.pop(request_id, None)

    def with_load_seconds(self, output: Output) -> Output:
        """The output. The last one of a request that waited for a load says for how long."""
        seconds = self.load_seconds.get(output.request_id)
        if output.usage is None or seconds is None:
            return output
        return replace(output, usage=replace(output.usage, load_seconds=seconds))


def _without(request_id: str, messages: list[Submit | LoadModel]) -> list[Submit | LoadModel]:
    return [message for message in messages if message.request_id != request_id]


class Residency:
    """The models that a worker has loaded or loads."""

    def __init__(self, default_ttl: float, pinned: Collection[str] = ()) -> None:
        """``default_ttl`` is in seconds. ``pinned``: ids of models that time never unloads."""
        self.default_ttl = default_ttl
        self.pinned = frozenset(pinned)
        self.models: dict[str, Resident] = {}

    def start(self, model: LocalModel, now: float) -> Resident:
        """Record that ``model`` is being loaded."""
        pinned = model.id in self.pinned
        resident = self.models[model.id] = Resident(model, self.default_ttl, now, pinned)
        return resident

    def touch(self, resident: Resident, ttl: float | None, now: float) -> None:
        """Note a use of the model. A ``ttl`` that the request sets replaces the earlier one."""
        resident.use(now)
        if ttl is not None:
            resident.ttl = ttl
            resident.promised = ttl > 0

    def finish(self, request_id: str, now: float) -> None:
        """Note the end of a request, wherever it runs."""
        for resident in self.models.values():
            if request_id in resident.running:
                resident.running.discard(request_id)
                resident.load_seconds.pop(request_id, None)
                resident.use(now)

    def may_unload(self, model_id: str, force: bool) -> bool:
        """Whether an unload request takes the model away."""
        resident = self.models[model_id]
        return force or not (resident.pinned or resident.promised)

    def expired(self, now: float) -> list[Resident]:
        """The idle models whose time has come, or that are to be unloaded."""
        return [
            resident
            for resident in self.models.values()
            if (resident.ends and not resident.in_use)
            or ((expires_at := resident.expires_at) is not None and expires_at <= now)
        ]

    def resting(self, now: float) -> list[Resident]:
        """The models that nobody has used for a while, once for each of RESTS.

        ``next_deadline`` leaves them out: it is soon enough to ask every few seconds.
        """
        due = [r for r in self.models.values() if (at := r.rests_at) is not None and at <= now]
        for resident in due:
            resident.rests += 1
        return due

    def next_deadline(self) -> float | None:
        """When the next model expires by time; None: none does."""
        times = [resident.expires_at for resident in self.models.values()]
        return min((time for time in times if time is not None), default=None)

    @property
    def loaded(self) -> tuple[str, ...]:
        """Ids of the loaded models, sorted."""
        return tuple(sorted(i for i, model in self.models.items() if model.backend is not None))

    @property
    def loading(self) -> tuple[str, ...]:
        """Ids of the models that are being loaded, sorted."""
        return tuple(sorted(i for i, model in self.models.items() if model.backend is None))

    @property
    def loading_bytes(self) -> int:
        """What models will take that are being loaded."""
        return sum(model.needed for model in self.models.values() if model.backend is None)

    @property
    def busy(self) -> bool:
        """Whether an engine has something to do."""
        return any(backend.busy for backend in self.backends)

    @property
    def idle(self) -> list[LocalModel]:
        """The models that are loaded and that no request uses."""
        return [resident.model for resident in self.models.values() if not resident.in_use]

    @property
    def shared_bytes(self) -> int:
        """What the system counts more than once as memory of this process."""
        return sum(backend.shared_bytes for backend in self.backends)

    @property
    def backends(self) -> list[Backend]:
        """The models that are loaded."""
        backends = [resident.backend for resident in self.models.values()]
        return [backend for backend in backends if backend is not None]

    def serving(self, now: float) -> dict[str, Serving]:
        """How each loaded model is run, by its id."""
        return {
            model_id: replace(
                resident.backend.serving,
                expires_in=resident.expires_in(now),
                weight_bytes=resident.size,
            )
            for model_id, resident in sorted(self.models.items())
            if resident.backend is not None
        }
