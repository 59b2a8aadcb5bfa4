"""The attention of a session: the runtime reads it from a variable of the process."""

from __future__ import annotations

import os
import threading
from typing import Any

import onnxruntime as ort
import pytest

from cupola.workers.device.device import CPU, Device
from tests.workers.reference import DATA
from tests.workers.tiny import NAME

UNTILED = "ORT_GQA_DISABLE_FLASH_ATTENTION"


def test_sessions_of_the_same_kind_do_not_wait_for_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    session = ort.InferenceSession

    def start_late(*args: Any, **kwargs: Any) -> Any:
        if threading.current_thread().name == "slow":
            begun.set()
            assert may_end.wait(60)
        return session(*args, **kwargs)

    monkeypatch.setattr(ort, "InferenceSession", start_late)
    monkeypatch.delenv(UNTILED, raising=False)
    path = str(DATA / NAME / "model.onnx")

    def start(name: str, *, tiled: bool = True) -> threading.Thread:
        options = ort.SessionOptions()
        thread = threading.Thread(
            target=CPU.open, args=(path, options, path), kwargs={"tiled": tiled}, name=name
        )
        thread.start()
        return thread

    slow = start("slow")
    assert begun.wait(60)
    quick = start("quick")
    quick.join(60)
    assert slow.is_alive() and not quick.is_alive()
    other = start("of the other kind", tiled=False)
    other.join(0.2)
    assert other.is_alive()
    assert os.environ[UNTILED] == "0"
    may_end.set()
    slow.join()
    other.join()
    assert UNTILED not in os.environ


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
