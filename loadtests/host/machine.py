"""This machine, as far as figures depend on it, and what would falsify them now."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path

import psutil

from cupola.workers.device import machine as devices

_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
_PACKAGES = ("cupola", "onnxruntime", "numpy")
_LOOK_SECONDS = 1.0
_BUSY_SHARE = 0.2  # of all cores


def describe() -> dict[str, str]:
    """Names and values for a report. Nothing in it names a person, a host or a folder."""
    facts = _cpu_facts(_read("/proc/cpuinfo"))
    memory = psutil.virtual_memory().total / 2**30
    return {
        "processor": facts.get("model name") or platform.processor() or platform.machine(),
        "instructions": _instructions(facts.get("flags") or facts.get("Features") or ""),
        "cores": f"{psutil.cpu_count(logical=False) or '?'} ({_usable()} usable threads)",
        "memory": f"{memory:.0f} GB",
        "virtual machine": "yes" if "hypervisor" in facts.get("flags", "") else "not known",
        "frequency governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
        or "not known",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    } | {name: _version(name) for name in _PACKAGES}


def cores() -> int:
    """The cores that this process may use."""
    return devices.cores()


def busy_share(seconds: float = _LOOK_SECONDS) -> float:
    """How much of all cores others use, from 0 to 1. Looks for so long."""
    return float(psutil.cpu_percent(seconds)) / 100


def hindrances(busy: float, power: Mapping[str, object] | None = None) -> list[str]:
    """What makes figures of this machine doubtful now, each as a sentence. Pure but for power."""
    found = []
    if busy > _BUSY_SHARE:
        found.append(
            f"Other programs use {busy:.0%} of the cores: figures are too low, and vary. "
            "End them, or trust the ratios only."
        )
    plugged = _plugged() if power is None else power.get("plugged")
    if plugged is False:
        found.append("The machine runs on battery and may be slowed down. Plug it in.")
    return found


def _plugged() -> bool | None:
    """None: there is no battery, or nobody knows."""
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return None if battery is None else battery.power_plugged


def _cpu_facts(text: str) -> dict[str, str]:
    """The first processor of Linux's list."""
    rows = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in rows}


def _instructions(flags: str) -> str:
    there = set(flags.split())
    return " ".join(name for name in _INSTRUCTIONS if name in there) or "not known"


def _usable() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
