"""POST /v1/chat/completions: OpenAI's body to a GenerationRequest, and events to its frames."""

from __future__ import annotations

from importlib.metadata import version

from starlette.requests import Request

from cupola.gateway.answering import Answer
from cupola.gateway.chat_frames import ChatFrames
from cupola.gateway.generation import Conversation, GenerationRequest
from cupola.gateway.generator import Generator
from cupola.gateway.schemas import ChatRequest
from cupola.scheduler.messages import SamplingParams

FINGERPRINT = f"cupola-{version('cupola')}"


class ChatApi:
    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    async def create(self, request: Request) -> Answer:
        asked = ChatRequest.model_validate_json(await request.body())
        generation = await self._generator.generate(generation_of(asked))
        frames = ChatFrames(generation.model, FINGERPRINT, include_usage=asked.include_usage)
        return Answer(generation.events, frames, stream=bool(asked.stream))


def generation_of(asked: ChatRequest) -> GenerationRequest:
    return GenerationRequest(
        model=asked.model,
        prompt=Conversation(tuple(message.for_template() for message in asked.messages)),
        sampling=SamplingParams(
            max_tokens=asked.token_limit,
            temperature=1.0 if asked.temperature is None else asked.temperature,
            top_p=1.0 if asked.top_p is None else asked.top_p,
            top_k=asked.effective_top_k,
            seed=asked.effective_seed,
            stop=tuple(asked.stop or ()),
            ignore_eos=bool(asked.ignore_eos),
        ),
        ttl=asked.ttl,
    )
