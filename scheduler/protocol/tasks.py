"""What a worker can be asked to do for a request, and what it says of it: the content of frames.

Plain data: nothing here does I/O.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from cupola.cache.catalog import ExecutionProvider

# -- what is asked for -----------------------------------------------------------------------------


class LocalModel(msgspec.Struct, frozen=True):
    """A model variant on this machine's disk: all that a worker needs to load it."""

    id: str
    path: str
    provider: ExecutionProvider


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


# -- what is answered ------------------------------------------------------------------------------


class FinishReason(enum.StrEnum):
    STOP = "stop"  # an end-of-turn token or a stop string
    LENGTH = "length"  # max_tokens or the context is used up
    ABORT = "abort"


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0  # of the prompt's, those that were not computed again
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0
    load_seconds: float = 0.0  # that the request waited for its model to be loaded


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
