"""Tools as POST /v1/responses has them: flat. OpenAI's older, nested form is taken as well."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from cupola.gateway.core.request import ToolOptions
from cupola.gateway.core.tool_schemas import (
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


def _refuse(kind: Any, what: str) -> PydanticCustomError:
    if not isinstance(kind, str):
        return invalid(f"A {what} needs a 'type'", "type")
    message = f"A {what} of type '{kind}' is not supported here: functions of your app are"
    return PydanticCustomError(UNSUPPORTED, "{message}", {"message": message, "param": "type"})


# Whatever else it is, is refused with its name.
FunctionType = Annotated[Any, WithJsonSchema({"const": "function"})]


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
            raise _refuse(self.type, "tool")
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


class NamedChoice(Body):
    type: FunctionType
    name: str | None = None
    function: NamedFunction | None = None

    @model_validator(mode="after")
    def _is_function(self) -> NamedChoice:
        if self.type != "function":
            raise _refuse(self.type, "choice")
        if self.name is None and self.function is None:
            raise invalid("Name the function that is to be called", "name")
        return self

    def named(self) -> NamedTool:
        name = self.name if self.function is None else self.function.name
        return NamedTool(type="function", function=NamedFunction(name=name or ""))


class AllowedChoice(Body):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[NamedChoice]


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
ResponseTools = Annotated[list[ResponseTool], Field(max_length=MAX_TOOLS)]


def tool_options(
    tools: list[ResponseTool], choice: str | NamedChoice | AllowedChoice | None, *, parallel: bool
) -> ToolOptions:
    """What may be called. Raises an error of validation about a choice that cannot be."""
    chosen: str | NamedTool | AllowedToolsChoice | None
    if isinstance(choice, NamedChoice):
        chosen = choice.named()
    elif isinstance(choice, AllowedChoice):
        allowed = AllowedTools(mode=choice.mode, tools=[tool.named() for tool in choice.tools])
        chosen = AllowedToolsChoice(type="allowed_tools", allowed_tools=allowed)
    else:
        chosen = choice
    functions = [tool.definition() for tool in tools]
    return options(functions, chosen, parallel=parallel, param="tool_choice")
