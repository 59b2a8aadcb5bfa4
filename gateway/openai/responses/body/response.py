"""The body of POST /v1/responses."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from cupola.gateway.core.fields import Limit
from cupola.gateway.core.request import ToolOptions
from cupola.gateway.core.schemas.schema_constraint import schema_constraint
from cupola.gateway.http.validation import Endpoint, Refused, invalid
from cupola.gateway.openai.body.chat import Effort, ServiceTier
from cupola.gateway.openai.body.formats import KINDS, Grammar
from cupola.gateway.openai.body.sampling import SamplingFields, limit_of
from cupola.gateway.openai.responses.body.items import Item, as_items
from cupola.gateway.openai.responses.body.tools import (
    ResponseToolChoice,
    ResponseTools,
    skipped,
    tool_options,
)
from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind

LOGPROBS = "message.output_text.logprobs"
Includable = Literal[
    "message.output_text.logprobs",
    # Reasoning is never encrypted here: its items hold it, and can be sent back as they are.
    "reasoning.encrypted_content",
    # Of tools and inputs that no answer here can have, so nothing of them is left out.
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
]


Items = Annotated[list[Item], Field(min_length=1)]


class TextFormat(Endpoint):
    """``type`` decides which of the others is read."""

    type: Annotated[str, WithJsonSchema({"enum": KINDS})]
    name: str | None = None
    description: str | None = None
    strict: bool | None = None
    schema_: Any = Field(default=None, alias="schema")
    grammar: Grammar | None = None
    lark_grammar: Grammar | None = None
    regex: Grammar | None = None

    def constraint(self) -> Constraint | None:
        match self.type:
            case "text":
                return None
            case "json_object":
                return Constraint(ConstraintKind.JSON_OBJECT)
            case "json_schema" if self.schema_ is not None:
                return schema_constraint(self.schema_, "text.format.schema")
            case "json_schema":
                raise invalid("'text.format.schema' is missing", "text.format.schema")
            case "lark_grammar" if grammar := self.grammar or self.lark_grammar:
                return Constraint(ConstraintKind.LARK, grammar)
            case "regex" if self.regex:
                return Constraint(ConstraintKind.REGEX, self.regex)
            case "lark_grammar" | "regex":
                name = "grammar" if self.type == "lark_grammar" else "regex"
                raise invalid(f"'text.format.{name}' is missing", f"text.format.{name}")
        raise invalid(f"'{self.type}' is not one of: {', '.join(KINDS)}", "text.format.type")


class TextOptions(Endpoint):
    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningOptions(Endpoint):
    refused: ClassVar[tuple[Refused, ...]] = (
        Refused("context", lambda turns: turns == "current_turn", "all that is sent is read"),
        Refused("mode", lambda mode: mode != "standard", "use 'effort'"),
    )

    effort: Effort | None = None
    # All reasoning comes as it is, whatever summary is wanted.
    summary: Literal["auto", "concise", "detailed", "none"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    mode: str | None = None


def _always(_: Any) -> bool:
    return True


_NOT_HERE = (
    ("conversation", "use 'previous_response_id', or send the whole conversation in 'input'"),
    ("prompt", "prompts are not stored here; send it in 'instructions' and 'input'"),
    ("context_management", "send the part of the conversation that is to be read"),
    ("max_tool_calls", "it is about tools that a service runs itself; here are none"),
    ("moderation", "leave it out, nothing is moderated here"),
    ("background_options", "send 'background' only"),
    ("prompt_cache_options", "leave it out, prompts are cached by themselves"),
    ("access_programs", "leave it out"),
    ("image", "models here read and write text"),
    # What other endpoints have under another name.
    ("messages", "use 'input'"),
    ("max_tokens", "use 'max_output_tokens'"),
    ("max_completion_tokens", "use 'max_output_tokens'"),
    ("response_format", "use 'text.format'"),
    ("reasoning_effort", "use 'reasoning.effort'"),
    ("verbosity", "use 'text.verbosity'"),
    ("logprobs", "use 'include' with 'message.output_text.logprobs'"),
    ("functions", "use 'tools'"),
)


class ResponsesRequest(SamplingFields):
    refused: ClassVar[tuple[Refused, ...]] = (
        Refused("n", lambda answers: answers != 1, "a response holds one answer"),
        Refused("truncation", lambda way: way != "disabled", "shorten 'input', or leave it out"),
        *(Refused(param, _always, hint) for param, hint in _NOT_HERE),
    )
    labels: ClassVar[frozenset[str]] = frozenset(
        {
            "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
            "service_tier", "client_metadata",
        }
    )  # fmt: skip

    input: Annotated[Items, BeforeValidator(as_items, json_schema_input_type=str | Items)]
    instructions: str | None = None
    previous_response_id: str | None = None
    max_output_tokens: Limit | None = None
    text: TextOptions | None = None
    tools: ResponseTools | None = None
    tool_choice: ResponseToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningOptions | None = None
    include: list[Includable] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    background: bool | None = None
    store: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    service_tier: ServiceTier | None = None
    client_metadata: Any = None
    conversation: Any = None
    prompt: Any = None
    context_management: Any = None
    max_tool_calls: Any = None
    moderation: Any = None
    background_options: Any = None
    prompt_cache_options: Any = None
    access_programs: Any = None
    image: Any = None
    messages: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    response_format: Any = None
    reasoning_effort: Any = None
    verbosity: Any = None
    logprobs: Any = None
    functions: Any = None

    @property
    def token_limit(self) -> int | None:
        return limit_of(self.max_output_tokens)

    @property
    def best_logprobs(self) -> int | None:
        """How many of the best tokens are wanted besides the chosen one; None: no logprobs."""
        wanted = LOGPROBS in (self.include or ()) or bool(self.top_logprobs)
        return (self.top_logprobs or 0) if wanted else None

    @cached_property
    def constraint(self) -> Constraint | None:
        return self.text.format.constraint() if self.text and self.text.format else None

    @cached_property
    def tool_options(self) -> ToolOptions:
        parallel = self.parallel_tool_calls is not False
        return tool_options(self.tools or [], self.tool_choice, parallel=parallel)

    @property
    def skipped_tools(self) -> list[str]:
        """The types of the tools that the model is not told of."""
        return skipped(self.tools or [])

    @cached_property
    def template_options(self) -> dict[str, Any]:
        """Variables of the chat template that the parameters mean."""
        effort = self.reasoning.effort if self.reasoning else None
        verbosity = self.text.verbosity if self.text else None
        given: dict[str, Any] = {"reasoning_effort": effort, "verbosity": verbosity}
        if effort is not None:
            given["enable_thinking"] = effort != "none"
        return {name: value for name, value in given.items() if value is not None}

    @model_validator(mode="after")
    def _fits_together(self) -> ResponsesRequest:
        if self.background and self.store is False:
            raise invalid("'background' needs 'store': its answer is fetched later", "background")
        _ = self.tool_options, self.constraint  # raise what is wrong with them
        return self
