"""What a model's makers advise: ``search`` of its genai_config.json, then the catalog."""

import json
from pathlib import Path
from typing import Any

import pytest

from cupola.cache.catalog import SMOLLM2_135M
from cupola.scheduler.protocol.tasks import SamplingParams
from cupola.workers.model.advice import with_catalog
from cupola.workers.model.model_folder import ModelFolder


def advised(folder: Path, search: dict[str, Any]) -> SamplingParams:
    decoder = {"filename": "model.onnx", "num_hidden_layers": 1, "num_key_value_heads": 1}
    model = {"context_length": 8, "eos_token_id": 1, "decoder": decoder | {"head_size": 8}}
    config = {"model": model, "search": {"max_length": 8} | search}
    (folder / "genai_config.json").write_text(json.dumps(config))
    return ModelFolder.read(folder).advised


def test_all_of_it(tmp_path: Path) -> None:
    advice: dict[str, Any] = {
        "temperature": 0.7,
        "top_p": 0.8,
        "top_k": 20,
        "repetition_penalty": 1.05,
    }
    assert advised(tmp_path, {"do_sample": True} | advice) == SamplingParams(**advice)


@pytest.mark.parametrize(
    "search",
    [
        {"repetition_penalty": 1.5},  # sampling is not switched on
        {"do_sample": False, "temperature": 0.1},
        {"do_sample": True, "repetition_penalty": "1.5"},
        {"do_sample": True, "length_penalty": 2.0},
        {"do_sample": True, "repetition_penalty": 1.0},  # what every folder has
    ],
)
def test_what_does_not_count(tmp_path: Path, search: dict[str, Any]) -> None:
    assert advised(tmp_path, search) == SamplingParams()


def test_the_catalog_fills_in_what_an_older_folder_lacks() -> None:
    found = with_catalog(SamplingParams(temperature=0.5, top_k=50), SMOLLM2_135M.id)
    assert found == SamplingParams(temperature=0.5, top_p=0.9, top_k=50, repetition_penalty=1.1)


def test_a_model_that_the_catalog_does_not_know_keeps_its_own() -> None:
    assert with_catalog(SamplingParams(top_k=5), "other:1") == SamplingParams(top_k=5)
