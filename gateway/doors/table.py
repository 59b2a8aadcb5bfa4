"""The doors: adding one takes its files and a line in each of these tables."""

from __future__ import annotations

from starlette.routing import Route

from cupola.gateway.doors.anthropic_api import AnthropicApi
from cupola.gateway.doors.anthropic_errors import AnthropicErrors
from cupola.gateway.doors.dialect import Dialect
from cupola.gateway.families.directory import FamilyDirectory
from cupola.gateway.generator import Generator
from cupola.gateway.models import ModelDirectory
from cupola.gateway.scheduler_client import SchedulerClient

DIALECTS: tuple[Dialect, ...] = (AnthropicErrors(),)


def door_routes(
    generator: Generator,
    client: SchedulerClient,
    models: ModelDirectory,
    families: FamilyDirectory,
) -> list[Route]:
    return [
        *AnthropicApi(generator, client, models, families).routes(),
    ]
