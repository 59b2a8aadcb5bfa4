"""The wire protocol between gateways, the scheduler and the workers.

    gateway --Submit/Abort/Control/Query--> scheduler --Generate/Abort/Load/Unload/...--> worker
    gateway <--Outputs/Rejected/Status----- scheduler <--Ready/Heartbeat/Outputs/...----- worker

Every message is one msgpack frame, one union a direction: a frame in the wrong direction does not
decode. Nothing here does I/O.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from cupola.cache.catalog import ExecutionProvider


class FinishReason(enum.StrEnum):
    STOP = "stop"  # an end-of-turn token or a stop string
    LENGTH = "length"  # max_tokens or the context is used up
    ABORT = "abort"


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


# -- what is asked for -----------------------------------------------------------------------------


class LocalModel(msgspec.Struct, frozen=True):
    """A model variant on this machine's disk: all that a worker needs to load it."""

    id: str
    path: str
    provider: ExecutionProvider


class Serving(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a worker runs a model that it has loaded."""

    engine: str  # "batching"; else "onnxruntime-genai", "encoder" or "echo"
    why: str = ""  # it is not the batching engine; for people
    leaves_in: float | None = None  # seconds until it is unloaded if unused; None: not by time


class SamplingParams(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How the tokens of an answer are chosen. The names are those of OpenAI's API and of vLLM.

    None for temperature, top_p and top_k: what the model's makers advise, else 1, 1 and all.
    """

    max_tokens: int | None = None  # None: as many as the context holds
    fewer: bool = False  # fewer will do where the context does not hold ``max_tokens``
    min_tokens: int = 0  # before which nothing may end the answer
    temperature: float | None = None  # 0: greedy
    top_p: float | None = None
    top_k: int | None = None  # 0: all
    min_p: float = 0.0  # of the best token's probability
    typical_p: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: dict[int, float] = {}
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None  # None: not wanted; else how many of the best besides the chosen


class ConstraintKind(enum.StrEnum):
    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    REGEX = "regex"
    LARK = "lark"


class Constraint(msgspec.Struct, frozen=True):
    """A grammar that the answer must follow."""

    kind: ConstraintKind
    source: str = ""  # the schema as JSON, the expression, or the grammar


class Chat(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Messages for the model's chat template, as OpenAI's API has them."""

    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...] = ()
    template_options: dict[str, Any] = {}  # further variables of the template
    continue_last: bool = False  # the answer goes on where the last message ends


class Text(msgspec.Struct, frozen=True, tag=True):
    """Plain text, tokenized as it is."""

    text: str


class Tokens(msgspec.Struct, frozen=True, tag=True):
    """Text that is tokenized already."""

    ids: tuple[int, ...]


class Work(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Ask for answers to a prompt."""

    prompt: Chat | Text | Tokens
    sampling: SamplingParams = SamplingParams()
    answers: int = 1  # sequences that share the prompt and differ in their draws ("n")
    constraint: Constraint | None = None
    prediction: str = ""  # text that the answer will repeat in part: drafts for speculation
    keep_special: bool = False  # special tokens are part of the text, for parsers of tool calls
    prompt_logprobs: bool = False  # also those of the prompt's tokens, with ``sampling.logprobs``
    cache_salt: str = ""  # requests share cached prefixes only with those of the same salt


class Encode(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Ask for a prompt's tokens, and for the text that the chat template makes; for no answer."""

    prompt: Chat | Text
    # Of Text. A chat template writes special tokens itself.
    add_special: bool = True  # the tokenizer adds its own, such as one for the beginning
    parse_special: bool = True  # what spells a special token becomes that token


class Decode(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Ask for the text of tokens."""

    ids: tuple[int, ...]
    keep_special: bool = True


class Embed(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Ask for the vectors of texts, one for each, by their index."""

    texts: tuple[Text | Tokens, ...]
    dimensions: int | None = None  # None: all that the model has
    truncate: bool = False  # a text that is too long is cut, else refused


# What a worker does for one request. The scheduler passes it on undecoded.
Task = Work | Encode | Decode | Embed


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0  # of the prompt's, those that were not computed again
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0
    load_seconds: float = 0.0  # that the request waited for its model to be loaded


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


class TokenLogprob(msgspec.Struct, frozen=True, omit_defaults=True):
    """A token of the text, how probable it was, and the most probable ones in its place."""

    token: bytes  # as UTF-8, which a single token may cut
    logprob: float
    top: tuple[tuple[bytes, float], ...] = ()


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """New text of one request.

    Each answer (``index``) ends with a finish reason. The request ends with the output that has
    the usage, which is that of all its answers together.
    """

    request_id: str
    text: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    index: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[TokenLogprob, ...] = ()  # in the first output; the first one's is NaN
    stopped_by: str | int | None = None  # the stop string or the stop token id that ended it
    made: int = 0  # tokens that were generated since the answer's last output
    tokens: tuple[int, ...] = ()  # what Encode asks for
    pieces: tuple[bytes, ...] = ()  # what each of the tokens stands for; it may cut a character
    embedding: bytes = b""  # what Embed asks for: float32, little-endian

    @property
    def last(self) -> bool:
        """Whether nothing of this request follows."""
        return self.usage is not None


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
