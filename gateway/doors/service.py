"""What a door is made of: all that it may use of the service behind it."""

from __future__ import annotations

from dataclasses import dataclass

from cupola.cache.store import ModelCache
from cupola.gateway.embeddings import Embedder
from cupola.gateway.families.directory import FamilyDirectory
from cupola.gateway.foundry_jobs import Downloads
from cupola.gateway.generator import Generator
from cupola.gateway.models import ModelDirectory
from cupola.gateway.scheduler_client import SchedulerClient


@dataclass(frozen=True, slots=True)
class Service:
    generator: Generator
    client: SchedulerClient
    models: ModelDirectory
    families: FamilyDirectory
    embedder: Embedder
    cache: ModelCache
    downloads: Downloads
