"""The wire protocol between gateways, the scheduler and the workers.

    gateway --Submit/Abort/Control/Query--> scheduler --Generate/Abort/Load/Unload/...--> worker
    gateway <--Outputs/Rejected/Status----- scheduler <--Ready/Heartbeat/Outputs/...----- worker

Every message is one msgpack frame, one union a direction: a frame in the wrong direction does not
decode. Nothing here does I/O.
"""

from __future__ import annotations

import enum

import msgspec

from cupola.cache.catalog import ExecutionProvider

# Whoever sends or reads a frame needs what is in it: it can be had here as well.
from cupola.scheduler.protocol.tasks import Chat as Chat
from cupola.scheduler.protocol.tasks import Constraint as Constraint
from cupola.scheduler.protocol.tasks import ConstraintKind as ConstraintKind
from cupola.scheduler.protocol.tasks import Decode as Decode
from cupola.scheduler.protocol.tasks import Embed as Embed
from cupola.scheduler.protocol.tasks import Encode as Encode
from cupola.scheduler.protocol.tasks import FinishReason as FinishReason
from cupola.scheduler.protocol.tasks import LocalModel as LocalModel
from cupola.scheduler.protocol.tasks import Output as Output
from cupola.scheduler.protocol.tasks import SamplingParams as SamplingParams
from cupola.scheduler.protocol.tasks import Task as Task
from cupola.scheduler.protocol.tasks import Text as Text
from cupola.scheduler.protocol.tasks import TokenLogprob as TokenLogprob
from cupola.scheduler.protocol.tasks import Tokens as Tokens
from cupola.scheduler.protocol.tasks import Usage as Usage
from cupola.scheduler.protocol.tasks import Work as Work


class ErrorCode(enum.StrEnum):
    """Every way a request can fail below HTTP. The gateway has the table from code to status."""

    INVALID_REQUEST = "invalid_request"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    MODEL_NOT_FOUND = "model_not_found"
    MODEL_LOAD_FAILED = "model_load_failed"
    QUEUE_FULL = "queue_full"
    QUEUE_TIMEOUT = "queue_timeout"
    NO_WORKER = "no_worker"
    WORKER_LOST = "worker_lost"
    SCHEDULER_LOST = "scheduler_lost"
    SHUTTING_DOWN = "shutting_down"
    INTERNAL = "internal"


class Message(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Base of every frame; the class's name is the tag on the wire."""


class Serving(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a worker runs a model that it has loaded."""

    engine: str  # "batching"; else "onnxruntime-genai", "encoder" or "echo"
    why: str = ""  # it is not the batching engine; for people
    leaves_in: float | None = None  # seconds until it is unloaded if unused; None: not by time
    kv_cache: str = ""  # type of the keys and values, such as "float32"; "" where it is not known


# -- gateway -> scheduler --------------------------------------------------------------------------


class Submit(Message, frozen=True):
    request_id: str
    model: LocalModel
    work: msgspec.Raw  # an encoded Task
    # Seconds that the model stays loaded after its last use; -1: for ever; None: the default.
    ttl: float | None = None


class Abort(Message, frozen=True):
    request_id: str


class LoadModel(Message, frozen=True):
    """Ask for a model to be resident on some worker; answered by Done or Rejected."""

    request_id: str
    model: LocalModel
    ttl: float | None = None


class UnloadModel(Message, frozen=True):
    """Ask every worker to drop a model once it is idle; answered by Done.

    Without ``force`` a model stays that was loaded for a given time, or is pinned: Done as well.
    """

    request_id: str
    model_id: str
    force: bool = True


class Query(Message, frozen=True):
    """Ask for a Status. Sent every second: it is also the gateway's heartbeat."""


# -- scheduler -> gateway --------------------------------------------------------------------------


class Outputs(Message, frozen=True):
    """All that one step of a worker made."""

    outputs: tuple[Output, ...]


class Rejected(Message, frozen=True):
    """The end of a request that failed, with a text for people."""

    request_id: str
    code: ErrorCode
    message: str
    param: str = ""  # the field of the Task or of its sampling that is to blame; empty: none


class Done(Message, frozen=True):
    """The end of a LoadModel or UnloadModel that worked."""

    request_id: str


class WorkerStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    provider: ExecutionProvider
    pid: int
    running: int = 0
    memory_bytes: int = 0
    resident: tuple[str, ...] = ()  # the models that are loaded
    serving: dict[str, Serving] = {}  # how, by the model's id


class ProviderState(msgspec.Struct, frozen=True):
    """An execution provider of the installed runtime, after it was tried."""

    name: str
    problem: str = ""  # for people; empty: it works


class Totals(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the requests came to that have ended in this life of the scheduler."""

    answered: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Status(Message, frozen=True):
    """The scheduler's view. ``epoch`` differs between lives of the scheduler."""

    epoch: str
    pid: int = 0
    queued: int = 0
    workers: tuple[WorkerStatus, ...] = ()
    missing: tuple[str, ...] = ()  # names of workers that should be there and are not
    totals: Totals = Totals()


# -- worker -> scheduler ---------------------------------------------------------------------------


class Ready(Message, frozen=True):
    """A worker's first word in a life, and its answer to Rejoin."""

    name: str  # stable over restarts, e.g. "cpu:0/0"; the ZeroMQ identity is new in every life
    provider: ExecutionProvider
    pid: int
    slots: int  # requests that it takes at once
    resident: tuple[str, ...] = ()
    loading: tuple[str, ...] = ()
    serving: dict[str, Serving] = {}


class Heartbeat(Message, frozen=True):
    memory_bytes: int = 0  # 0: as before
    resident: tuple[str, ...] = ()  # the models that are loaded
    loading: tuple[str, ...] = ()  # those that will be
    serving: dict[str, Serving] = {}  # how those run that are loaded


class Goodbye(Message, frozen=True):
    """A worker leaves on purpose."""


# -- scheduler -> worker ---------------------------------------------------------------------------


class Generate(Message, frozen=True):
    request_id: str
    model: LocalModel
    work: msgspec.Raw
    ttl: float | None = None


class Load(Message, frozen=True):
    request_id: str
    model: LocalModel
    ttl: float | None = None


class Unload(Message, frozen=True):
    request_id: str
    model_id: str
    force: bool = True


class Rejoin(Message, frozen=True):
    """Sent to a worker the scheduler does not know: drop what you run and say Ready again."""


ToScheduler = (
    Submit | Abort | LoadModel | UnloadModel | Query
    | Ready | Heartbeat | Outputs | Rejected | Done | Goodbye
)  # fmt: skip
ToGateway = Outputs | Rejected | Done | Status
ToWorker = Generate | Abort | Load | Unload | Rejoin

encode = msgspec.msgpack.Encoder().encode
decode_to_scheduler = msgspec.msgpack.Decoder(ToScheduler).decode
decode_to_gateway = msgspec.msgpack.Decoder(ToGateway).decode
decode_to_worker = msgspec.msgpack.Decoder(ToWorker).decode
decode_work = msgspec.msgpack.Decoder(Task).decode


def encode_work(work: Task) -> msgspec.Raw:
    return msgspec.Raw(encode(work))
