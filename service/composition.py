"""Builds a service from its settings: the configuration of each process, and the supervisor."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from cupola.cache.catalog import ExecutionProvider
from cupola.cache.disk.prepacked_entries import limit_bytes, tidy
from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from cupola.cache.system.api_keys import ApiKey
from cupola.gateway.core.config import GatewayConfig
from cupola.scheduler.protocol.endpoint import Endpoint, local_endpoint, remove, remove_abandoned
from cupola.scheduler.state.policy import SchedulerPolicy
from cupola.service import children, daemon_file, exposure
from cupola.service.listener import url
from cupola.service.output.log_file import own_log, rotate
from cupola.service.output.logs import LogOptions
from cupola.service.output.told import Told
from cupola.service.processes.child import ChildSpec
from cupola.service.processes.watchdog import Patience
from cupola.service.processes.worker_children import WorkerChildren
from cupola.service.settings.settings import Settings
from cupola.service.settings.types import listed
from cupola.service.settings.worker_options import provider_of
from cupola.service.start_models import means_one_of, pinned_ids, start_models
from cupola.service.supervisor import GaveUpError, Supervisor
from cupola.service.unix_socket import remove_dead
from cupola.service.worker_configs import (
    WorkersError,
    one_more,
    without_preload,
    worker_configs,
)
from cupola.workers.device.discovery import discover
from cupola.workers.main import WorkerConfig

# The processor finds weights faster in huge pages. ``hugetlb=1`` makes glibc ask for them, but
# rarely in the extra arenas of further threads. A worker loads its models on such a thread, so
# there is one arena only. The KV cache asks for small pages itself.
_WORKER_ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1"}


def serve(
    settings: Settings, listeners: Sequence[socket.socket], told: Told, keys: Sequence[ApiKey] = ()
) -> None:
    """Run the service until a signal or a client stops it. Raises GaveUpError.

    The first listener is the port. The others serve the same API. ``keys`` are those that are in
    no file.
    """
    check_devices(settings)
    check_telemetry(settings)
    home = Home(settings.home)
    try:
        remove_abandoned()
        endpoint = local_endpoint()
    except OSError as error:
        text = f"no folder for temporary files can be made; set TMPDIR to another place: {error}"
        raise GaveUpError(text) from None
    ModelCache(home).publish()  # other programs may have changed what is on the disk
    tidy(home, limit_bytes(home, settings.shared_weights_disk_mb), time.time())
    try:
        build_supervisor(settings, listeners, endpoint, told, keys).run()
    except WorkersError as error:
        raise GaveUpError(str(error)) from None
    finally:
        remove(endpoint)
        if settings.uds:
            remove_dead(Path(settings.uds))
        daemon_file.remove(home.daemon_file)
        exposure.remove_local_key(home)


def check_devices(settings: Settings) -> None:
    """Check that the devices can be used. This takes seconds for devices other than CPUs.

    Raises GaveUpError, because requests would wait for workers that never start.
    """
    names = tuple({str(provider_of(device)): None for device in settings.devices})
    accelerators = tuple(name for name in names if name != ExecutionProvider.CPU)
    if accelerators and settings.backend != "echo":
        for state in discover(accelerators):
            if state.problem:
                raise GaveUpError(f"no worker can run {state.name}: {state.problem}")


def check_telemetry(settings: Settings) -> None:
    """Raises GaveUpError where a collector is named and the packages for it are missing."""
    if settings.otlp_endpoint and find_spec("opentelemetry.sdk") is None:
        text = "otlp_endpoint needs further packages: pip install 'cupola[telemetry]'"
        raise GaveUpError(text)


def build_supervisor(
    settings: Settings,
    listeners: Sequence[socket.socket],
    endpoint: Endpoint,
    told: Told,
    keys: Sequence[ApiKey] = (),
) -> Supervisor:
    """The supervisor with the specification of each child. Starts nothing.

    Raises WorkersError.
    """
    home = Home(settings.home)
    listener = listeners[0]
    providers = {provider_of(device) for device in settings.devices}
    preload = start_models(settings, home, providers)
    workers = worker_configs(settings, preload, pinned_ids(settings, home))
    starting = {each.id for worker in workers for each in worker.preload}
    model = settings.model if means_one_of(settings.model, starting, home) else ""
    log = LogOptions(settings.log_level, settings.log_format)
    peer = endpoint.without_secret()
    gateway = _gateway_config(settings, peer, listener, workers, keys)

    def spec(worker: WorkerConfig) -> ChildSpec:
        return ChildSpec(
            worker.name,
            children.worker,
            (log, worker, peer),
            cautious=(log, without_preload(worker), peer),
            vital=False,
            environment=_WORKER_ENVIRONMENT,
        )

    return Supervisor(
        listeners,
        ChildSpec("scheduler", children.scheduler, (log, _policy(settings, workers), endpoint)),
        WorkerChildren(
            [(spec(worker), worker.provider) for worker in workers],
            lambda name, threads: spec(one_more(workers, name, threads)),
        ),
        [
            ChildSpec(
                f"gateway/{number}",
                children.gateway,
                (log, gateway, tuple(listeners)),
                stop_seconds=settings.grace_seconds + 5,
            )
            for number in range(settings.gateways)
        ],
        ready=lambda not_loaded: told.ready(
            url(listener, gateway.certificate),
            model,
            needs_key=gateway.keys_demanded,
            is_loaded=not (not_loaded and means_one_of(model, not_loaded, home)),
        ),
        patience=patience(settings.stall_seconds),
        each_turn=_log_keeper(home.logs),
    )


def _policy(settings: Settings, workers: Sequence[WorkerConfig]) -> SchedulerPolicy:
    return SchedulerPolicy(
        workers={worker.name: worker.provider for worker in workers},
        queue_limit=settings.queue_limit,
        queue_tokens=settings.queue_tokens,
        queue_timeout=settings.queue_timeout,
    )


def _gateway_config(
    settings: Settings,
    scheduler: Endpoint,
    listener: socket.socket,
    workers: Sequence[WorkerConfig],
    keys: Sequence[ApiKey],
) -> GatewayConfig:
    """The same for every gateway. ``listener``: the port of the service."""
    return GatewayConfig(
        scheduler=scheduler,
        home=Home(settings.home).root,
        model=settings.model,
        max_body_bytes=settings.max_body_bytes,
        max_audio_bytes=settings.max_audio_bytes,
        audio_folder=settings.audio_folder,
        permutations=settings.decision_permutations,
        grace_seconds=settings.grace_seconds,
        host=settings.host,
        port=listener.getsockname()[1],
        supervisor_pid=os.getpid(),
        providers=tuple({worker.provider: None for worker in workers}),
        context=settings.context,
        ollama_port=settings.ollama_port,
        legacy_keys=settings.legacy_keys == "yes",
        cors_origins=listed(settings.cors_origins),
        remote_hosts=listed(settings.remote_hosts),
        hosts=listed(settings.hosts),
        keys_demanded=exposure.demands_keys(settings),
        keys=tuple(keys),
        gateways=settings.gateways,
        otlp_endpoint=settings.otlp_endpoint,
        certificate=settings.tls_certificate,
        private_key=settings.tls_key or settings.tls_certificate,
        stored_responses=settings.stored_responses,
        stored_response_bytes=settings.stored_response_mb * 1024 * 1024,
        separate_tenants=settings.tenants == "keys",
    )


def _log_keeper(folder: Path) -> Callable[[], None]:
    """Keeps the log file of a service in the background small; does nothing in the foreground."""
    log = own_log(folder)

    def keep() -> None:
        if log is not None:
            with suppress(OSError):  # somebody has deleted it
                rotate(log)

    return keep


def patience(silence: float) -> Patience:
    """When a child is taken for hung. ``silence``: the seconds of the setting."""
    return Patience(silence, max(Patience().long_turn, 10 * silence))
