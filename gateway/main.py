"""The gateway process. Light to import: the supervisor names these, only the child runs them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cupola.scheduler.protocol.lifeline import Lifeline

if TYPE_CHECKING:
    from cupola.gateway.core.config import GatewayConfig
    from cupola.scheduler.protocol.status import ProviderState


def run(
    config: GatewayConfig,
    listeners: Sequence[socket.socket],
    lifeline: Lifeline,
    discover: Callable[[], Sequence[ProviderState]],
) -> None:
    """Serve on ``listeners``, bound by the supervisor, until it says ``stop``.

    ``discover`` tries the execution providers of the runtime, which takes seconds.
    Signals and logging are the caller's: ``children.gateway`` has set them up.
    """
    from cupola.gateway.server import serve_until_stop

    serve_until_stop(config, listeners, lifeline, discover)
    lifeline.leave_if_orphaned()
