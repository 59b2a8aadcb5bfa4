"""POST /tokenize, /detokenize and /apply-template, in llama-server's shapes and in vLLM's."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cupola.gateway.core.asking import ask
from cupola.gateway.core.param_names import in_words_of
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.generation.arrangement import chat_prompt
from cupola.gateway.generation.generator import new_call_id
from cupola.gateway.generation.model_directory import ModelDirectory
from cupola.gateway.http.error_codes import WORK
from cupola.gateway.openai.chat import generation_of
from cupola.gateway.openai.schemas.tokens import (
    Conversation,
    DetokenizeAnswer,
    DetokenizeRequest,
    Peek,
    TemplateAnswer,
    TokenizeAnswer,
    TokenizeChat,
    TokenizeText,
    TokenList,
)
from cupola.gateway.openapi.described import Operation, Section, post
from cupola.gateway.toolcalls.directory import FamilyDirectory
from cupola.scheduler.protocol.messages import Decode, Encode, LocalModel, Output, Text


class TokensApi:
    def __init__(
        self,
        client: SchedulerClient,
        models: ModelDirectory,
        families: FamilyDirectory,
        default_model: str,
    ) -> None:
        self._client = client
        self._models = models
        self._families = families
        self._default_model = default_model

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
        body = await request.body()
        if Peek.model_validate_json(body).messages is not None:
            return await self._tokenize_chat(request, TokenizeChat.model_validate_json(body))
        asked = TokenizeText.model_validate_json(body)
        model = await self._model(asked.model)
        task = Encode(Text(asked.text), asked.adds_special, asked.parse_special is not False)
        with in_words_of({"prompt": "prompt" if asked.content is None else "content"}):
            (output,) = await ask(self._client, request, model, task)
        if asked.prompt is not None:
            return await self._counted(output, model, pieces=asked.wants_pieces)
        if not asked.wants_pieces:
            return JSONResponse({"tokens": output.tokens})
        pairs = zip(output.tokens, output.pieces, strict=True)
        return JSONResponse({"tokens": [{"id": i, "piece": _piece(piece)} for i, piece in pairs]})

    async def detokenize(self, request: Request) -> Response:
        asked = DetokenizeRequest.model_validate_json(await request.body())
        model = await self._model(asked.model)
        with in_words_of({"ids": "tokens"}):
            (output,) = await ask(self._client, request, model, Decode(tuple(asked.tokens)))
        return JSONResponse({"content": output.text, "prompt": output.text})

    async def apply_template(self, request: Request) -> Response:
        asked = Conversation.model_validate_json(await request.body())
        output, _ = await self._encoded(request, asked)
        return JSONResponse({"prompt": output.text})

    async def _tokenize_chat(self, request: Request, asked: TokenizeChat) -> Response:
        output, model = await self._encoded(request, asked)
        return await self._counted(output, model, pieces=bool(asked.return_token_strs))

    async def _encoded(self, request: Request, asked: Conversation) -> tuple[Output, LocalModel]:
        """The conversation exactly as POST /v1/chat/completions would put it to the model."""
        model = await self._model(asked.model)
        wanted, family = generation_of(asked), await self._families.of(model.path)
        with in_words_of(wanted.names):
            prompt = chat_prompt(wanted, family, new_call_id)
            (output,) = await ask(self._client, request, model, Encode(prompt))
        return output, model

    async def _model(self, name: str | None) -> LocalModel:
        return await self._models.find(name or self._default_model)

    async def _counted(self, output: Output, model: LocalModel, *, pieces: bool) -> Response:
        """vLLM's answer."""
        cached = await self._models.cached(model.id)
        body: TokenizeAnswer = {
            "count": len(output.tokens),
            "max_model_len": cached.variant.context_length,
            "tokens": list(output.tokens),
            "token_strs": None,
        }
        if pieces:
            body["token_strs"] = [piece.decode(errors="replace") for piece in output.pieces]
        return JSONResponse(body)


def _piece(piece: bytes) -> str | list[int]:
    """A token's text; its bytes where it holds only a part of a character."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)
