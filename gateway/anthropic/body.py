"""The bodies of POST /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from cupola.gateway.anthropic.content import Messages, System, for_template
from cupola.gateway.core.fields import AnyModel, Count, Natural, Share, Stop, default_model
from cupola.gateway.core.request import Conversation, GenerationRequest, ToolOptions
from cupola.gateway.core.schemas.schema_constraint import schema_constraint
from cupola.gateway.core.schemas.tool_schemas import (
    MAX_TOOLS,
    FunctionDefinition,
    Name,
    NamedFunction,
    Parameters,
    options,
)
from cupola.gateway.http.validation import Body, Endpoint, Refused, invalid, unsupported
from cupola.scheduler.protocol.tasks import Constraint, SamplingParams

NAMES = {
    "prompt": "messages",
    "constraint": "output_config.format",
    "template_options": "thinking",
}


class AnthropicTool(Body):
    name: Name
    type: str | None = None
    description: str | None = None
    input_schema: Parameters | None = None
    strict: bool | None = None

    @model_validator(mode="after")
    def _runs_in_the_app(self) -> AnthropicTool:
        if self.type not in (None, "custom"):
            text = f"Tools of type '{self.type}' are not here: describe it with 'input_schema'"
            raise unsupported("type", text)
        if self.input_schema is None:
            raise invalid("A tool needs an 'input_schema'", "input_schema")
        return self

    def function(self) -> FunctionDefinition:
        return FunctionDefinition(
            name=self.name,
            description=self.description,
            parameters=self.input_schema,
            strict=self.strict,
        )


class AnthropicChoice(Body):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None

    @model_validator(mode="after")
    def _names_one(self) -> AnthropicChoice:
        if (self.type == "tool") != (self.name is not None):
            raise invalid("A choice of type 'tool', and no other, needs a 'name'", "name")
        return self

    @property
    def choice(self) -> str | NamedFunction:
        if self.name is not None:
            return NamedFunction(name=self.name)
        return "required" if self.type == "any" else self.type


class Thinking(Body):
    """``budget_tokens`` is taken as it is in Anthropic's API, as a hint."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Count | None = None
    display: Literal["summarized", "omitted"] | None = None


class OutputFormat(Body):
    type: Literal["json_schema"]
    schema_: Any = Field(alias="schema")


class OutputConfig(Endpoint):
    refused: ClassVar[tuple[Refused, ...]] = (Refused("task_budget", bool, "use 'max_tokens'"),)

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None
    task_budget: dict[str, Any] | None = None


class Edit(Body):
    type: str


class ContextManagement(Body):
    edits: list[Edit] | None = None


class Labels(Body):
    user_id: str | None = None


class Prompted(Endpoint):
    """What both bodies share: everything that the prompt depends on."""

    refused: ClassVar[tuple[Refused, ...]] = (
        Refused("mcp_servers", bool, "call the servers in your app, and send 'tools'"),
        Refused("compaction", bool, "shorten the messages in your app"),
        Refused(
            "context_management",
            lambda wanted: any(
                not edit.type.startswith("clear_thinking") for edit in wanted.edits or ()
            ),
            "shorten the messages in your app",
        ),
        Refused("speed", lambda wanted: wanted != "standard", "leave it out"),
    )
    labels: ClassVar[frozenset[str]] = frozenset({"cache_control", "billing_policy"})

    model: AnyModel = default_model()
    messages: Messages
    system: System | None = None
    tools: Annotated[list[AnthropicTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: AnthropicChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    cache_control: dict[str, Any] | None = None  # all prompts are cached
    mcp_servers: list[Any] | None = None
    compaction: dict[str, Any] | None = None
    context_management: ContextManagement | None = None
    speed: Literal["standard", "fast"] | None = None
    parse_special: bool | None = None
    billing_policy: dict[str, Any] | None = None

    @cached_property
    def tool_options(self) -> ToolOptions:
        wanted = self.tool_choice or AnthropicChoice(type="auto")
        return options(
            [tool.function() for tool in self.tools or ()],
            wanted.choice,
            parallel=not wanted.disable_parallel_tool_use,
            param="tool_choice",
        )

    @cached_property
    def constraint(self) -> Constraint | None:
        wanted = self.output_config and self.output_config.format
        return schema_constraint(wanted.schema_, "output_config.format.schema") if wanted else None

    @property
    def wants_thinking(self) -> bool | None:
        """None: as the model does by itself."""
        return None if self.thinking is None else self.thinking.type != "disabled"

    @property
    def shows_thinking(self) -> bool:
        return self.thinking is None or self.thinking.display != "omitted"

    @property
    def conversation(self) -> Conversation:
        """An answer that the messages begin goes on where it ends."""
        messages = for_template(self.system, self.messages)
        given = {
            "enable_thinking": self.wants_thinking,
            "reasoning_effort": self.output_config and self.output_config.effort,
        }
        last = messages[-1]
        return Conversation(
            messages,
            {name: value for name, value in given.items() if value is not None},
            continue_last=last["role"] == "assistant" and "tool_calls" not in last,
            parse_special=bool(self.parse_special),
        )

    def generation(self, sampling: SamplingParams) -> GenerationRequest:
        return GenerationRequest(
            model=self.model,
            prompt=self.conversation,
            sampling=sampling,
            tools=self.tool_options,
            constraint=self.constraint,
            reasoning=self.wants_thinking,
            names=NAMES,
        )

    @model_validator(mode="after")
    def _fits_together(self) -> Prompted:
        _ = self.tool_options, self.constraint  # raise what is wrong with them
        return self


class CountRequest(Prompted):
    """Only the prompt counts."""


class MessagesRequest(Prompted):
    refused: ClassVar[tuple[Refused, ...]] = (
        *Prompted.refused,
        Refused("container", bool, "run the tools in your app"),
        Refused("thread", bool, "send the whole conversation"),
    )
    labels: ClassVar[frozenset[str]] = Prompted.labels | {
        "metadata", "service_tier", "inference_geo", "diagnostics", "fallbacks",
        "fallback_credit_token",
    }  # fmt: skip

    max_tokens: Count
    stream: bool | None = None
    stop_sequences: Stop | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Share | None = None
    top_k: Natural | None = None
    metadata: Labels | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    container: Any = None
    thread: dict[str, Any] | None = None
    inference_geo: str | None = None
    diagnostics: dict[str, Any] | None = None
    fallbacks: Any = None
    fallback_credit_token: Any = None

    @property
    def sampling(self) -> SamplingParams:
        given: dict[str, Any] = {
            "max_tokens": self.max_tokens,
            "stop": tuple(self.stop_sequences or ()),
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
        }
        return SamplingParams(**{name: value for name, value in given.items() if value is not None})
