"""POST /v1/rerank and its other names, /v1/score and /v1/classify."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.core.param_names import with_param_names
from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.generation.ranker import Ranker
from cupola.gateway.http.error_codes import WORK
from cupola.gateway.http.json_answer import json_answer
from cupola.gateway.http.read_body import read_body
from cupola.gateway.openapi.described import Operation, Section, post
from cupola.gateway.ranking.answers import (
    ClassifyAnswer,
    RerankAnswer,
    ScoreAnswer,
    classify_answer,
    rerank_answer,
    score_answer,
)
from cupola.gateway.ranking.body import ClassifyRequest, RerankRequest, ScoreRequest

# Jina's and vLLM's, llama-server's two others, Cohere's, and the name that decision servers use.
RERANK = ("/v1/rerank", "/rerank", "/v1/reranking", "/v2/rerank", "/v1/rank")


class RankingApi:
    def __init__(self, dependencies: ApiDependencies) -> None:
        self._ranker = Ranker(dependencies.decider, dependencies.embedder, dependencies.models)

    def routes(self) -> list[Route]:
        rerank = Operation(
            Section.DECISIONS,
            "Documents in the order of their relevance to a query",
            "As Cohere, Jina, llama-server and vLLM have it. Any chat or embedding model will do.",
            body=RerankRequest,
            answer=RerankAnswer,
            errors=WORK,
        )
        score = Operation(
            Section.DECISIONS,
            "How relevant texts are to others",
            "As vLLM has it.",
            body=ScoreRequest,
            answer=ScoreAnswer,
            errors=WORK,
        )
        classify = Operation(
            Section.DECISIONS,
            "Which of some labels fits a text",
            "As vLLM has it; the labels come with the request.",
            body=ClassifyRequest,
            answer=ClassifyAnswer,
            errors=WORK,
        )
        return [
            *(post(path, self.rerank, rerank) for path in RERANK),
            *(post(path, self.score, score) for path in ("/v1/score", "/score")),
            *(post(path, self.classify, classify) for path in ("/v1/classify", "/classify")),
        ]

    async def rerank(self, request: Request) -> Response:
        body = await read_body(RerankRequest, request)
        with with_param_names({"texts": "documents"}):
            ranked = await self._ranker.rank(
                request, body.model, body.sought, body.ranked, body.options
            )
        return json_answer(rerank_answer(ranked, body.ranked, body.top_n, body.wants_documents))

    async def score(self, request: Request) -> Response:
        body = await read_body(ScoreRequest, request)
        with with_param_names({"texts": "text_2"}):
            ranked = await self._ranker.score(request, body.model, body.pairs, body.options)
        return json_answer(score_answer(ranked))

    async def classify(self, request: Request) -> Response:
        body = await read_body(ClassifyRequest, request)
        decided = await self._ranker.classify(
            request, body.model, body.input, body.choices, body.options
        )
        return json_answer(classify_answer(decided, body.choices))
