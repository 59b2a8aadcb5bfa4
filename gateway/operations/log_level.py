"""POST /admin/log-level: how much all processes of the service log from now on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.http.json_answer import json_answer
from cupola.gateway.http.read_body import read_body
from cupola.gateway.openapi.described import Operation, Section, post
from cupola.scheduler.protocol.commands import LOG_LEVEL

Level = Literal["debug", "info", "warning", "error"]


class LogLevelBody(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)

    level: Level


class LogLevelAnswer(msgspec.Struct, frozen=True):
    level: Level


class LogLevelApi:
    """``notify`` sends a line to the supervisor, which tells every process."""

    def __init__(self, notify: Callable[[str], None]) -> None:
        self._notify = notify

    def routes(self) -> list[Route]:
        about = Operation(
            Section.SERVICE,
            "Change how much the service logs",
            "Until it ends. The setting `log_level` decides how it begins.",
            body=LogLevelBody,
            answer=LogLevelAnswer,
            errors=("forbidden",),
            admin=True,
        )
        return [post("/admin/log-level", self.change, about)]

    async def change(self, request: Request) -> Response:
        body = await read_body(LogLevelBody, request)
        self._notify(f"{LOG_LEVEL} {body.level}")
        return json_answer(LogLevelAnswer(body.level))
