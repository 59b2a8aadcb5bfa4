from __future__ import annotations

import pytest

from cupola.cache.catalog import DeviceType, ExecutionProvider, ModelVariant
from cupola.client.commands.common.filters import Device, Kind, matching, narrowed
from cupola.client.errors import ClientError


def variant(name: str, task: str = "chat-completion", gpu: bool = False) -> ModelVariant:
    return ModelVariant(
        id=f"{name}-generic-{'gpu' if gpu else 'cpu'}:1",
        alias=name,
        display_name=name,
        publisher="someone",
        license="MIT",
        provider=ExecutionProvider.CUDA if gpu else ExecutionProvider.CPU,
        device=DeviceType.GPU if gpu else DeviceType.CPU,
        task=task,
    )


QWEN, QWEN_GPU = variant("qwen2.5"), variant("qwen2.5", gpu=True)
WHISPER = variant("whisper", "automatic-speech-recognition")
ALL = [QWEN, QWEN_GPU, WHISPER]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("device=GPU", [QWEN_GPU]),
        ("device=!gpu", [QWEN, WHISPER]),
        ("Alias=QWEN*", [QWEN, QWEN_GPU]),
        ("alias=!qwen*", [WHISPER]),
        ("task=chat", [QWEN, QWEN_GPU]),
        ("task=chat-completion", [QWEN, QWEN_GPU]),
        ("task=!chat", [WHISPER]),
        ("provider=CUDAExecutionProvider", [QWEN_GPU]),
        ("provider=cuda", [QWEN_GPU]),
        ("alias=nothing", []),
    ],
)
def test_a_filter(text: str, found: list[ModelVariant]) -> None:
    assert matching(ALL, text) == found


@pytest.mark.parametrize("text", ["", "device", "size=3", "device=", "device=!", "=GPU"])
def test_what_is_no_filter(text: str) -> None:
    with pytest.raises(ClientError, match="is not a filter") as refused:
        matching(ALL, text)
    assert "device, task, provider, alias" in refused.value.hint


def test_options() -> None:
    assert narrowed(ALL, Device.GPU, None, None, None) == [QWEN_GPU]
    assert narrowed(ALL, None, Kind.SPEECH, None, None) == [WHISPER]
    assert narrowed(ALL, None, None, "WEN2", 1) == [QWEN]
    assert narrowed(ALL, None, None, None, None) == ALL
