"""Asks a worker for what is not generated: tokens, text or vectors."""

from __future__ import annotations

from contextlib import aclosing

from starlette.requests import Request

from cupola.gateway.access.client import current_client
from cupola.gateway.access.turns import current_turn
from cupola.gateway.core.encoding import encoded
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.http.disconnect import cancelled_on_disconnect
from cupola.gateway.http.errors import ApiError
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.tasks import Decide, Decode, Embed, Encode, LocalModel, Transcribe

_SOUND_BYTES_PER_TOKEN = 256  # from 160 of compressed speech to 640 of plain samples at 16 kHz


def size_of(task: Encode | Decode | Embed | Decide | Transcribe) -> int:
    """About how many tokens a recording is for a model; 0 for text, whose bytes tell."""
    if isinstance(task, Transcribe):
        return max(1, len(task.audio) // _SOUND_BYTES_PER_TOKEN)
    return 0


async def ask(
    client: SchedulerClient,
    request: Request,
    model: LocalModel,
    task: Encode | Decode | Embed | Decide | Transcribe,
    ttl: float | None = None,
) -> list[Output]:
    """All outputs of ``task``.

    ``request`` is the client's, and its body must have been read: the task is aborted when the
    client disconnects. Raises RequestFailed and ApiError. Their ``param`` is a field of the task:
    see ``param_names``.
    """
    work = encoded(task)
    outputs: list[Output] = []
    tenant, turn = current_client().tenant, current_turn()
    answers = client.generate(model, work, ttl, tenant=tenant, turn=turn, size=size_of(task))
    with cancelled_on_disconnect(request.scope, request.receive):
        async with aclosing(answers) as batches:
            async for batch in batches:
                outputs += batch
    if not outputs or not outputs[-1].last:
        raise ApiError(499, "client_closed_request", "The client went away")
    return outputs
