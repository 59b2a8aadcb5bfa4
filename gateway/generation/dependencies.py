"""What a door is made of: all that it may use of the service behind it."""

from __future__ import annotations

from dataclasses import dataclass

from cupola.cache.store import ModelCache
from cupola.gateway.core.downloads import Downloads
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.generation.embedder import Embedder
from cupola.gateway.generation.generator import Generator
from cupola.gateway.generation.model_directory import ModelDirectory
from cupola.gateway.toolcalls.directory import FamilyDirectory


@dataclass(frozen=True, slots=True)
class ApiDependencies:
    generator: Generator
    client: SchedulerClient
    models: ModelDirectory
    families: FamilyDirectory
    embedder: Embedder
    cache: ModelCache
    downloads: Downloads
