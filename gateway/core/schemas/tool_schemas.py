"""Tools as bodies have them, in OpenAI's shapes and in their old form (``functions``).

Other APIs turn their tools into these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, Discriminator, Field, StringConstraints, Tag

from cupola.gateway.core.request import Tool, ToolOptions, ToolUse
from cupola.gateway.core.schemas.odd_schemas import describes_objects
from cupola.gateway.http.validation import Body, invalid

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:/-]+$", max_length=128)]
MAX_TOOLS = 128


def _of_objects(schema: dict[str, Any]) -> dict[str, Any]:
    if not describes_objects(schema):
        kind = schema["type"]
        raise invalid(f"Arguments are an object, so the schema's 'type' cannot be {kind!r}")
    return schema


Parameters = Annotated[dict[str, Any], AfterValidator(_of_objects)]


class FunctionDefinition(Body):
    name: Name
    description: str | None = None
    parameters: Parameters | None = None
    strict: bool | None = None

    def tool(self) -> Tool:
        return Tool(self.name, self.description, self.parameters, bool(self.strict))


class ToolDefinition(Body):
    type: Literal["function"]
    function: FunctionDefinition

    def tool(self) -> Tool:
        return self.function.tool()


class NamedFunction(Body):
    name: str


class NamedTool(Body):
    type: Literal["function"]
    function: NamedFunction


class AllowedTools(Body):
    mode: Literal["auto", "required"]
    tools: list[NamedTool]


class AllowedToolsChoice(Body):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


def _branch(choice: Any) -> str:
    kind = choice.get("type") if isinstance(choice, dict) else getattr(choice, "type", None)
    if kind is None and not isinstance(choice, dict):
        return "<mode>"
    return "<allowed>" if kind == "allowed_tools" else "<named>"


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<mode>")]
    | Annotated[NamedTool, Tag("<named>")]
    | Annotated[AllowedToolsChoice, Tag("<allowed>")],
    Discriminator(_branch),
]
FunctionChoice = Annotated[
    Annotated[Literal["none", "auto"], Tag("<mode>")] | Annotated[NamedFunction, Tag("<named>")],
    Discriminator(lambda choice: "<mode>" if isinstance(choice, str) else "<named>"),
]
Tools = Annotated[list[ToolDefinition], Field(max_length=MAX_TOOLS)]
Functions = Annotated[list[FunctionDefinition], Field(max_length=MAX_TOOLS)]


class Definition(Protocol):
    def tool(self) -> Tool: ...


def options(
    functions: Sequence[Definition],
    choice: str | NamedTool | AllowedToolsChoice | NamedFunction | None,
    *,
    parallel: bool,
    param: str,
) -> ToolOptions:
    """What may be called. ``param``: what the choice is called, for the error about a wrong one."""
    tools = tuple(function.tool() for function in functions)
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        raise invalid("Two tools have the same name", "tools")
    if choice is None or isinstance(choice, str):
        use = ToolUse(choice or "auto")
        if use is ToolUse.REQUIRED and not tools:
            raise invalid("A call is required, but there are no tools", param)
        callable_ = () if use is ToolUse.NONE else tools
        return ToolOptions(callable_, use, parallel, callable_)
    if isinstance(choice, AllowedToolsChoice):
        allowed = {tool.function.name for tool in choice.allowed_tools.tools}
        use = ToolUse(choice.allowed_tools.mode)
    else:
        allowed = {choice.function.name if isinstance(choice, NamedTool) else choice.name}
        use, parallel = ToolUse.REQUIRED, False
    if unknown := allowed - set(names) or (not allowed and {""}):
        raise invalid(f"There is no tool called '{min(unknown)}'", param)
    callable_ = tuple(tool for tool in tools if tool.name in allowed)
    return ToolOptions(callable_, use, parallel, tools if use is ToolUse.REQUIRED else callable_)
