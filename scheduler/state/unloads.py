"""The unload requests that some workers have yet to confirm. Pure.

The scheduler passes an UnloadModel on to every worker that holds the model, and answers the
gateway once each of them has confirmed it or is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cupola.scheduler.state.records import Peer


@dataclass(slots=True)
class _Unload:
    gateway: Peer
    unconfirmed: set[Peer]  # workers


class Unloads:
    def __init__(self) -> None:
        self._unloads: dict[str, _Unload] = {}  # by request id

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._unloads

    def __len__(self) -> int:
        return len(self._unloads)

    def start(self, request_id: str, gateway: Peer, workers: Iterable[Peer]) -> None:
        """Wait for the confirmation of at least one worker."""
        self._unloads[request_id] = _Unload(gateway, set(workers))

    def confirm(self, request_id: str, worker: Peer) -> Peer | None:
        """Note a worker's confirmation. Returns the gateway to answer if it was the last one."""
        unload = self._unloads[request_id]
        unload.unconfirmed.discard(worker)
        if unload.unconfirmed:
            return None
        del self._unloads[request_id]
        return unload.gateway

    def worker_lost(self, worker: Peer) -> list[tuple[str, Peer]]:
        """The unloads that waited for this worker only: their ids and the gateways to answer."""
        confirmed = [
            (request_id, self.confirm(request_id, worker)) for request_id in [*self._unloads]
        ]
        return [(request_id, gateway) for request_id, gateway in confirmed if gateway is not None]

    def gateway_lost(self, gateway: Peer) -> None:
        """Forget what this gateway has asked for."""
        self._unloads = {
            i: unload for i, unload in self._unloads.items() if unload.gateway != gateway
        }
