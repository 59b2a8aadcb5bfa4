"""Asks a worker for what is not generated: tokens, text or vectors."""

from __future__ import annotations

from contextlib import aclosing

import msgspec
from starlette.requests import Request

from cupola.gateway.access.client import current_client
from cupola.gateway.access.turns import current_turn
from cupola.gateway.core.encoding import encoded
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.http.disconnect import cancelled_on_disconnect
from cupola.gateway.http.errors import ApiError
from cupola.scheduler.protocol.messages import BYTES_PER_TOKEN, encode
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.tasks import (
    Decide,
    Decode,
    Embed,
    Encode,
    LocalModel,
    Question,
    Transcribe,
)

_SOUND_BYTES_PER_TOKEN = 256  # from 160 of compressed speech to 640 of plain samples at 16 kHz


def size_of(task: Encode | Decode | Embed | Decide | Transcribe, work: msgspec.Raw) -> int:
    """About how many tokens ``task`` is for a model; 0 where the bytes of ``work`` tell.

    They do of texts that are read once. A question is read in each of its orders.
    """
    match task:
        case Transcribe(audio):
            return max(1, len(audio) // _SOUND_BYTES_PER_TOKEN)
        case Decide(questions=questions, permutations=orders) if orders > 1:
            again = sum(len(encode(each)) * (_orders(each, orders) - 1) for each in questions)
            return (memoryview(work).nbytes + again) // BYTES_PER_TOKEN
    return 0


def _orders(question: Question, wanted: int) -> int:
    """There are no more of them than options; a predicate has yes and no."""
    return min(len(question.options) or 2, wanted)


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
    tenant, turn, size = current_client().tenant, current_turn(), size_of(task, work)
    answers = client.generate(model, work, ttl, tenant=tenant, turn=turn, size=size)
    with cancelled_on_disconnect(request.scope, request.receive):
        async with aclosing(answers) as batches:
            async for batch in batches:
                outputs += batch
    if not outputs or not outputs[-1].last:
        raise ApiError(499, "client_closed_request", "The client went away")
    return outputs
