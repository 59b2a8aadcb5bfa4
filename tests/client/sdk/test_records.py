"""Which model a name means to the SDK, and what a download's report says."""

from __future__ import annotations

from typing import Any

import pytest

from cupola.client import DeviceType, DownloadError
from cupola.client.sdk.download_stream import DownloadStream
from cupola.client.sdk.records import FoundryModelInfo, catalog_of, select


def entry(name: str, alias: str = "tiny", **changes: Any) -> dict[str, Any]:
    device = "GPU" if "-gpu:" in name else "CPU"
    provider = changes.pop("provider", f"{'WebGpu' if device == 'GPU' else 'CPU'}ExecutionProvider")
    return {
        "name": name,
        "alias": alias,
        "version": name.rpartition(":")[2],
        "runtime": {"deviceType": device, "executionProvider": provider},
        "uri": "azureml://registries/x",
        "fileSizeMb": 10,
        "supportsToolCalling": False,
        "promptTemplate": {"prompt": "{Content}"},
        "providerType": "AzureFoundry",
        "publisher": "someone",
        "license": "MIT",
        "task": "chat-completion",
        "maxOutputTokens": 100,
    } | changes


MODELS = catalog_of(
    [
        entry("Tiny-generic-gpu:2"),
        entry("Tiny-generic-gpu:10"),
        entry("Tiny-generic-cpu:3"),
        entry("other-generic-cpu:1", alias="other"),
    ]
)


def chosen(key: str, *arguments: Any) -> str | None:
    model = select(MODELS, key, *arguments)
    return model.id if model else None


def test_an_id_in_any_case() -> None:
    assert chosen("tiny-GENERIC-cpu:3") == "Tiny-generic-cpu:3"


def test_an_id_without_its_version_is_the_newest() -> None:
    assert chosen("tiny-generic-gpu") == "Tiny-generic-gpu:10"


def test_an_alias_is_its_first_variant() -> None:
    assert chosen("TINY") == "Tiny-generic-gpu:2"
    assert chosen("tiny", DeviceType.CPU) == "Tiny-generic-cpu:3"
    assert chosen("tiny", DeviceType.NPU) is None
    assert chosen("nobody") is None


def test_the_cpu_may_come_before_a_generic_gpu() -> None:
    assert chosen("tiny", None, True) == "Tiny-generic-cpu:3"
    assert chosen("tiny", DeviceType.GPU, True) == "Tiny-generic-gpu:2"


def test_generic_gpu_models_run_on_cuda_where_there_is_cuda() -> None:
    cuda = entry("big-cuda-gpu:1", alias="big", provider="CUDAExecutionProvider")
    overrides = {m.id: m.ep_override for m in catalog_of([entry("Tiny-generic-gpu:2"), cuda])}
    assert overrides == {"Tiny-generic-gpu:2": "cuda", "big-cuda-gpu:1": None}
    assert {model.ep_override for model in MODELS} == {None}


def test_the_words_of_a_download() -> None:
    body = FoundryModelInfo.from_list_response(entry("Tiny-generic-cpu:3")).to_download_body()
    assert body == {
        "Name": "Tiny-generic-cpu:3",
        "Uri": "azureml://registries/x",
        "Publisher": "someone",
        "ProviderType": "AzureFoundryLocal",
        "PromptTemplate": {"prompt": "{Content}"},
    }


def read(*lines: str) -> tuple[list[float | None], DownloadStream]:
    stream = DownloadStream()
    return [stream.take(line) for line in lines], stream


def test_a_download_that_succeeds() -> None:
    told, stream = read(
        "Total 0.00% Downloading a.json\n",
        "Total 45.67% Downloading b.data\n",
        "[DONE] All Completed!\n",
        '{"success":true,"errorMessage":null}\n',
    )
    assert told == [0.0, 45.67, None, None]
    assert stream.result() == {"success": True, "errorMessage": None}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"success":false,"errorMessage":"no room"}', "no room"),
        ('{"success":false}', "Unknown error"),
        ("Total 3% Downloading", "broke off"),
        ('{"success":', "broke off"),
    ],
)
def test_a_download_that_fails(line: str, reason: str) -> None:
    with pytest.raises(DownloadError, match=reason):
        read(line)[1].result()
