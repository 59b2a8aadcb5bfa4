"""Which execution providers the installed runtime has, and what is wrong with those that fail.

That a provider is listed says only that the runtime was built with it. So each is tried, in a
process of its own, and the runtime is imported there only.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.messages import ProviderState

_SECONDS = 60.0  # a driver that is asked for the first time may compile for long
_PROBE = (sys.executable, "-m", "cupola.workers.device.provider_probe")
# What pip installs for a provider that the runtime of the default install does not have.
_PACKAGES = {
    ExecutionProvider.CUDA: "onnxruntime-gpu",
    ExecutionProvider.DML: "onnxruntime-directml",
    ExecutionProvider.OPENVINO: "onnxruntime-openvino",
    ExecutionProvider.QNN: "onnxruntime-qnn",
}


def discover(names: tuple[str, ...] = ()) -> tuple[ProviderState, ...]:
    """Try the providers; none: all that the runtime has. Takes seconds."""
    listed, failure = _ask()
    installed = tuple(listed.split())
    if failure:
        return tuple(ProviderState(name, failure) for name in names)
    return tuple(_try(name, installed) for name in names or installed)


def missing(name: str, installed: Iterable[str]) -> str:
    """What to tell when the runtime does not have a provider."""
    text = f"the installed onnxruntime does not have it, only {', '.join(installed)}"
    package = {str(provider): each for provider, each in _PACKAGES.items()}.get(name)
    return f"{text}; {package} in place of the package onnxruntime has it" if package else text


def _try(name: str, installed: tuple[str, ...]) -> ProviderState:
    if name not in installed:
        return ProviderState(name, missing(name, installed))
    said, failure = _ask(name)
    return ProviderState(name, failure or said.strip())


def _ask(*arguments: str) -> tuple[str, str]:
    """What the probe says, and what became of it if it said nothing."""
    try:
        done = subprocess.run(
            [*_PROBE, *arguments], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return "", f"it did not start within {_SECONDS:g} seconds"
    if done.returncode < 0:
        return "", f"it killed the process that tried it, with signal {-done.returncode}"
    if done.returncode:
        return "", (done.stderr.strip().splitlines() or ["the attempt failed"])[-1]
    return done.stdout, ""
