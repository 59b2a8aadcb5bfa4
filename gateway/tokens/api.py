"""POST /tokenize, /detokenize and /apply-template, in llama-server's shapes and in vLLM's."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.core.asking import ask
from cupola.gateway.core.param_names import with_param_names
from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.http.error_codes import WORK
from cupola.gateway.http.json_answer import json_answer
from cupola.gateway.http.read_body import aside, read_body
from cupola.gateway.openai.chat import generation_of
from cupola.gateway.openapi.described import Operation, Section, post
from cupola.gateway.tokens.answers import (
    DetokenizeAnswer,
    TemplateAnswer,
    TokenizeAnswer,
    TokenList,
    TokenPiece,
)
from cupola.gateway.tokens.body import (
    Conversation,
    DetokenizeRequest,
    Peek,
    TokenizeChat,
    TokenizeText,
)
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.tasks import Decode, Encode, LocalModel, Text


class TokensApi:
    def __init__(self, dependencies: ApiDependencies) -> None:
        self._client = dependencies.client
        self._models = dependencies.models
        self._counter = dependencies.counter

    def routes(self) -> list[Route]:
        return [
            post(
                "/tokenize",
                self.tokenize,
                Operation(
                    Section.TOKENS,
                    "The tokens of a text or a conversation",
                    "With `content` as llama-server has it, with `prompt` or `messages` as vLLM.",
                    body=(TokenizeText, TokenizeChat),
                    answer=(TokenList, TokenizeAnswer),
                    errors=WORK,
                ),
            ),
            post(
                "/detokenize",
                self.detokenize,
                Operation(
                    Section.TOKENS,
                    "The text of tokens",
                    body=DetokenizeRequest,
                    answer=DetokenizeAnswer,
                    errors=WORK,
                ),
            ),
            post(
                "/apply-template",
                self.apply_template,
                Operation(
                    Section.TOKENS,
                    "A conversation as the model reads it",
                    body=Conversation,
                    answer=TemplateAnswer,
                    errors=WORK,
                ),
            ),
        ]

    async def tokenize(self, request: Request) -> Response:
        if (await read_body(Peek, request)).messages is not None:
            return await self._tokenize_chat(request, await read_body(TokenizeChat, request))
        body = await read_body(TokenizeText, request)
        model = await self._model(body.model)
        task = Encode(Text(body.text, body.parse_special is not False), body.adds_special)
        with with_param_names({"prompt": "prompt" if body.content is None else "content"}):
            (output,) = await ask(self._client, request, model, task)
        if body.prompt is not None:
            return await self._counted(output, model, pieces=body.wants_pieces)
        if not body.wants_pieces:
            return json_answer(TokenList(output.tokens))
        pairs = zip(output.tokens, output.pieces, strict=True)
        return json_answer(TokenList(tuple(TokenPiece(i, _piece(piece)) for i, piece in pairs)))

    async def detokenize(self, request: Request) -> Response:
        body = await read_body(DetokenizeRequest, request)
        model = await self._model(body.model)
        with with_param_names({"ids": "tokens"}):
            (output,) = await ask(self._client, request, model, Decode(tuple(body.tokens)))
        return json_answer(DetokenizeAnswer(output.text, output.text))

    async def apply_template(self, request: Request) -> Response:
        body = await read_body(Conversation, request)
        output, _ = await self._counter.encode(request, await aside(request, generation_of, body))
        return json_answer(TemplateAnswer(output.text))

    async def _tokenize_chat(self, request: Request, body: TokenizeChat) -> Response:
        wanted = await aside(request, generation_of, body)
        output, model = await self._counter.encode(request, wanted)
        return await self._counted(output, model, pieces=bool(body.return_token_strs))

    async def _model(self, name: str | None) -> LocalModel:
        return await self._models.find(name or "")

    async def _counted(self, output: Output, model: LocalModel, *, pieces: bool) -> Response:
        """vLLM's answer."""
        cached = await self._models.cached(model.id)
        texts = [piece.decode(errors="replace") for piece in output.pieces] if pieces else None
        limit = cached.variant.context_length
        return json_answer(TokenizeAnswer(len(output.tokens), limit, output.tokens, texts))


def _piece(piece: bytes) -> str | list[int]:
    """A token's text; its bytes where it holds only a part of a character."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)
