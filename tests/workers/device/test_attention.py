"""The attention of a session: the runtime reads it from a variable of the process."""

from __future__ import annotations

import os
import threading

import onnxruntime as ort
import pytest

from cupola.workers.device.device import CPU, Device
from tests.workers.reference import DATA
from tests.workers.tiny import NAME

UNTILED = "ORT_GQA_DISABLE_FLASH_ATTENTION"


def test_sessions_that_start_at_once_have_the_attention_that_they_want(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The runtime reads a variable of the process when a session starts."""
    monkeypatch.setenv(UNTILED, "as it was")
    path = str(DATA / NAME / "model.onnx")
    seen: list[tuple[str, str, str]] = []
    start = Device._start

    def noted(
        device: Device, model: bytes | str, options: ort.SessionOptions
    ) -> ort.InferenceSession:
        before = os.environ[UNTILED]
        session = start(device, model, options)
        seen.append((threading.current_thread().name, before, os.environ[UNTILED]))
        return session

    monkeypatch.setattr(Device, "_start", noted)
    threads = [
        threading.Thread(
            target=CPU.open,
            args=(path, ort.SessionOptions(), path),
            kwargs={"tiled": tiled},
            name="tiled" if tiled else "untiled",
        )
        for tiled in [True, False] * 4
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == 4 * [("tiled", "0", "0")] + 4 * [("untiled", "1", "1")]
    assert os.environ[UNTILED] == "as it was"
