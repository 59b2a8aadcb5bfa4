"""POST /v1/completions: OpenAI's legacy body to GenerationRequests, and events to its frames."""

from __future__ import annotations

from starlette.requests import Request
from starlette.routing import Route

from cupola.gateway.core.request import GenerationRequest
from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.generation.merging import merged
from cupola.gateway.generation.streaming import Answer
from cupola.gateway.http.error_codes import WORK
from cupola.gateway.http.read_body import read_body
from cupola.gateway.openai.answers import TextCompletion
from cupola.gateway.openai.body.completion import CompletionRequest
from cupola.gateway.openai.completion_frames import AnswerOptions, CompletionFrames
from cupola.gateway.openapi.described import SSE, Operation, Section, post
from cupola.scheduler.protocol.tasks import Text, Tokens


class CompletionsEndpoint:
    def __init__(self, dependencies: ApiDependencies) -> None:
        self._generator = dependencies.generator

    def routes(self) -> list[Route]:
        about = Operation(
            Section.OPENAI,
            "Continuations of plain prompts",
            "Texts or token ids, one or several. A stream ends with `[DONE]`.",
            body=CompletionRequest,
            answer=TextCompletion,
            stream=SSE,
            errors=WORK,
        )
        return [post("/v1/completions", self.create, about)]

    async def create(self, request: Request) -> Answer:
        body = await read_body(CompletionRequest, request)
        options = AnswerOptions(
            prompts=body.prompts,
            answers=body.answers,
            candidates=body.candidates,
            echo=bool(body.echo),
            silent=body.token_limit == 0,
            logprobs=body.best_logprobs is not None,
            include_usage=body.include_usage,
            timings=bool(body.timings_per_token),
        )
        requests = [
            generation_of(body, prompt, prompt_logprobs=options.waits_for_echo(number))
            for number, prompt in enumerate(body.prompts)
        ]
        generations = [await self._generator.generate(one) for one in requests]
        events = generations[0].events
        if len(generations) > 1:
            events = merged([generation.events for generation in generations], body.candidates)
        frames = CompletionFrames(generations[0].model, options)
        return Answer(events, frames, stream=bool(body.stream))


def generation_of(
    body: CompletionRequest, prompt: Text | Tokens, *, prompt_logprobs: bool = False
) -> GenerationRequest:
    logprobs = body.best_logprobs
    if logprobs is None and (prompt_logprobs or body.candidates > body.answers):
        logprobs = 0
    limit = body.token_limit
    return GenerationRequest(
        model=body.model,
        prompt=prompt,
        sampling=body.sampling(limit if limit is None else max(1, limit), logprobs),
        answers=body.candidates,
        constraint=body.constraint,
        show_special=body.skip_special_tokens is False,
        prompt_logprobs=prompt_logprobs,
        timings=bool(body.timings_per_token),
        progress=bool(body.return_progress and body.stream),
        cache_salt=body.cache_salt or "",
        ttl=body.seconds_loaded,
        provider=body.ep,
        priority=body.priority,
        timeout=body.timeout,
        names={
            "constraint": body.constraint_param,
            "prompt_logprobs": "echo",
        },
    )
