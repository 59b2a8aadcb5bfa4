"""What each worker process is told: its engine's options, its models, its share of the machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import replace
from itertools import pairwise

from cupola.cache.catalog import ExecutionProvider, UnknownModelError
from cupola.cache.home import Home
from cupola.scheduler.protocol.pool import device_of
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.service.settings.settings import Settings
from cupola.service.settings.types import AUTO
from cupola.service.settings.worker_tables import WorkerTable, bytes_of, cpus_of, cpus_text
from cupola.service.start_models import named_models
from cupola.workers.device.machine import available_bytes, cores, processors
from cupola.workers.engine_options import EngineOptions, block_bytes, prefix_bytes
from cupola.workers.main import WorkerConfig

_PROVIDERS = {provider.name.lower(): provider for provider in ExecutionProvider}


class WorkersError(ValueError):
    """A table [[workers]] wants what this machine does not have. The text names the field."""


def provider_of(device: str) -> ExecutionProvider:
    """The provider of a device as the settings name it, e.g. "cuda:0"."""
    return _PROVIDERS[device.partition(":")[0]]


def worker_configs(
    settings: Settings,
    preload: Sequence[LocalModel],
    pinned: frozenset[str],
    usable: Set[int] | None = None,
) -> list[WorkerConfig]:
    """One for each worker in the settings. Workers of one device are numbered.

    ``preload`` and ``pinned`` (ids) are the models to load at the start and those to keep. A table
    that names its models has these instead. ``usable``: the numbers of the processors that workers
    may have; None: those that this process has. Raises WorkersError.
    """
    usable = processors() if usable is None else usable
    shares = _Shares(settings)
    on_device: Counter[str] = Counter()
    configs = []
    for number, table in enumerate(settings.worker_tables, 1):
        provider = provider_of(table.device)
        models, only = tuple(m for m in preload if m.provider is provider), frozenset[str]()
        if table.models:
            try:
                models, only = named_models(table.models, Home(settings.home), provider)
            except UnknownModelError as error:
                raise WorkersError(f"[[workers]] table {number}: models: {error}") from None
        if usable and not usable >= set(cpus_of(table.cpus)):
            text = f"cpus = '{table.cpus}': there are the processors {cpus_text(usable)}"
            raise WorkersError(f"[[workers]] table {number}: {text}")
        for cpus in divided(cpus_of(table.cpus), table.count):
            name = f"{table.device}/{on_device[table.device]}"
            on_device[table.device] += 1
            configs.append(
                WorkerConfig(
                    name,
                    provider,
                    _engine(settings, table, shares, cpus),
                    settings.model_ttl,
                    models,
                    pinned,
                    home=Home(settings.home),
                    cpus=cpus,
                    memory_bytes=bytes_of(table.memory),
                    only=only,
                )
            )
    return configs


def divided(cpus: tuple[int, ...], workers: int) -> list[tuple[int, ...]]:
    """The processors of each of so many workers: its own, or all if there are too few."""
    if len(cpus) < workers:
        return [cpus] * workers
    ends = [len(cpus) * number // workers for number in range(workers + 1)]
    return [cpus[begin:end] for begin, end in pairwise(ends)]


class _Shares:
    """What a worker has whose table does not say it: the rest, divided among all such workers."""

    def __init__(self, settings: Settings) -> None:
        tables = settings.worker_tables
        own = sum(t.count * (t.threads or len(cpus_of(t.cpus)) // t.count) for t in tables)
        others = sum(t.count for t in tables if not t.threads and not t.cpus)
        self.threads = max(1, ((settings.threads or cores()) - own) // max(1, others))
        free = available_bytes()
        sized = sum(t.count * bytes_of(t.memory) for t in tables)
        unsized = sum(t.count for t in tables if not t.memory)
        self.memory = max(0, free - sized) // max(1, unsized)


def _engine(
    settings: Settings, table: WorkerTable, shares: _Shares, cpus: tuple[int, ...]
) -> EngineOptions:
    int8_cache = settings.kv_cache == "int8"  # it needs two sessions, which map the same weights
    maps_weights = settings.shared_weights != "no" or int8_cache
    on_cpu = provider_of(table.device) is ExecutionProvider.CPU
    free = bytes_of(table.memory) or shares.memory
    slots = 0 if settings.slots == AUTO else int(settings.slots)
    return EngineOptions(
        backend=settings.backend,
        slots=table.max_slots or slots,
        spare_slots=settings.spare_slots,
        step_tokens=settings.step_tokens,
        itl_seconds=settings.itl_ms / 1000,
        kv_bytes=settings.kv_memory_mb * 1024 * 1024 or free // 2,
        prefix_bytes=prefix_bytes(settings.prefix_cache_mb, free),
        prefix_folder=Home(settings.home).prefixes if settings.prefix_disk_mb else None,
        prefix_disk_bytes=settings.prefix_disk_mb * 1024 * 1024,
        context=settings.context,
        threads=table.threads or len(cpus) or shares.threads,
        device=int(table.device.partition(":")[2]),
        provider_options=tuple(sorted(table.provider_options.items())),
        home=Home(settings.home) if maps_weights and on_cpu else None,
        shared_disk_mb=settings.shared_weights_disk_mb,
        shares=shares_weights(settings) and on_cpu,
        block_bytes=block_bytes(settings.block_weights_mb, free),
        lane_bytes=settings.lane_weights_mb * 1024 * 1024,
        int8_cache=int8_cache,
        reproducible=settings.reproducible,
        warm_up=settings.warm_up == "yes",
        recording_parts=settings.recording_parts,
    )


def one_more(workers: Sequence[WorkerConfig], name: str, threads: int = 0) -> WorkerConfig:
    """A further worker while the service runs, like the first of its device.

    ``threads``: 0: as many. Its cache gets no more than a part of what memory is free now.
    """
    like = next(worker for worker in workers if device_of(worker.name) == device_of(name))
    free = available_bytes() // 2
    engine = replace(
        like.engine,
        threads=threads or like.engine.threads,
        kv_bytes=min(like.engine.kv_bytes, free // 2),
        prefix_bytes=min(like.engine.prefix_bytes, free // 4),
        shares=like.engine.shares or like.engine.home is not None,
    )
    return replace(like, name=name, engine=engine)


def without_preload(worker: WorkerConfig) -> WorkerConfig:
    """The worker for the time after the load at its start has ended it again and again."""
    fatal = tuple(model.id for model in worker.preload[:1])
    return replace(worker, preload=(), fatal=fatal)


def shares_weights(settings: Settings) -> bool:
    """Whether workers on CPUs map one copy of a model's weights."""
    if settings.shared_weights == "auto":
        return [*map(provider_of, settings.devices)].count(ExecutionProvider.CPU) > 1
    return settings.shared_weights == "yes"
