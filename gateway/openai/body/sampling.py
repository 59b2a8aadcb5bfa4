"""The parameters that every endpoint has that generates text."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import (
    BeforeValidator,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from cupola.cache.catalog import ExecutionProvider, provider_named
from cupola.gateway.core.fields import (
    AnyModel,
    KeepAlive,
    Natural,
    Penalty,
    Priority,
    Seed,
    Share,
    Stop,
    Timeout,
    TopK,
    Ttl,
    default_model,
)
from cupola.gateway.http.validation import Body, Endpoint, Refused, invalid
from cupola.scheduler.protocol.tasks import SamplingParams

MAX_BIAS = 100
Bias = Annotated[float, Field(ge=-MAX_BIAS, le=MAX_BIAS)]


def provider_of(ep: Any) -> Any:
    try:
        return provider_named(ep) if isinstance(ep, str) else ep
    except ValueError as error:
        raise invalid(str(error)) from None


# An empty name is none, as in Foundry Local's API.
Provider = Annotated[
    ExecutionProvider | None, BeforeValidator(provider_of, json_schema_input_type=str | None)
]


def check_bias(bias: Any) -> Any:
    """Up to the first that is wrong: a vocabulary of wrong ones would take long to collect."""
    for token, value in bias.items() if isinstance(bias, dict) else ():
        if not re.fullmatch(r"\d{1,9}", token):
            raise invalid(f"'{token}' is no token id")
        if type(value) not in (int, float) or not -MAX_BIAS <= value <= MAX_BIAS:
            raise invalid(f"A bias is a number from -{MAX_BIAS} to {MAX_BIAS}", token)
    return bias


_NUMBER_OR_TEXT = WithJsonSchema({"type": ["integer", "string", "null"]})


class Metadata(Body):
    """Free strings, two of which Foundry Local's SDKs use for parameters that OpenAI lacks."""

    top_k: Annotated[TopK | None, Field(strict=False), _NUMBER_OR_TEXT] = None
    random_seed: Annotated[Seed | None, Field(strict=False), _NUMBER_OR_TEXT] = None


# Fields that SamplingParams has by the same names.
_SAME = frozenset(
    {
        "temperature", "top_p", "min_p", "typical_p", "frequency_penalty", "presence_penalty",
        "min_tokens", "ignore_eos",
    }
)  # fmt: skip


class StreamOptions(Body):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    continuous_usage_stats: bool | None = None

    @model_validator(mode="after")
    def _supported(self) -> StreamOptions:
        if self.continuous_usage_stats:
            raise invalid("Usage comes once, at the end of the stream", "continuous_usage_stats")
        return self


class SamplingFields(Endpoint):
    """Base of the bodies of endpoints that generate text."""

    refused: ClassVar[tuple[Refused, ...]] = ()
    labels: ClassVar[frozenset[str]] = frozenset({"user"})

    model: AnyModel = default_model()
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Share | None = None
    top_k: TopK | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    typical_p: Share | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    # The same as llama-server and others call it.
    repeat_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    repeat_last_n: Annotated[int, Field(ge=-1)] | None = None
    logit_bias: (
        Annotated[
            dict[str, Bias], BeforeValidator(check_bias, json_schema_input_type=dict[str, Bias])
        ]
        | None
    ) = None
    seed: Seed | None = None
    random_seed: Seed | None = None
    stop: Stop | None = None
    stop_token_ids: Annotated[list[Natural], Field(max_length=1024)] | None = None
    min_tokens: Natural | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    user: str | None = None
    metadata: Metadata | None = None
    parse_special: bool | None = None  # None: in plain prompts, and not in messages
    cache_salt: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    keep_alive: KeepAlive | None = None
    ttl: Ttl | None = None
    ep: Provider = None
    priority: Priority | None = None
    timeout: Timeout | None = None

    @property
    def answers(self) -> int:
        return self.n or 1

    @property
    def seconds_loaded(self) -> float | None:
        return self.keep_alive if self.ttl is None else self.ttl

    @property
    def penalty(self) -> float | None:
        """On repetition, over the whole context."""
        given = self.repeat_penalty if self.repetition_penalty is None else self.repetition_penalty
        return 1.0 if self.repeat_last_n == 0 else given

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self, max_tokens: int | None, logprobs: int | None) -> SamplingParams:
        """``logprobs``: None, or how many of the best tokens are wanted besides the chosen one."""
        own = self.metadata
        own_top_k, own_seed = (own.top_k, own.random_seed) if own else (None, None)
        given: dict[str, Any] = {
            "max_tokens": max_tokens,
            "logprobs": logprobs,
            "repetition_penalty": self.penalty,
            "top_k": _first(self.top_k, own_top_k),
            "seed": _first(self.seed, self.random_seed, own_seed),
            "stop": tuple(self.stop or ()),
            "stop_token_ids": tuple(self.stop_token_ids or ()),
            "logit_bias": {int(token): bias for token, bias in (self.logit_bias or {}).items()},
        }
        given |= {name: getattr(self, name) for name in _SAME & self.model_fields_set}
        return SamplingParams(**{name: value for name, value in given.items() if value is not None})

    @model_validator(mode="after")
    def _consistent(self) -> SamplingFields:
        if (
            self.stream_options is not None
            and self.stream_options.include_usage
            and not self.stream
        ):
            raise invalid("'stream_options' is for streamed answers only", "stream_options")
        both = self.repeat_penalty is not None and self.repetition_penalty is not None
        if both and self.repeat_penalty != self.repetition_penalty:
            text = "'repeat_penalty' and 'repetition_penalty' exclude each other"
            raise invalid(text, "repeat_penalty")
        if self.repeat_last_n not in (None, 0, -1) and self.penalty not in (None, 1):
            text = "Repetition is counted over the whole context: use -1, or 0 for no penalty"
            raise invalid(text, "repeat_last_n")
        return self


def limit_of(*limits: int | None) -> int | None:
    """The limit on new tokens: the first one that is given. -1 and None are no limit."""
    limit = _first(*limits)
    return None if limit is None or limit < 0 else limit


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
