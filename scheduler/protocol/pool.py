"""The worker processes that should be there, as the supervisor and the others tell each other.

    gateway    -> supervisor   AddWorker, WorkerLeaves
    supervisor -> scheduler    the pool, whenever it has changed
    scheduler  -> supervisor   "drained" and a name: nothing is left to do for a worker that leaves

Each is a line: a verb and JSON. The supervisor holds the truth, for it outlives the others.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from cupola.cache.catalog import ExecutionProvider

POOL = "pool"  # and a list of Member
CHANGE = "workers"  # and a Change
DRAINED = "drained"  # and a name
LEFT = "left"  # and a name: its process has ended as it should
MAX_WORKERS = 64


class Then(enum.StrEnum):
    """What follows when a worker that leaves has nothing left to do."""

    DRAIN = "drain"  # its process ends, and it can be started again
    RESTART = "restart"
    REMOVE = "remove"  # its process ends, and it is forgotten


class Presence(enum.StrEnum):
    SERVING = "serving"  # or about to
    LEAVING = "leaving"  # it gets no further work
    STOPPED = "stopped"  # it has no process


class Member(msgspec.Struct, frozen=True, array_like=True):
    """A worker of the pool."""

    name: str
    provider: ExecutionProvider
    presence: Presence = Presence.SERVING


class AddWorker(msgspec.Struct, frozen=True, tag=True):
    """Start one more worker. ``threads``: 0: as many as those of the same device have."""

    device: str  # such as "cpu:0"
    threads: int = 0


class WorkerLeaves(msgspec.Struct, frozen=True, tag=True):
    """Let a worker finish what it runs, without further work. ``now``: end it at once instead."""

    name: str
    then: Then
    now: bool = False


Change = AddWorker | WorkerLeaves

_to_json = msgspec.json.Encoder().encode
_pool = msgspec.json.Decoder(tuple[Member, ...])
_change: msgspec.json.Decoder[Change] = msgspec.json.Decoder(Change)


def pool_line(members: Iterable[Member]) -> str:
    return f"{POOL} {_to_json(tuple(members)).decode()}"


def pool_of(text: str) -> tuple[Member, ...]:
    """The members in what follows the verb."""
    return _pool.decode(text)


def change_line(change: Change) -> str:
    return f"{CHANGE} {_to_json(change).decode()}"


def change_of(text: str) -> Change:
    """The change in what follows the verb. Raises ValueError."""
    return _change.decode(text)


def device_of(name: str) -> str:
    """The device of a worker: "cpu:0" of "cpu:0/1"."""
    return name.rpartition("/")[0]


def free_name(device: str, taken: Iterable[str]) -> str:
    """The name of one more worker of a device: the lowest number that is free."""
    names = set(taken)
    return next(name for n in range(MAX_WORKERS + 1) if (name := f"{device}/{n}") not in names)
