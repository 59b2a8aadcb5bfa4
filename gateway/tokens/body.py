"""The bodies of the endpoints around the tokenizer, as llama-server and vLLM have them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from cupola.gateway.core.fields import Model, Natural
from cupola.gateway.http.validation import Body, Endpoint, invalid
from cupola.gateway.openai.body.chat import ChatRequest


class Peek(Body):
    """Which of the two bodies of POST /tokenize this is."""

    messages: Any = None


class TokenizeText(Endpoint):
    """A text. With ``content`` the answer is llama-server's, with ``prompt`` it is vLLM's."""

    model: Model | None = None  # None: the default model
    content: str | None = None
    prompt: str | None = None
    add_special: bool | None = None
    add_special_tokens: bool | None = None
    parse_special: bool | None = None
    with_pieces: bool | None = None
    return_token_strs: bool | None = None

    @model_validator(mode="after")
    def _one_text(self) -> TokenizeText:
        if (self.content is None) == (self.prompt is None):
            raise invalid("Give 'content', 'prompt' or 'messages'", "content")
        return self

    @property
    def text(self) -> str:
        return self.content or self.prompt or ""

    @property
    def adds_special(self) -> bool:
        """llama-server's default is no, vLLM's is yes."""
        given = (self.add_special, self.add_special_tokens)
        return next((value for value in given if value is not None), self.content is None)

    @property
    def wants_pieces(self) -> bool:
        return bool(self.with_pieces or self.return_token_strs)


class Conversation(ChatRequest):
    """A chat request of which only the prompt counts."""


class TokenizeChat(Conversation):
    """vLLM's body of POST /tokenize for a conversation."""

    return_token_strs: bool | None = None


class DetokenizeRequest(Endpoint):
    model: Model | None = None
    tokens: Annotated[list[Natural], Field(max_length=1_000_000)]
