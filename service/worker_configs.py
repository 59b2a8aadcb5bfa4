"""What each worker process is told: its engine's options, its models, its processors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import replace
from itertools import pairwise

from cupola.cache.catalog import UnknownModelError
from cupola.cache.home import Home
from cupola.scheduler.protocol.pool import device_of
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.service.settings.settings import Settings
from cupola.service.settings.worker_options import Shares, engine_options, provider_of
from cupola.service.settings.worker_tables import bytes_of, cpus_of, cpus_text
from cupola.service.start_models import named_models
from cupola.workers.device.machine import available_bytes, processors
from cupola.workers.main import WorkerConfig


class WorkersError(ValueError):
    """A table [[workers]] wants what this machine does not have. The text names the field."""


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
    shares = Shares(settings)
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
                    engine_options(settings, table, shares, cpus),
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
