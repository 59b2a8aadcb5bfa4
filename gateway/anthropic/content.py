"""The messages of Anthropic's API, and what a chat template reads of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from cupola.gateway.core.fields import null_means
from cupola.gateway.http.validation import Body, unsupported


class TextBlock(Body):
    type: Literal["text"]
    text: str


class TextSource(Body):
    """Of a document: what is not plain text cannot be read here."""

    type: Literal["text"]
    data: str


class DocumentBlock(Body):
    type: Literal["document"]
    source: TextSource
    title: str | None = None

    @property
    def text(self) -> str:
        return f"{self.title}\n{self.source.data}" if self.title else self.source.data


class SearchResultBlock(Body):
    """What an app has found in a search of its own."""

    type: Literal["search_result"]
    source: str
    title: str
    content: list[TextBlock]

    @property
    def text(self) -> str:
        return joined((self.title, self.source, *(block.text for block in self.content)))


_TEXTS = (TextBlock, DocumentBlock, SearchResultBlock)


class ThinkingBlock(Body):
    type: Literal["thinking"]
    thinking: str
    signature: str | None = None  # ours say nothing, and nobody else's can be checked


class RedactedThinkingBlock(Body):
    """Thoughts that only Anthropic can read."""

    type: Literal["redacted_thinking"]
    data: str


class ToolUseBlock(Body):
    type: Literal["tool_use"]
    id: str
    name: str
    input: Annotated[dict[str, Any], null_means({}, dict[str, Any] | None)] = Field(
        default_factory=dict
    )

    def for_template(self) -> dict[str, Any]:
        function = {"name": self.name, "arguments": self.input}
        return {"id": self.id, "type": "function", "function": function}


def _known(kinds: Iterable[str], blocks: Any) -> Any:
    """Content of ``kinds``; a text counts as one block of text. ``blocks``: their type."""
    readable = frozenset(kinds)

    def check(content: Any) -> Any:
        if isinstance(content, str):
            return [{"type": "text", "text": content}] if content else []
        for block in content if isinstance(content, list) else ():
            kind = block.get("type") if isinstance(block, dict) else None
            if isinstance(kind, str) and kind not in readable:
                raise unsupported("", f"Content of type '{kind}' cannot be read here")
        return content

    return BeforeValidator(check, json_schema_input_type=str | list[blocks])


def _kind(block: Any) -> str:
    kind = block.get("type") if isinstance(block, dict) else getattr(block, "type", None)
    return f"<{kind}>"


Readable = Annotated[
    Annotated[TextBlock, Tag("<text>")]
    | Annotated[DocumentBlock, Tag("<document>")]
    | Annotated[SearchResultBlock, Tag("<search_result>")],
    Discriminator(_kind),
]
_READABLE = ("text", "document", "search_result")
System = Annotated[list[TextBlock], _known(["text"], TextBlock)]


class ToolResultBlock(Body):
    type: Literal["tool_result"]
    tool_use_id: str
    content: Annotated[list[Readable], _known(_READABLE, Readable)] | None = None
    is_error: bool | None = None

    def for_template(self, name: str | None) -> dict[str, Any]:
        text = joined(block.text for block in self.content or ())
        if self.is_error:
            text = f"Error: {text}"
        message = {"role": "tool", "content": text, "tool_call_id": self.tool_use_id}
        return message | ({"name": name} if name else {})


Block = Annotated[
    Annotated[TextBlock, Tag("<text>")]
    | Annotated[DocumentBlock, Tag("<document>")]
    | Annotated[SearchResultBlock, Tag("<search_result>")]
    | Annotated[ThinkingBlock, Tag("<thinking>")]
    | Annotated[RedactedThinkingBlock, Tag("<redacted_thinking>")]
    | Annotated[ToolUseBlock, Tag("<tool_use>")]
    | Annotated[ToolResultBlock, Tag("<tool_result>")],
    Discriminator(_kind),
]
_KINDS = (*_READABLE, "thinking", "redacted_thinking", "tool_use", "tool_result")


class AnthropicMessage(Body):
    role: Literal["user", "assistant", "system"]
    content: Annotated[list[Block], _known(_KINDS, Block)]


Messages = Annotated[list[AnthropicMessage], Field(min_length=1)]


def joined(texts: Iterable[str]) -> str:
    """Blocks stand below each other."""
    return "\n".join(texts)


def for_template(
    system: list[TextBlock] | None, messages: list[AnthropicMessage]
) -> tuple[dict[str, Any], ...]:
    """The conversation in OpenAI's shapes: results of tools are messages of their own."""
    conversation: list[dict[str, Any]] = []
    if system:
        conversation.append({"role": "system", "content": joined(block.text for block in system)})
    names: dict[str, str] = {}  # of the tools that were called, by the call's id
    for message in messages:
        if message.role == "assistant":
            conversation.append(_answer(message.content))
            calls = [block for block in message.content if isinstance(block, ToolUseBlock)]
            names |= {call.id: call.name for call in calls}
        else:
            conversation += _request(message, names)
    return tuple(conversation)


def _answer(blocks: list[Block]) -> dict[str, Any]:
    texts = [block.text for block in blocks if isinstance(block, _TEXTS)]
    answer: dict[str, Any] = {"role": "assistant", "content": joined(texts)}
    if thoughts := [block.thinking for block in blocks if isinstance(block, ThinkingBlock)]:
        answer["reasoning_content"] = joined(thoughts)
    if calls := [block.for_template() for block in blocks if isinstance(block, ToolUseBlock)]:
        answer["tool_calls"] = calls
    return answer


def _request(message: AnthropicMessage, names: dict[str, str]) -> list[dict[str, Any]]:
    """Results first: a template wants them right after the calls."""
    blocks = message.content
    results = [block for block in blocks if isinstance(block, ToolResultBlock)]
    read = [result.for_template(names.get(result.tool_use_id)) for result in results]
    texts = [block.text for block in blocks if isinstance(block, _TEXTS)]
    if texts or not read:
        read.append({"role": message.role, "content": joined(texts)})
    return read
