"""POST /v1/decisions and POST /v1/systemone: probabilities for the answers of typed questions."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.decisions.answers import DecisionAnswer, answer_of
from cupola.gateway.decisions.body import DecisionsRequest
from cupola.gateway.decisions.systemone_answers import SystemOneAnswer, named_answer_of
from cupola.gateway.decisions.systemone_body import SystemOneRequest
from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.http.error_codes import WORK
from cupola.gateway.http.json_answer import json_answer
from cupola.gateway.http.read_body import read_body
from cupola.gateway.openapi.described import Operation, Section, post


class DecisionsApi:
    def __init__(self, dependencies: ApiDependencies) -> None:
        self._decider = dependencies.decider

    def routes(self) -> list[Route]:
        return [
            post(
                "/v1/decisions",
                self.decisions,
                Operation(
                    Section.DECISIONS,
                    "Probabilities for the answers of typed questions",
                    "As OpenAI's client has it. Nothing is generated.",
                    body=DecisionsRequest,
                    answer=DecisionAnswer,
                    errors=WORK,
                ),
            ),
            post(
                "/v1/systemone",
                self.systemone,
                Operation(
                    Section.DECISIONS,
                    "The same in the System One protocol",
                    "The questions have names, and the answers are found by them.",
                    body=SystemOneRequest,
                    answer=SystemOneAnswer,
                    errors=WORK,
                ),
            ),
        ]

    async def decisions(self, request: Request) -> Response:
        body = await read_body(DecisionsRequest, request)
        decided = await self._decider.decide(request, body.wanted())
        return json_answer(answer_of(body.questions, decided))

    async def systemone(self, request: Request) -> Response:
        body = await read_body(SystemOneRequest, request)
        decided = await self._decider.decide(request, body.wanted())
        return json_answer(named_answer_of(body.questions, decided))
