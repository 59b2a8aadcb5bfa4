"""What the engine of a worker is told: the settings, and the worker's share of the machine."""

from __future__ import annotations

from cupola.cache.catalog import ExecutionProvider
from cupola.cache.home import Home
from cupola.service.settings.settings import Settings
from cupola.service.settings.types import AUTO
from cupola.service.settings.worker_tables import WorkerTable, bytes_of, cpus_of
from cupola.workers.device.machine import available_bytes, cores
from cupola.workers.engine_options import EngineOptions, block_bytes, prefix_bytes

_PROVIDERS = {provider.name.lower(): provider for provider in ExecutionProvider}


def provider_of(device: str) -> ExecutionProvider:
    """The provider of a device as the settings name it, e.g. "cuda:0"."""
    return _PROVIDERS[device.partition(":")[0]]


class Shares:
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


def engine_options(
    settings: Settings, table: WorkerTable, shares: Shares, cpus: tuple[int, ...] = ()
) -> EngineOptions:
    """Of a worker of a table, which has these processors; none: any."""
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


def only_worker(settings: Settings) -> EngineOptions:
    """Of the worker of a service that has no other, on the CPU."""
    settings = settings.model_copy(update={"workers": "cpu:0"})
    (table,) = settings.worker_tables
    return engine_options(settings, table, Shares(settings))


def shares_weights(settings: Settings) -> bool:
    """Whether workers on CPUs map one copy of a model's weights."""
    if settings.shared_weights == "auto":
        return [*map(provider_of, settings.devices)].count(ExecutionProvider.CPU) > 1
    return settings.shared_weights == "yes"
