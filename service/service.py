"""Builds a service out of settings: what each process is told, and what the operator sees."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from cupola.cache.catalog import ExecutionProvider, UnknownModelError
from cupola.cache.errors import NotCachedError
from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from cupola.gateway.core.config import GatewayConfig
from cupola.scheduler.core import SchedulerPolicy
from cupola.scheduler.protocol.endpoint import Endpoint, local_endpoint, remove
from cupola.scheduler.protocol.messages import LocalModel
from cupola.service import children, daemon_file
from cupola.service.child import ChildSpec
from cupola.service.listener import url
from cupola.service.settings import Settings, listed
from cupola.service.supervisor import GaveUpError, Supervisor
from cupola.service.unix_socket import remove_dead
from cupola.workers.device.discovery import discover
from cupola.workers.device.machine import available_bytes, cores
from cupola.workers.loading import EngineOptions
from cupola.workers.main import WorkerConfig

logger = logging.getLogger(__name__)

# Weights that lie in huge pages are found sooner by the processor. glibc asks for them where the
# system leaves that to the programs, but hardly in the arenas that it makes for further threads,
# and models are loaded on one. The K/V cache wants small pages, and says so.
_HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1"}

_PROVIDERS = {provider.name.lower(): provider for provider in ExecutionProvider}


def serve(settings: Settings, listeners: Sequence[socket.socket]) -> None:
    """Run the service until it is told to stop. Raises GaveUpError.

    The first of the listeners is the port; the others lead to the same service.
    """
    check_devices(settings)
    home = Home(settings.home)
    endpoint = local_endpoint()
    try:
        supervisor(settings, listeners, endpoint).run()
    finally:
        remove(endpoint)
        if settings.uds:
            remove_dead(Path(settings.uds))
        daemon_file.remove(home.daemon_file)


def check_devices(settings: Settings) -> None:
    """See that the devices can be used, which takes seconds for others than CPUs.

    Raises GaveUpError: workers that cannot start would let their requests wait.
    """
    names = tuple({str(provider_of(device)): None for device in settings.devices})
    others = tuple(name for name in names if name != ExecutionProvider.CPU)
    if others and settings.backend != "echo":
        for state in discover(others):
            if state.problem:
                raise GaveUpError(f"no worker can run {state.name}: {state.problem}")


def provider_of(device: str) -> ExecutionProvider:
    """Of a device as the settings name it, e.g. "cuda:0"."""
    return _PROVIDERS[device.partition(":")[0]]


def supervisor(
    settings: Settings, listeners: Sequence[socket.socket], endpoint: Endpoint
) -> Supervisor:
    home = Home(settings.home)
    listener = listeners[0]
    workers = worker_configs(settings, first_models(settings, home), pinned_ids(settings, home))
    policy = SchedulerPolicy(
        workers={worker.name: worker.provider for worker in workers},
        queue_limit=settings.queue_limit,
        queue_timeout=settings.queue_timeout,
    )
    level = settings.log_level
    peer = endpoint.without_secret()
    gateway = GatewayConfig(
        scheduler=peer,
        home=home.root,
        model=settings.model,
        max_body_bytes=settings.max_body_bytes,
        grace_seconds=settings.grace_seconds,
        log_level=level,
        host=settings.host,
        port=listener.getsockname()[1],
        supervisor_pid=os.getpid(),
        providers=tuple({worker.provider: None for worker in workers}),
        ollama_port=settings.ollama_port,
        legacy_keys=settings.legacy_keys == "yes",
        cors_origins=listed(settings.cors_origins),
        remote_hosts=listed(settings.remote_hosts),
        stored_responses=settings.stored_responses,
        separate_tenants=settings.tenants == "keys",
    )
    return Supervisor(
        listeners,
        ChildSpec("scheduler", children.scheduler, (level, policy, endpoint)),
        [
            ChildSpec(
                w.name, children.worker, (level, w, peer), vital=False, environment=_HUGE_PAGES
            )
            for w in workers
        ],
        [
            ChildSpec(
                f"gateway/{number}",
                children.gateway,
                (level, gateway, tuple(listeners)),
                stop_seconds=settings.grace_seconds + 5,
            )
            for number in range(settings.gateways)
        ],
        ready=lambda: announce(url(listener), settings.model),
    )


def worker_configs(
    settings: Settings, preload: Sequence[LocalModel], pinned: frozenset[str]
) -> list[WorkerConfig]:
    """One for each device named; workers of one device are numbered and share its threads."""
    devices = settings.devices
    threads = max(1, (settings.threads or cores()) // len(devices))
    int8_cache = settings.kv_cache == "int8"  # two sessions over one cache, which share weights
    mapping = settings.shared_weights != "no" or int8_cache
    engine = EngineOptions(
        backend=settings.backend,
        slots=settings.slots,
        step_tokens=settings.step_tokens,
        itl_seconds=settings.itl_ms / 1000,
        kv_bytes=settings.kv_memory_mb * 1024 * 1024 or available_bytes() // (2 * len(devices)),
        context=settings.context,
        threads=threads,
        home=Home(settings.home) if mapping else None,
        shares=shares_weights(settings),
        block_bytes=settings.block_weights_mb * 1024 * 1024,
        lane_bytes=settings.lane_weights_mb * 1024 * 1024,
        int8_cache=int8_cache,
    )
    seen: Counter[str] = Counter()
    configs = []
    for device in devices:
        provider = provider_of(device)
        wanted = tuple(model for model in preload if model.provider is provider)
        name = f"{device}/{seen[device]}"
        seen[device] += 1
        own = replace(engine, device=int(device.partition(":")[2]))
        if provider is not ExecutionProvider.CPU:
            own = replace(own, home=None, shares=False)
        configs.append(WorkerConfig(name, provider, own, settings.model_ttl, wanted, pinned))
    return configs


def shares_weights(settings: Settings) -> bool:
    """Whether workers on CPUs map one copy of a model's weights."""
    if settings.shared_weights == "auto":
        return [*map(provider_of, settings.devices)].count(ExecutionProvider.CPU) > 1
    return settings.shared_weights == "yes"


def first_models(settings: Settings, home: Home) -> list[LocalModel]:
    """The models to load at the start, those of them that are on the disk; no two the same."""
    names = [settings.model, *listed(settings.preload), *listed(settings.pinned)]
    providers = {provider_of(device) for device in settings.devices}
    found = [default_model(name, home, providers) for name in names]
    return list({model.id: model for model in found if model is not None}.values())


def pinned_ids(settings: Settings, home: Home) -> frozenset[str]:
    """The ids of what the operator pins, also of models that are not on this disk yet."""
    ids: set[str] = set()
    names = listed(settings.pinned)
    if not names:
        return frozenset()
    catalog = ModelCache(home).catalog()
    for name in names:
        try:
            ids |= {variant.id for variant in catalog.find(name)}
        except UnknownModelError as error:
            logger.warning("cannot pin a model: %s", error)
    return frozenset(ids)


def default_model(
    name: str, home: Home, providers: Collection[ExecutionProvider]
) -> LocalModel | None:
    """The model to load at the start, if it is on the disk."""
    if not name:
        return None
    try:
        cached = ModelCache(home, providers).find(name)
    except NotCachedError:
        logger.warning("'%s' is not on this disk; run: cupola model download %s", name, name)
        return None
    except UnknownModelError as error:
        logger.warning("%s", error)
        return None
    return LocalModel(cached.variant.id, str(cached.path), cached.variant.provider)


def announce(address: str, model: str) -> None:
    """Tell the person who started the service that it can be used, and how."""
    model = model or "MODEL"
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'
    print(
        f"\nCupola is ready on {address} with {model}. Try:\n\n"
        f"  curl {address}/v1/chat/completions -H 'Content-Type: application/json' \\\n"
        f"    -d '{body}'\n\nCtrl+C stops it.\n",
        file=sys.stdout,
        flush=True,
    )
