"""Providers that are there, that are not, and that fail; and a model on a device.

No test here needs a device but the CPU. VitisAI stands for one that is nowhere installed.
"""

from __future__ import annotations

import sys

import onnxruntime as ort
import pytest

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.status import ProviderState
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.workers.device import discovery
from cupola.workers.device.device import Device, ProviderError
from cupola.workers.device.discovery import discover
from cupola.workers.device.provider_probe import problem
from cupola.workers.engine_options import EngineOptions
from cupola.workers.loading import load
from tests.workers.reference import DATA
from tests.workers.tiny import BUDGET, NAME

NOWHERE = ExecutionProvider.VITISAI


@pytest.mark.slow
def test_what_the_runtime_has_is_tried():
    found = {state.name: state for state in discover()}
    assert list(found) == ort.get_available_providers()
    assert found[ExecutionProvider.CPU] == ProviderState(ExecutionProvider.CPU)


def test_what_the_runtime_does_not_have_is_named():
    (state,) = discover((NOWHERE,))
    assert "does not have it, only" in state.problem
    assert "CPUExecutionProvider" in state.problem


def test_a_provider_that_leaves_the_work_to_the_cpu_does_not_work():
    if "AzureExecutionProvider" in ort.get_available_providers():  # runs nothing on this machine
        assert "computes nothing" in problem("AzureExecutionProvider")
    assert problem(ExecutionProvider.CPU) == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
        ("raise SystemExit('no driver')", "no driver"),
        ("import time; time.sleep(60)", "within 0.1 seconds"),
    ],
)
def test_a_probe_that_dies_or_hangs_is_told(code: str, words: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(discovery, "PROBE_SECONDS", 0.1 if "sleep" in code else 60.0)
    monkeypatch.setattr(discovery, "PROBE", (sys.executable, "-c", code))
    assert words in discovery.probe("CUDAExecutionProvider", ("CUDAExecutionProvider",)).problem


def test_no_session_falls_back_to_the_cpu_in_silence():
    with pytest.raises(ProviderError, match="VitisAIExecutionProvider cannot be used"):
        Device(NOWHERE).open(str(DATA / NAME / "model.onnx"), ort.SessionOptions(), "model.onnx")


def test_a_model_for_a_provider_without_ragged_attention_goes_to_onnxruntime_genai():
    model = LocalModel("m", str(DATA / NAME), NOWHERE)
    serving = load(model, EngineOptions(slots=1, step_tokens=BUDGET)).serving
    assert serving.engine == "onnxruntime-genai"
    assert "VitisAIExecutionProvider" in serving.why
