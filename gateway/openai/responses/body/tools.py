"""Tools as POST /v1/responses has them: flat. OpenAI's older, nested form is taken as well.

Tools that a service would have to run itself are skipped: agents send them by default, and go on
without them. The answer names them, see ``skipped``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from cupola.gateway.core.request import Tool, ToolOptions
from cupola.gateway.core.schemas.tool_schemas import (
    MAX_TOOLS,
    AllowedTools,
    AllowedToolsChoice,
    FunctionDefinition,
    Name,
    NamedFunction,
    NamedTool,
    Parameters,
    options,
)
from cupola.gateway.http.validation import UNSUPPORTED, Body, invalid
from cupola.gateway.openai.body.tools import CustomDefinition

OWN = ("function", "custom")  # types of tools that an app runs


def _unsupported(kind: str, param: str = "type") -> PydanticCustomError:
    message = (
        f"A tool of type '{kind}' cannot be called here, because this service does not run it: "
        "choose a function or a custom tool of your app, or 'auto'"
    )
    return PydanticCustomError(UNSUPPORTED, "{message}", {"message": message, "param": param})


# What is no text is refused.
FunctionType = Annotated[Any, WithJsonSchema({"const": "function"})]
Strings = Annotated[str, StringConstraints(max_length=128)]


class ResponseTool(Body):
    type: FunctionType
    name: Name | None = None
    description: str | None = None
    parameters: Parameters | None = None
    strict: bool | None = None
    function: FunctionDefinition | None = None  # the nested form

    @model_validator(mode="after")
    def _is_function(self) -> ResponseTool:
        if self.type != "function":
            raise invalid("A tool needs a 'type'", "type")
        if self.name is None and self.function is None:
            raise invalid("A function needs a name", "name")
        return self

    def definition(self) -> FunctionDefinition:
        if self.function is not None:
            return self.function
        return FunctionDefinition(
            name=self.name or "",
            description=self.description,
            parameters=self.parameters,
            strict=self.strict,
        )

    def tool(self) -> Tool:
        return self.definition().tool()


class ResponseCustomTool(CustomDefinition):
    type: Literal["custom"]


class SkippedTool(Body):
    """A tool that a service runs: web_search, mcp, code_interpreter and others."""

    type: Strings


class NamedChoice(Body):
    type: FunctionType
    name: str | None = None
    function: NamedFunction | None = None

    @model_validator(mode="after")
    def _is_function(self) -> NamedChoice:
        if not isinstance(self.type, str):
            raise invalid("A choice needs a 'type'", "type")
        if self.type not in OWN:
            raise _unsupported(self.type)
        if self.name is None and self.function is None:
            raise invalid("Name the tool that is to be called", "name")
        return self

    def named(self) -> NamedTool:
        name = self.name if self.function is None else self.function.name
        return NamedTool(type="function", function=NamedFunction(name=name or ""))


def _is_own(tool: Any) -> str:
    """Which of the forms a tool, or its name in a choice, has."""
    kind = tool.get("type") if isinstance(tool, dict) else getattr(tool, "type", None)
    if kind == "custom":
        return "<custom>"
    return "<skipped>" if isinstance(kind, str) and kind not in OWN else "<function>"


class AllowedChoice(Body):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[
        Annotated[
            Annotated[NamedChoice, Tag("<function>")]
            | Annotated[NamedChoice, Tag("<custom>")]
            | Annotated[SkippedTool, Tag("<skipped>")],
            Discriminator(_is_own),
        ]
    ]


def _branch(choice: Any) -> str:
    if isinstance(choice, str):
        return "<mode>"
    kind = choice.get("type") if isinstance(choice, dict) else getattr(choice, "type", None)
    return "<allowed>" if kind == "allowed_tools" else "<named>"


ResponseToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<mode>")]
    | Annotated[NamedChoice, Tag("<named>")]
    | Annotated[AllowedChoice, Tag("<allowed>")],
    Discriminator(_branch),
]
OwnTool = ResponseTool | ResponseCustomTool
AnyTool = Annotated[
    Annotated[ResponseTool, Tag("<function>")]
    | Annotated[ResponseCustomTool, Tag("<custom>")]
    | Annotated[SkippedTool, Tag("<skipped>")],
    Discriminator(_is_own),
]
ResponseTools = Annotated[list[AnyTool], Field(max_length=MAX_TOOLS)]


def own(tools: list[OwnTool | SkippedTool]) -> list[OwnTool]:
    """The tools that the model is told of."""
    return [tool for tool in tools if not isinstance(tool, SkippedTool)]


def skipped(tools: list[OwnTool | SkippedTool]) -> list[str]:
    """The types of the others."""
    return list(dict.fromkeys(tool.type for tool in tools if isinstance(tool, SkippedTool)))


def tool_options(
    given: list[OwnTool | SkippedTool],
    choice: str | NamedChoice | AllowedChoice | None,
    *,
    parallel: bool,
) -> ToolOptions:
    """What may be called. Raises an error of validation about a choice that cannot be."""
    tools = own(given)
    if choice == "required" and given and not tools:
        types = ", ".join(skipped(given))
        text = f"A call is required, but this service runs none of the tools ({types})"
        raise invalid(text, "tool_choice")
    chosen: str | NamedTool | AllowedToolsChoice | None
    if isinstance(choice, NamedChoice):
        chosen = choice.named()
    elif isinstance(choice, AllowedChoice):
        named = [tool.named() for tool in choice.tools if isinstance(tool, NamedChoice)]
        if choice.tools and not named and choice.mode == "required":
            assert isinstance(choice.tools[0], SkippedTool)
            raise _unsupported(choice.tools[0].type, "tool_choice.type")
        allowed = AllowedTools(mode=choice.mode, tools=named)
        chosen = AllowedToolsChoice(type="allowed_tools", allowed_tools=allowed)
        if choice.tools and not named:
            chosen = "none"
    else:
        chosen = choice
    return options(tools, chosen, parallel=parallel, param="tool_choice")
