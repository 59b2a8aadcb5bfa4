"""The first function of each child process. It imports inside what only that child needs."""

from __future__ import annotations

import logging
import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from cupola.scheduler.protocol.commands import Commands
from cupola.scheduler.protocol.lifeline import Lifeline

if TYPE_CHECKING:
    from cupola.gateway.core.config import GatewayConfig
    from cupola.scheduler.protocol.endpoint import Endpoint
    from cupola.scheduler.state.policy import SchedulerPolicy
    from cupola.service.output.logs import LogOptions
    from cupola.workers.main import WorkerConfig


def scheduler(
    lifeline: socket.socket, log: LogOptions, policy: SchedulerPolicy, endpoint: Endpoint
) -> None:
    commands = _begin(lifeline, log, "scheduler")
    from cupola.scheduler.broker import run

    run(policy, endpoint, commands)


def worker(
    lifeline: socket.socket, log: LogOptions, config: WorkerConfig, endpoint: Endpoint
) -> None:
    commands = _begin(lifeline, log, f"worker {config.name}")
    from cupola.workers.main import run

    run(config, endpoint, commands)
    _end()


def gateway(
    lifeline: socket.socket,
    log: LogOptions,
    config: GatewayConfig,
    listeners: tuple[socket.socket, ...],
) -> None:
    _prepare(log, "gateway")
    from cupola.gateway.main import run
    from cupola.workers.device.discovery import discover

    run(config, listeners, Lifeline(lifeline), discover)


def _end() -> NoReturn:
    """End the process, which has said goodbye, without the threads that are still at work.

    They load models and build sessions, which takes seconds and cannot be interrupted. The end of
    the interpreter would unwind them inside onnxruntime's code, which then aborts the process.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(0)


def _begin(lifeline: socket.socket, log: LogOptions, who: str) -> Commands:
    _prepare(log, who)
    return Lifeline(lifeline).watch()


def _prepare(log: LogOptions, who: str) -> None:
    from cupola.service.output.logs import configure
    from cupola.workers.device.machine import leave_signals_to_supervisor

    leave_signals_to_supervisor()
    configure(log, who)
