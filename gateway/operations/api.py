"""The operator's endpoints together."""

from __future__ import annotations

from starlette.routing import Route

from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.operations.front_page import FrontPage
from cupola.gateway.operations.health import HealthApi
from cupola.gateway.operations.log_level import LogLevelApi
from cupola.gateway.operations.metrics_api import MetricsApi
from cupola.gateway.operations.state import StateApi
from cupola.gateway.operations.workers import WorkersApi


class OperationsApi:
    def __init__(self, dependencies: ApiDependencies) -> None:
        self._dependencies = dependencies

    def routes(self) -> list[Route]:
        given = self._dependencies
        config = given.config
        health = HealthApi(
            given.client,
            url=config.url,
            models_path=config.models_path,
            supervisor_pid=config.supervisor_pid,
            notify=given.notify,
        )
        front_page = FrontPage(given.models, config.url, config.model)
        return [
            *health.routes(),
            *front_page.routes(),
            *MetricsApi(given.client, config.supervisor_pid).routes(),
            *StateApi(given.client).routes(),
            *WorkersApi(given.client, given.notify).routes(),
            *LogLevelApi(given.notify).routes(),
        ]
