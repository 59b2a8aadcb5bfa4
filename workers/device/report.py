"""``python -m cupola.workers.device.report``: what this machine can run models on, as JSON.

All execution providers that the field has are listed: those that work, and why the others do not.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterable, Sequence

import msgspec

from cupola.cache.catalog import ExecutionProvider
from cupola.cache.system.instruction_sets import instruction_sets
from cupola.cache.system.machine_memory import memory_bytes
from cupola.cache.system.processor import processor
from cupola.scheduler.protocol.status import ProviderState
from cupola.workers.device.discovery import discover, package_of
from cupola.workers.device.machine import cores

CORE_ML = "CoreMLExecutionProvider"  # of Apple's devices; no worker can run it
KNOWN = (*map(str, ExecutionProvider), CORE_ML)
_NVIDIA = {str(ExecutionProvider.CUDA), str(ExecutionProvider.TENSORRT_RTX)}
_NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
_SMI_SECONDS = 20.0


class Hardware(msgspec.Struct, frozen=True, omit_defaults=True):
    """A device. 0 or empty: it is not known."""

    name: str
    memory_bytes: int = 0
    cores: int = 0  # that a worker may use
    instruction_sets: tuple[str, ...] = ()


class ProviderReport(msgspec.Struct, frozen=True):
    """``workers``: how the setting names the provider; empty: no worker can run it.

    ``package``: what would bring it, in words.
    """

    provider: str
    workers: str
    works: bool
    problem: str
    package: str
    devices: tuple[Hardware, ...]


def report() -> tuple[ProviderReport, ...]:
    """Every provider. Those that are installed are tried, which takes seconds."""
    gpus = _nvidia_devices()
    return tuple(_entry(state, gpus) for state in discover(KNOWN))


def _entry(state: ProviderState, gpus: Sequence[Hardware]) -> ProviderReport:
    known = {str(provider): provider.name.lower() for provider in ExecutionProvider}
    devices: Iterable[Hardware] = ()
    if state.name == ExecutionProvider.CPU:
        name = processor_name(processor())
        devices = [Hardware(name, memory_bytes(), cores(), instruction_sets())]
    elif state.name in _NVIDIA:
        devices = gpus
    workers = known.get(state.name, "")
    works = not state.problem and bool(workers)
    package = "" if works else package_of(state.name)
    problem = state.problem.removesuffix(f"; {package}")
    if not workers:
        problem = "; ".join(filter(None, (problem, "no worker can run it")))
    return ProviderReport(state.name, workers, works, problem, package, tuple(devices))


def processor_name(text: str) -> str:
    """What people call the processor that has this description."""
    fields = (line.partition(":") for line in text.splitlines())
    names = (value.strip() for name, _, value in fields if name.strip() == "model name")
    return next(names, "") or platform.processor() or platform.machine()


def _nvidia_devices() -> list[Hardware]:
    """The GPUs that NVIDIA's driver knows, whether or not the runtime can use them."""
    if shutil.which(_NVIDIA_SMI[0]) is None:
        return []
    try:
        done = subprocess.run(
            _NVIDIA_SMI, capture_output=True, text=True, timeout=_SMI_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return nvidia_devices(done.stdout)


def nvidia_devices(listing: str) -> list[Hardware]:
    """The GPUs in lines such as "NVIDIA H100 80GB HBM3, 81559"; the memory is in MiB."""
    found = []
    for line in listing.splitlines():
        name, _, mebibytes = line.rpartition(",")
        if name and mebibytes.strip().isdecimal():
            found.append(Hardware(name.strip(), int(mebibytes) * 2**20))
    return found


if __name__ == "__main__":
    print(msgspec.json.encode(report()).decode())
