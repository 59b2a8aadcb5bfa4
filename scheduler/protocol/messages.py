"""The wire protocol between gateways, the scheduler and the workers.

    gateway   -> scheduler   Submit, LoadModel, UnloadModel, Abort, Query
    scheduler -> worker      Submit, LoadModel, UnloadModel (passed on as they are), Abort, Rejoin
    worker    -> scheduler   Ready, Heartbeat, Postponed, Outputs, Done, Rejected, Goodbye
    scheduler -> gateway     Outputs, Done, Rejected (passed on as they are), Status

Every message is one msgpack frame. Each direction has its own union of messages, so a frame that
is sent in the wrong direction does not decode. Nothing here does I/O.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import msgspec

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.histograms import Distributions
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.status import Serving, Totals, WorkerStatus
from cupola.scheduler.protocol.tasks import LocalModel, Task

BYTES_PER_TOKEN = 4  # of text, on average


class ErrorCode(enum.StrEnum):
    """Every way a request can fail below HTTP. The gateway has the table from code to status."""

    INVALID_REQUEST = "invalid_request"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    MODEL_NOT_FOUND = "model_not_found"
    MODEL_LOAD_FAILED = "model_load_failed"
    NO_MEMORY = "no_memory"
    CLIENT_LIMIT = "client_limit"
    QUEUE_FULL = "queue_full"
    QUEUE_TIMEOUT = "queue_timeout"
    NO_WORKER = "no_worker"
    WORKER_LOST = "worker_lost"
    QUARANTINED = "quarantined"
    SCHEDULER_LOST = "scheduler_lost"
    SHUTTING_DOWN = "shutting_down"
    INTERNAL = "internal"


class Outcome(enum.StrEnum):
    """How a request for a model's work has ended. Each request is counted once."""

    ANSWERED = "answered"
    REFUSED = "refused"  # something is wrong with the request: HTTP's 4xx
    FAILED = "failed"  # something is wrong here: HTTP's 5xx
    ABORTED = "aborted"  # nobody waits for it any more


class Message(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Base of every frame; the class's name is the tag on the wire."""


# -- gateway -> scheduler, some of them on to workers ----------------------------------------------


class Turn(msgspec.Struct, frozen=True, omit_defaults=True):
    """When a request is served, compared with others."""

    client: str = ""  # who sends it: a digest of the key, never the key; without one the address
    priority: int = 0  # 0 is usual, and a lower number is more urgent, as in vLLM
    timeout: float | None = None  # seconds that the client waits for the beginning; None: for long


ANY_TURN = Turn()


class Submit(Message, frozen=True):
    """Run a task on some worker. Answered by Outputs; the last one has the usage. Or by Rejected.

    The scheduler passes it on to the worker that it chooses. It does not decode ``work``.
    """

    request_id: str
    model: LocalModel
    work: msgspec.Raw  # an encoded Task
    # Seconds that the model stays loaded after its last use; -1: for ever; None: the default.
    ttl: float | None = None
    # Whose request it is: a digest of the client's key, never the key. Empty: all are one tenant.
    # Tenants share no cached prefixes.
    tenant: str = ""
    turn: Turn = ANY_TURN
    # Digests of the prompt's beginnings, the shortest first: what a worker may have cached.
    beginnings: tuple[bytes, ...] = ()
    size: int = 0  # of the prompt in tokens; 0: as its bytes tell


class Abort(Message, frozen=True):
    """The gateway no longer waits for this request: end it without an answer.

    A worker answers with an output that has the reason ABORT, if tokens are left to be counted.
    """

    request_id: str
    counts_as: Outcome | None = Outcome.ABORTED  # None: not at all, it is sent again


class LoadModel(Message, frozen=True):
    """Load a model on some worker. Answered by Done or Rejected.

    The scheduler passes it on to the worker that it chooses.
    """

    request_id: str
    model: LocalModel
    ttl: float | None = None


class UnloadModel(Message, frozen=True):
    """Unload a model on every worker once it is idle. Answered by Done.

    Without ``force`` a model stays if it is pinned or was loaded for a given time; the answer is
    Done all the same. The scheduler passes it on to every worker that holds the model.
    """

    request_id: str
    model_id: str
    force: bool = True


class Query(Message, frozen=True):
    """Ask for a Status. It is sent every second and is also the gateway's heartbeat."""

    number: int = 0  # rises from query to query
    ended: dict[Outcome, int] = {}  # requests that ended in the gateway since the last query
    http: dict[int, int] = {}  # HTTP answers since the last query, by status
    pid: int = 0  # of the gateway's process


# -- worker -> scheduler -> gateway ----------------------------------------------------------------


class Outputs(Message, frozen=True):
    """The outputs of one step of a worker; to a gateway, those of several that came together."""

    outputs: tuple[Output, ...]


class Rejected(Message, frozen=True):
    """The end of a request that failed, with a text for people."""

    request_id: str
    code: ErrorCode
    message: str
    param: str = ""  # the field of the Task or of its sampling that is wrong; empty: none
    retry_after: int = 0  # seconds after which it may well work; 0: not known


class Done(Message, frozen=True):
    """The end of a LoadModel or UnloadModel that worked."""

    request_id: str


# -- scheduler -> gateway --------------------------------------------------------------------------


class Status(Message, frozen=True):
    """The scheduler's view of the workers and the requests."""

    epoch: str  # a new one at each start of the scheduler
    pid: int = 0
    queued: int = 0
    workers: tuple[WorkerStatus, ...] = ()
    missing: tuple[str, ...] = ()  # names of workers that should be there and are not
    stopped: tuple[str, ...] = ()  # names of workers that an operator has stopped
    totals: Totals = Totals()
    refused: dict[str, str] = {}  # ids of models that are not loaded for a while, and why
    answers: int = 0  # the number of the Query that it answers; 0: none
    http: dict[int, int] = {}  # answers of all gateways, by HTTP status
    distributions: Distributions = Distributions()
    oldest_seconds: float = 0.0  # how long the oldest request in the queue has waited
    gateways: tuple[int, ...] = ()  # the ids of their processes


# -- worker -> scheduler ---------------------------------------------------------------------------


class Ready(Message, frozen=True):
    """The first message of a worker process, and its answer to Rejoin."""

    name: str  # the same after a restart, e.g. "cpu:0/0"; the ZeroMQ identity is new each time
    provider: ExecutionProvider
    pid: int
    slots: int  # how many requests it takes at once
    resident: tuple[str, ...] = ()
    loading: tuple[str, ...] = ()
    serving: dict[str, Serving] = {}
    fatal: tuple[str, ...] = ()  # ids of models whose loads ended the processes before this one
    spare: int = 0  # of the slots, those that are kept for clients that run nothing there
    only: tuple[str, ...] = ()  # ids of the only models that it runs; empty: all


class Heartbeat(Message, frozen=True):
    memory_bytes: int = 0  # 0: unchanged
    resident: tuple[str, ...] = ()  # ids of the loaded models
    loading: tuple[str, ...] = ()  # ids of the models that are being loaded
    serving: dict[str, Serving] = {}  # how each loaded model is run, by its id
    slots: int = 0  # how many requests it takes at once now; 0: unchanged
    # Digests of the beginnings of prompts that it may have cached, at most some hundreds; None:
    # those that it told last.
    beginnings: tuple[bytes, ...] | None = None
    evicted: int = 0  # models that were unloaded to make room for another, since the last one


class Postponed(Message, frozen=True):
    """The requests that wait for their grammars and hold no slot. Sent whenever these change.

    The worker takes other requests meanwhile. Each such message replaces the one before.
    """

    request_ids: tuple[str, ...] = ()


class Goodbye(Message, frozen=True):
    """The worker is about to stop."""


# -- scheduler -> worker ---------------------------------------------------------------------------


class Rejoin(Message, frozen=True):
    """The scheduler does not know this worker: it must drop its requests and send Ready again."""


FromGateway = Submit | LoadModel | UnloadModel | Abort | Query
FromWorker = Ready | Heartbeat | Postponed | Outputs | Done | Rejected | Goodbye
ToScheduler = FromGateway | FromWorker
ToGateway = Outputs | Done | Rejected | Status
ToWorker = Submit | LoadModel | UnloadModel | Abort | Rejoin

encode = msgspec.msgpack.Encoder().encode


class MalformedFrameError(ValueError):
    """The bytes are no message of the kind that is expected here. The text has none of them."""


def _decoder(kind: Any) -> Callable[[bytes], Any]:
    """Decodes frames. Whatever their bytes are, it raises nothing but MalformedFrameError."""
    decode = msgspec.msgpack.Decoder(kind).decode

    def decoded(frame: bytes) -> Any:
        try:
            return decode(frame)
        # Also RecursionError, which a deeply nested frame raises, and what other versions raise.
        except Exception as error:
            text = f"{len(frame)} bytes that are no message ({type(error).__name__})"
            raise MalformedFrameError(text) from None

    return decoded


decode_to_scheduler: Callable[[bytes], ToScheduler] = _decoder(ToScheduler)
decode_to_gateway: Callable[[bytes], ToGateway] = _decoder(ToGateway)
decode_to_worker: Callable[[bytes], ToWorker] = _decoder(ToWorker)
decode_work = msgspec.msgpack.Decoder(Task).decode


def encode_work(work: Task) -> msgspec.Raw:
    """The ``work`` of a Submit."""
    return msgspec.Raw(encode(work))
