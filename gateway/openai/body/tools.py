"""Tools of chat completions: functions, and custom tools, which take a text."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from cupola.gateway.core.custom_tools import custom_tool
from cupola.gateway.core.request import Tool
from cupola.gateway.core.schemas.tool_schemas import (
    MAX_TOOLS,
    AllowedTools,
    AllowedToolsChoice,
    Name,
    NamedFunction,
    NamedTool,
    ToolDefinition,
)
from cupola.gateway.http.validation import Body, invalid
from cupola.gateway.openai.body.formats import Grammar
from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind


class GrammarDefinition(Body):
    syntax: Literal["lark", "regex"]
    definition: Grammar

    def constraint(self) -> Constraint:
        kind = ConstraintKind.LARK if self.syntax == "lark" else ConstraintKind.REGEX
        return Constraint(kind, self.definition)


class CustomFormat(Body):
    """Chats have the grammar in an object of its own, responses beside the type."""

    type: Literal["text", "grammar"]
    grammar: GrammarDefinition | None = None
    syntax: Literal["lark", "regex"] | None = None
    definition: Grammar | None = None

    @model_validator(mode="after")
    def _complete(self) -> CustomFormat:
        if self.type == "grammar" and self.grammar is None:
            for name in ("syntax", "definition"):
                if getattr(self, name) is None:
                    raise invalid(f"A grammar needs '{name}'", name)
        return self

    def constraint(self) -> Constraint | None:
        if self.type == "text":
            return None
        if self.grammar is not None:
            return self.grammar.constraint()
        assert self.syntax is not None and self.definition is not None
        return GrammarDefinition(syntax=self.syntax, definition=self.definition).constraint()


class CustomDefinition(Body):
    name: Name
    description: str | None = None
    format: CustomFormat | None = None

    def tool(self) -> Tool:
        grammar = self.format.constraint() if self.format else None
        return custom_tool(self.name, self.description, grammar)


class CustomToolDefinition(Body):
    type: Literal["custom"]
    custom: CustomDefinition

    def tool(self) -> Tool:
        return self.custom.tool()


class NamedCustomTool(Body):
    type: Literal["custom"]
    custom: NamedFunction

    def named(self) -> NamedTool:
        return NamedTool(type="function", function=self.custom)


def _branch(given: Any) -> str:
    kind = given.get("type") if isinstance(given, dict) else getattr(given, "type", None)
    if kind is None and not isinstance(given, dict):
        return "<mode>"
    return {"custom": "<custom>", "allowed_tools": "<allowed>"}.get(str(kind), "<function>")


def _kind(given: Any) -> str:
    return "<custom>" if _branch(given) == "<custom>" else "<function>"


_Named = Annotated[
    Annotated[NamedTool, Tag("<function>")] | Annotated[NamedCustomTool, Tag("<custom>")],
    Discriminator(_kind),
]


class ChatAllowedTools(Body):
    mode: Literal["auto", "required"]
    tools: list[_Named]


class ChatAllowedChoice(Body):
    type: Literal["allowed_tools"]
    allowed_tools: ChatAllowedTools


ChatTools = Annotated[
    list[
        Annotated[
            Annotated[ToolDefinition, Tag("<function>")]
            | Annotated[CustomToolDefinition, Tag("<custom>")],
            Discriminator(_kind),
        ]
    ],
    Field(max_length=MAX_TOOLS),
]
ChatToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<mode>")]
    | Annotated[NamedTool, Tag("<function>")]
    | Annotated[NamedCustomTool, Tag("<custom>")]
    | Annotated[ChatAllowedChoice, Tag("<allowed>")],
    Discriminator(_branch),
]
Choice = str | NamedTool | NamedCustomTool | ChatAllowedChoice | None


def chosen(choice: Choice) -> str | NamedTool | AllowedToolsChoice | None:
    """The choice without a difference between kinds of tools: their names are enough."""
    if isinstance(choice, NamedCustomTool):
        return choice.named()
    if not isinstance(choice, ChatAllowedChoice):
        return choice
    allowed = choice.allowed_tools
    tools = [tool if isinstance(tool, NamedTool) else tool.named() for tool in allowed.tools]
    return AllowedToolsChoice(
        type="allowed_tools", allowed_tools=AllowedTools(mode=allowed.mode, tools=tools)
    )
