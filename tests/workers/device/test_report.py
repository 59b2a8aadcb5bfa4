"""What ``cupola devices`` is told of the machine."""

from __future__ import annotations

import platform

import pytest

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.status import ProviderState
from cupola.workers.device import report
from cupola.workers.device.discovery import missing
from cupola.workers.device.report import (
    CORE_ML,
    KNOWN,
    Hardware,
    nvidia_devices,
    processor_name,
)


def test_every_provider_is_told_and_what_would_bring_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_but_the_cpu(names: tuple[str, ...]) -> list[ProviderState]:
        installed = ["CPUExecutionProvider"]
        return [ProviderState(n, "" if n in installed else missing(n, installed)) for n in names]

    monkeypatch.setattr(report, "discover", none_but_the_cpu)
    found = {entry.provider: entry for entry in report.report()}
    assert set(found) == {*map(str, ExecutionProvider), CORE_ML} == set(KNOWN)
    cpu = found.pop("CPUExecutionProvider")
    assert (cpu.works, cpu.problem, cpu.package, cpu.workers) == (True, "", "", "cpu")
    (machine,) = cpu.devices
    assert machine.name and machine.cores > 0 and machine.memory_bytes > 2**28
    for entry in found.values():
        assert not entry.works
        assert "does not have it" in entry.problem
        assert entry.package and entry.package not in entry.problem
    assert "onnxruntime-gpu" in found["CUDAExecutionProvider"].package
    assert found[CORE_ML].workers == ""


def test_a_provider_that_is_there_and_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    states = [ProviderState("CUDAExecutionProvider", "no driver"), ProviderState(CORE_ML, "")]
    monkeypatch.setattr(report, "discover", lambda names: states)
    cuda, core_ml = report.report()
    assert (cuda.works, cuda.problem) == (False, "no driver")
    assert (core_ml.works, core_ml.problem) == (False, "no worker can run it")


def test_what_the_driver_lists() -> None:
    assert nvidia_devices("NVIDIA H100, 80GB, 81559\nbroken\n,\nB, [N/A]\n") == [
        Hardware("NVIDIA H100, 80GB", 81559 * 2**20)
    ]


def test_the_processor() -> None:
    assert processor_name("model : 1\nmodel name\t: A Fast One\nmodel name : x") == "A Fast One"
    assert processor_name("") == (platform.processor() or platform.machine())
