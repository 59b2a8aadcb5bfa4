"""GET /openai/providers: what the installed runtime can run on, and what is wrong with the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.foundry.answers import ProviderAnswer
from cupola.gateway.http.json_answer import json_answer
from cupola.scheduler.protocol.status import ProviderState


class FoundryProvidersApi:
    """Trying the providers takes seconds, so it is done once, at the first request."""

    def __init__(
        self, client: SchedulerClient, discover: Callable[[], Sequence[ProviderState]]
    ) -> None:
        self._client = client
        self._discover = discover
        self._lock = anyio.Lock()
        self._found: Sequence[ProviderState] = ()

    async def list(self, request: Request) -> Response:
        async with self._lock:
            if not self._found:
                self._found = await anyio.to_thread.run_sync(self._discover)
        workers = self._client.status.workers if self._client.status else ()
        return json_answer(
            [
                ProviderAnswer(
                    name=state.name,
                    works=not state.problem,
                    problem=state.problem,
                    workers=[each.name for each in workers if each.provider == state.name],
                )
                for state in self._found
            ]
        )
