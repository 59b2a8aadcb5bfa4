"""Which execution providers the installed runtime has, and why some of them do not work.

A provider is listed if the runtime was built with it, which does not mean that it works. So each
provider is tried in a process of its own. Only that process imports the runtime.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.status import ProviderState

PROBE_SECONDS = 60.0  # a driver that is used for the first time may compile for long
PROBE = (sys.executable, "-m", "cupola.workers.device.provider_probe")
# What has the providers that the runtime of the default install does not have.
_PACKAGES = {
    ExecutionProvider.CUDA: "onnxruntime-gpu in place of the package onnxruntime has it",
    ExecutionProvider.DML: "onnxruntime-directml in place of the package onnxruntime has it",
    ExecutionProvider.OPENVINO: "onnxruntime-openvino in place of the package onnxruntime has it",
    ExecutionProvider.QNN: "onnxruntime-qnn in place of the package onnxruntime has it",
    ExecutionProvider.TENSORRT_RTX: "onnxruntime-ep-nv-tensorrt-rtx has it as a plug-in, which "
    "workers do not load",
    ExecutionProvider.WEBGPU: "onnxruntime-ep-webgpu has it as a plug-in, which workers do not "
    "load",
    ExecutionProvider.VITISAI: "AMD's Ryzen AI software has a runtime with it",
    "CoreMLExecutionProvider": "onnxruntime for macOS has it",
}


def discover(names: tuple[str, ...] = ()) -> tuple[ProviderState, ...]:
    """Try the providers, or all that the runtime has if no names are given. It takes seconds."""
    listed, failure = _run_probe()
    installed = tuple(listed.split())
    if failure:
        return tuple(ProviderState(name, failure) for name in names)
    return tuple(probe(name, installed) for name in names or installed)


def missing(name: str, installed: Iterable[str]) -> str:
    """The error for a provider that the runtime does not have."""
    text = f"the installed onnxruntime does not have it, only {', '.join(installed)}"
    return "; ".join(filter(None, (text, package_of(name))))


def package_of(name: str) -> str:
    """What would bring a provider; empty: that is not known."""
    return {str(provider): package for provider, package in _PACKAGES.items()}.get(name, "")


def probe(name: str, installed: tuple[str, ...]) -> ProviderState:
    """Try one provider."""
    if name not in installed:
        return ProviderState(name, missing(name, installed))
    output, failure = _run_probe(name)
    return ProviderState(name, failure or output.strip())


def _run_probe(*arguments: str) -> tuple[str, str]:
    """The output of the probe, and why it failed if it did."""
    try:
        done = subprocess.run(
            [*PROBE, *arguments], capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return "", f"it did not start within {PROBE_SECONDS:g} seconds"
    if done.returncode < 0:
        return "", f"it killed the process that tried it, with signal {-done.returncode}"
    if done.returncode:
        return "", (done.stderr.strip().splitlines() or ["the attempt failed"])[-1]
    return done.stdout, ""
