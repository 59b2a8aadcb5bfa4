"""Which files of a repository are an adapter."""

from __future__ import annotations

import pytest

from cupola.cache.errors import CacheError
from cupola.cache.remote.hub_adapter import choose_adapter
from cupola.cache.remote.hub_files import HubFile


def files(*paths: str) -> list[HubFile]:
    return [HubFile(path, 10) for path in paths]


PEFT = ("adapter_config.json", "adapter_model.safetensors", "README.md", "adapter_model.bin")
KINDS = ("config.json", "model.safetensors")
STEPS = tuple(f"checkpoint-{number}/adapter_{kind}" for number in (1, 2) for kind in KINDS)


@pytest.mark.parametrize(
    ("paths", "part", "chosen"),
    [
        (PEFT, "", PEFT[:2]),
        ((*PEFT, *STEPS), "", PEFT[:2]),  # the root is what its makers publish
        ((*PEFT, *STEPS), "checkpoint-2/", STEPS[2:]),
        (STEPS[:2], "", STEPS[:2]),
        (("a/b.onnx_adapter", "x.json"), "", ("a/b.onnx_adapter",)),
        (("a.onnx_adapter", *PEFT), "a.onnx_adapter", ("a.onnx_adapter",)),
    ],
)
def test_what_is_taken(paths: tuple[str, ...], part: str, chosen: tuple[str, ...]) -> None:
    choice = choose_adapter(files(*paths), part)
    assert (choice.kind, tuple(file.path for file in choice.files)) == ("adapter", chosen)


@pytest.mark.parametrize(
    ("paths", "part", "message"),
    [
        (STEPS, "", "several adapters. Name one .*: checkpoint-1, checkpoint-2"),
        (PEFT, "checkpoint-9", "no adapter 'checkpoint-9'. It has: the repository itself"),
        (("adapter_config.json", "adapter_model.bin"), "", "a pickle file"),
        (("adapter_config.json",), "", "No adapter is there"),
        (("model.safetensors", "config.json"), "", "No adapter is there"),
    ],
)
def test_what_is_refused(paths: tuple[str, ...], part: str, message: str) -> None:
    with pytest.raises(CacheError, match=message):
        choose_adapter(files(*paths), part)
