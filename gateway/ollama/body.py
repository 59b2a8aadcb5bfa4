"""The bodies of Ollama's API."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from cupola.gateway.core.fields import (
    MAX_INPUTS,
    AnyModel,
    Count,
    KeepAlive,
    Model,
    Natural,
    default_model,
    null_means,
)
from cupola.gateway.core.request import Conversation, GenerationRequest, ToolOptions
from cupola.gateway.core.schemas.schema_constraint import schema_constraint
from cupola.gateway.core.schemas.tool_schemas import ToolChoice, Tools, options
from cupola.gateway.http.validation import Body, Endpoint, Refused, invalid
from cupola.gateway.ollama.options import OllamaOptions
from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind, Text

LATEST = ":latest"  # Ollama's clients add it to names without a tag
NAMES = {
    "constraint": "format",
    "template_options": "think",
}


class Named(Endpoint):
    """The body of a request about a model. ``name`` is the old name of ``model``."""

    labels: ClassVar[frozenset[str]] = frozenset({"verbose", "insecure"})

    model: Model | None = None
    name: Model | None = None
    stream: bool | None = None
    verbose: bool | None = None
    insecure: bool | None = None

    @property
    def given(self) -> str:
        return self.model or self.name or ""

    @property
    def key(self) -> str:
        """What the model is called here."""
        return self.given.removesuffix(LATEST)

    @model_validator(mode="after")
    def _names_a_model(self) -> Named:
        if not self.given:
            raise invalid("'model' is missing", "model")
        return self


class Prompted(Endpoint):
    """What chats and plain prompts have in common."""

    refused: ClassVar[tuple[Refused, ...]] = (
        Refused("shift", bool, "an answer ends where the context does"),
        Refused("truncate", bool, "a prompt that is too long is refused"),
    )

    prompt_param: ClassVar[str] = "prompt"

    model: AnyModel = default_model()
    stream: bool | None = None
    options: Annotated[OllamaOptions, null_means(OllamaOptions(), OllamaOptions | None)] = (
        OllamaOptions()
    )
    format: Literal["", "json"] | dict[str, Any] | None = None
    keep_alive: KeepAlive | None = None
    think: bool | Literal["low", "medium", "high", "max"] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    parse_special: bool | None = None
    truncate: bool | None = None
    shift: bool | None = None

    @property
    def parses(self) -> bool | None:
        """Whether texts that spell a special token have that token; None: nothing is said."""
        return self.options.parse_special if self.parse_special is None else self.parse_special

    @property
    def key(self) -> str:
        return self.model.removesuffix(LATEST)

    @property
    def streamed(self) -> bool:
        return self.stream is not False

    @cached_property
    def constraint(self) -> Constraint | None:
        if self.format == "json":
            return Constraint(ConstraintKind.JSON_OBJECT)
        return schema_constraint(self.format, "format") if self.format else None

    @property
    def thinks(self) -> bool | None:
        """None: as the model does by itself."""
        return self.think if isinstance(self.think, bool) or self.think is None else True

    @property
    def template_options(self) -> dict[str, Any]:
        given: dict[str, Any] = {}
        if self.think is not None:
            given["enable_thinking"] = self.thinks
        if isinstance(self.think, str):
            given["reasoning_effort"] = self.think
        return given

    def generation(
        self, prompt: Conversation | Text, tools: ToolOptions | None = None
    ) -> GenerationRequest:
        return GenerationRequest(
            model=self.key,
            prompt=prompt,
            sampling=self.options.sampling((self.top_logprobs or 0) if self.logprobs else None),
            tools=tools or ToolOptions(),
            constraint=self.constraint,
            reasoning=self.thinks,
            ttl=self.keep_alive,
            names=NAMES | {"prompt": self.prompt_param},
        )

    @model_validator(mode="after")
    def _fits_together(self) -> Prompted:
        if self.top_logprobs and not self.logprobs:
            raise invalid("'top_logprobs' needs 'logprobs': true", "top_logprobs")
        _ = self.constraint  # raises what is wrong with it
        return self


class OllamaFunction(Body):
    name: str
    arguments: Annotated[dict[str, Any], null_means({}, dict[str, Any] | None)] = Field(
        default_factory=dict
    )


class OllamaCall(Body):
    id: str | None = None
    function: OllamaFunction

    def for_template(self) -> dict[str, Any]:
        function = {"name": self.function.name, "arguments": self.function.arguments}
        call: dict[str, Any] = {"type": "function", "function": function}
        return call if self.id is None else {"id": self.id, **call}


class OllamaMessage(Endpoint):
    refused: ClassVar[tuple[Refused, ...]] = (Refused("images", bool, "models here read text"),)

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: list[Any] | None = None
    tool_calls: list[OllamaCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None

    def for_template(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": self.role, "content": self.content or ""}
        further = {
            "tool_calls": [call.for_template() for call in self.tool_calls or ()],
            "reasoning_content": self.thinking,
            "name": self.tool_name,
            "tool_call_id": self.tool_call_id,
        }
        return message | {name: value for name, value in further.items() if value}


class OllamaChat(Prompted):
    prompt_param: ClassVar[str] = "messages"

    messages: Annotated[list[OllamaMessage], null_means([], list[OllamaMessage] | None)] = Field(
        default_factory=list
    )
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None  # OpenAI's: Ollama has none

    @cached_property
    def tool_options(self) -> ToolOptions:
        functions = [tool.function for tool in self.tools or ()]
        return options(functions, self.tool_choice, parallel=True, param="tool_choice")

    @property
    def request(self) -> GenerationRequest | None:
        """None: the model is only loaded, or unloaded."""
        if not self.messages:
            return None
        messages = tuple(message.for_template() for message in self.messages)
        begun = messages[-1]["role"] == "assistant" and "tool_calls" not in messages[-1]
        prompt = Conversation(messages, self.template_options, begun, bool(self.parses))
        return self.generation(prompt, self.tool_options)

    @model_validator(mode="after")
    def _usable_tools(self) -> OllamaChat:
        _ = self.tool_options  # raises what is wrong with them
        return self


class OllamaGenerate(Prompted):
    refused: ClassVar[tuple[Refused, ...]] = (
        *Prompted.refused,
        Refused("images", bool, "models here read text"),
        Refused("suffix", bool, "no model here knows how to fill in; leave it out"),
        Refused("template", bool, "the model's own template is used; 'raw' does without"),
        Refused("context", bool, "send the conversation to /api/chat"),
    )

    prompt: str | None = None
    system: str | None = None
    raw: bool | None = None
    suffix: str | None = None
    template: str | None = None
    context: list[Natural] | None = None
    images: list[Any] | None = None

    @property
    def request(self) -> GenerationRequest | None:
        """None: the model is only loaded, or unloaded."""
        if not self.prompt:
            return None
        if self.raw:
            return self.generation(Text(self.prompt, self.parses is not False))
        system = ({"role": "system", "content": self.system},) if self.system else ()
        messages = (*system, {"role": "user", "content": self.prompt})
        prompt = Conversation(messages, self.template_options, parse_special=bool(self.parses))
        return self.generation(prompt)

    @model_validator(mode="after")
    def _raw_is_raw(self) -> OllamaGenerate:
        if self.raw and self.system:
            raise invalid("A raw prompt has no 'system': write it into the prompt", "system")
        return self


class OllamaEmbed(Endpoint):
    labels: ClassVar[frozenset[str]] = frozenset({"options"})

    model: Model
    input: str | Annotated[list[str], Field(max_length=MAX_INPUTS)]
    parse_special: bool | None = None
    truncate: bool | None = None
    dimensions: Count | None = None
    keep_alive: KeepAlive | None = None
    options: OllamaOptions | None = None  # none of them is about vectors


class OllamaEmbeddings(Endpoint):
    """The first form of it: one text."""

    labels: ClassVar[frozenset[str]] = frozenset({"options"})

    model: Model
    prompt: Annotated[str, null_means("", str | None)] = ""
    parse_special: bool | None = None
    keep_alive: KeepAlive | None = None
    options: OllamaOptions | None = None
