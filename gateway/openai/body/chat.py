"""The body of POST /v1/chat/completions."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from cupola.gateway.core.fields import Limit
from cupola.gateway.core.request import ToolOptions
from cupola.gateway.core.schemas.tool_schemas import FunctionChoice, Functions, options
from cupola.gateway.http.validation import Body, Refused, invalid
from cupola.gateway.openai.body.conversation import Message, Text
from cupola.gateway.openai.body.formats import FormatFields
from cupola.gateway.openai.body.sampling import SamplingFields, limit_of
from cupola.gateway.openai.body.tools import ChatToolChoice, ChatTools, chosen


class Prediction(Body):
    type: Literal["content"]
    content: Text


Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
ServiceTier = Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"]


class ChatRequest(SamplingFields, FormatFields):
    refused: ClassVar[tuple[Refused, ...]] = (
        Refused("modalities", lambda wanted: set(wanted) != {"text"}, "use ['text']"),
        Refused("audio", bool, "leave it out, answers are text"),
        Refused("store", bool, "answers are not stored; leave it out or send false"),
        Refused("web_search_options", lambda _: True, "leave it out, models here do not search"),
        Refused("moderation", lambda _: True, "leave it out, nothing is moderated here"),
        Refused(
            "prompt_cache_options", lambda _: True, "leave it out, prompts are cached by themselves"
        ),
    )
    labels: ClassVar[frozenset[str]] = frozenset(
        {"user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "service_tier"}
    )

    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: Limit | None = None
    max_completion_tokens: Limit | None = None
    # As other servers call them.
    max_new_tokens: Limit | None = None
    n_predict: Limit | None = None
    n_probs: Annotated[int, Field(ge=0, le=20)] | None = None
    timings_per_token: bool | None = None
    return_progress: bool | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: ChatTools | None = None
    tool_choice: ChatToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: Functions | None = None
    function_call: FunctionChoice | None = None
    reasoning_effort: Effort | None = None
    include_reasoning: bool | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    prediction: Prediction | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    service_tier: ServiceTier | None = None
    store: bool | None = None
    modalities: list[str] | None = None
    audio: dict[str, Any] | None = None
    web_search_options: dict[str, Any] | None = None
    moderation: dict[str, Any] | None = None
    prompt_cache_options: dict[str, Any] | None = None

    @property
    def token_limit(self) -> int | None:
        return limit_of(
            self.max_completion_tokens, self.max_tokens, self.max_new_tokens, self.n_predict
        )

    @property
    def best_logprobs(self) -> int | None:
        """How many of the best tokens are wanted besides the chosen one; None: no logprobs."""
        if self.n_probs and self.logprobs is None:
            return self.n_probs
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def legacy(self) -> bool:
        """Whether tools are given as ``functions``, and calls are wanted as ``function_call``."""
        return bool(self.functions)

    @cached_property
    def tool_options(self) -> ToolOptions:
        if self.functions:
            return options(
                self.functions, self.function_call, parallel=False, param="function_call"
            )
        return options(
            self.tools or (),
            chosen(self.tool_choice),
            parallel=self.parallel_tool_calls is not False,
            param="tool_choice",
        )

    @cached_property
    def template_options(self) -> dict[str, Any]:
        """Variables of the chat template: those that were given, and those that others mean."""
        implied: dict[str, Any] = {
            "reasoning_effort": self.reasoning_effort,
            "verbosity": self.verbosity,
            "add_generation_prompt": self.add_generation_prompt,
        }
        if self.reasoning_effort is not None:
            implied["enable_thinking"] = self.reasoning_effort != "none"
        given = {name: value for name, value in implied.items() if value is not None}
        return given | (self.chat_template_kwargs or {})

    @property
    def wants_reasoning(self) -> bool | None:
        """None: as the model does by itself."""
        wanted = self.template_options.get("enable_thinking")
        return wanted if isinstance(wanted, bool) else None

    @model_validator(mode="after")
    def _fits_together(self) -> ChatRequest:
        if self.tools and self.functions:
            raise invalid("'functions' and 'tools' exclude each other", "functions")
        if self.top_logprobs and not self.logprobs:
            raise invalid("'top_logprobs' needs 'logprobs': true", "top_logprobs")
        if self.continue_final_message and self.add_generation_prompt:
            text = "'continue_final_message' and 'add_generation_prompt' exclude each other"
            raise invalid(text, "continue_final_message")
        reserved = {"messages", "tools"} & set(self.chat_template_kwargs or ())
        if reserved:
            raise invalid(f"'{min(reserved)}' cannot be set here", "chat_template_kwargs")
        _ = self.tool_options, self.constraint  # raise what is wrong with them
        return self
