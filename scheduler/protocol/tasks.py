"""The tasks that a worker can do for a request: the content of frames to it.

Plain data. Nothing here does I/O.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from cupola.cache.catalog import ExecutionProvider


class LocalModel(msgspec.Struct, frozen=True):
    """A model variant on this machine's disk, with all that a worker needs to load it."""

    id: str
    path: str
    provider: ExecutionProvider


class SamplingParams(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How the tokens of an answer are chosen. The names are those of OpenAI's API and of vLLM.

    If temperature, top_p, top_k or repetition_penalty is None, the value from the model's own
    configuration is used. If that has none either, it is 1, 1, all and 1.
    """

    max_tokens: int | None = None  # at most; None, or more than fit: as the context holds
    min_tokens: int = 0  # the answer may not end before
    temperature: float | None = None  # 0: greedy
    top_p: float | None = None
    top_k: int | None = None  # 0: all
    min_p: float = 0.0  # relative to the best token's probability
    typical_p: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float | None = None
    logit_bias: dict[int, float] = {}
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None  # how many of the best tokens besides the chosen; None: no logprobs


class ConstraintKind(enum.StrEnum):
    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    REGEX = "regex"
    LARK = "lark"
    GBNF = "gbnf"  # llama.cpp's


class Constraint(msgspec.Struct, frozen=True):
    """A grammar that the answer must follow."""

    kind: ConstraintKind
    source: str = ""  # the schema as JSON, the expression, or the grammar


class Chat(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Messages for the model's chat template, as OpenAI's API has them."""

    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...] = ()
    template_options: dict[str, Any] = {}  # more variables for the template
    continue_last: bool = False  # the answer continues the last message
    parse_special: bool = False  # a message that spells a special token has that token


class Text(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Plain text, tokenized without a template."""

    text: str
    parse_special: bool = True  # text that spells a special token becomes that token


class Tokens(msgspec.Struct, frozen=True, tag=True):
    """Text that is tokenized already."""

    ids: tuple[int, ...]


class Work(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Generate answers to a prompt."""

    prompt: Chat | Text | Tokens
    sampling: SamplingParams = SamplingParams()
    answers: int = 1  # sequences that share the prompt and are sampled independently ("n")
    constraint: Constraint | None = None
    prediction: str = ""  # text that the answer is expected to repeat in part: speculation's drafts
    keep_special: bool = False  # special tokens are part of the text, for parsers of tool calls
    prompt_logprobs: bool = False  # ``sampling.logprobs`` is for the prompt's tokens as well
    cache_salt: str = ""  # requests share cached prefixes only if their salts are equal
    timings: bool = False  # every output has timings, not only the last one
    progress: bool = False  # outputs tell how much of the prompt has been read


class Encode(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Turn a prompt into tokens and, with a chat template, into text. Nothing is generated."""

    prompt: Chat | Text
    # For Text: the tokenizer adds its special tokens, such as one at the beginning.
    add_special: bool = True


class Decode(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Turn tokens into text."""

    ids: tuple[int, ...]
    keep_special: bool = True


class Embed(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Compute a vector for each text. ``Output.index`` is the index of the text.

    A model that scores pairs makes a vector of one number: the score of a text and the one of
    ``seconds`` at the same place.
    """

    texts: tuple[Text | Tokens, ...]
    dimensions: int | None = None  # None: as many as the model has
    truncate: bool = False  # a text that is too long is cut; otherwise it is an error
    seconds: tuple[str, ...] = ()  # of pairs


class Transcribe(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Write down what is said in a recording. ``Output.segments`` come in the order of time."""

    audio: bytes  # of a sound file
    language: str = ""  # of two letters, such as "en"; empty: the model finds out
    translate: bool = False  # to English
    prompt: str = ""  # text that the recording continues: names, spelling, style
    # 0: the most probable token, and higher where the result is doubtful.
    temperature: float = 0.0
    seed: int | None = None
    # Each window is told the text before it, so the windows are decoded one after the other.
    condition: bool = False
    logprobs: bool = False
    words: bool = False  # the times of words are found out, and segments begin and end with them


class QuestionKind(enum.StrEnum):
    PREDICATE = "predicate"  # whether a statement is true
    CHOICE = "choice"
    SCORE = "score"  # the options are ordered levels


class Option(msgspec.Struct, frozen=True, omit_defaults=True):
    """An answer that a question allows."""

    text: str
    description: str = ""


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """A question that is answered by one of its options."""

    kind: QuestionKind
    instructions: str
    options: tuple[Option, ...] = ()  # of a predicate: none, it is answered with yes or no


class Decide(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Find the probabilities of each question's options. Nothing is generated.

    The questions follow the same conversation, each by itself. ``Output.index`` is the index of the
    question.
    """

    prompt: Chat
    questions: tuple[Question, ...]
    permutations: int = 1  # in how many orders the options are shown; the results are averaged
    cache_salt: str = ""  # see Work


# What a worker does for one Submit. The scheduler passes it on without decoding it.
Task = Work | Encode | Decode | Embed | Decide | Transcribe
