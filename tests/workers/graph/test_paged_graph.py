"""The graph for GPUs, run in NumPy: it answers as the plain model does, in half precision."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from cupola.workers.graph.attention_layers import UnservableGraphError
from cupola.workers.graph.paged_graph import paged_graph
from cupola.workers.kv.block_table import BlockTable
from cupola.workers.run.packing import Row
from cupola.workers.run.paged_session import pack_blocks
from tests.workers.paged_attention import evaluator
from tests.workers.reference import DATA, HEAD_SIZE, PlainDecoder

TOKENS, OTHERS = [7, 81, 200, 13, 5], [44, 3, 120]
BLOCK = 16  # smaller than on a GPU, so that short rows have several
HALF = 0.03  # what half precision changes in the logits of these models


class PagedModel:
    """What a paged session does, without a GPU."""

    def __init__(self, name: str, rows: int = 3, blocks: int = 5) -> None:
        folder = DATA / name
        graph = paged_graph(folder / "model.onnx", HEAD_SIZE)
        model = onnx.load_from_string(graph.model)
        onnx.load_external_data_for_model(model, str(folder))
        self._evaluator = evaluator(model)
        self._graph = graph
        self.blocks = BlockTable(rows, blocks, BLOCK)
        shape = (blocks, BLOCK, graph.kv.heads, graph.kv.head_size)
        # What was never written must not matter.
        self._cache: dict[str, np.ndarray] = {
            past: np.full(shape, 7, np.float16) for each in graph.caches for past, _ in each.parts
        }

    def run(self, rows: list[Row]) -> np.ndarray:
        inputs = pack_blocks(rows, self.blocks)
        feeds = {name: inputs[name] for name in self._graph.inputs} | self._cache
        presents = {now: past for each in self._graph.caches for past, now in each.parts}
        logits, *written = self._evaluator.run(["logits", *presents], feeds)
        for past, values in zip(presents.values(), written, strict=True):
            self._cache[past] = np.asarray(values)
        return np.asarray(logits[0])


@pytest.mark.parametrize("name", ["builder-fp32", "qwen2-fp32", "qwen3-fp32"])
def test_rows_of_all_kinds_share_a_run(name: str):
    """A prompt in two chunks, others beside it, and a row of one token."""
    model, plain = PagedModel(name), PlainDecoder(DATA / name)
    model.run([Row(0, 0, OTHERS, 0), Row(1, 0, TOKENS[:2], 0)])
    found = model.run([Row(2, 0, OTHERS, 0), Row(1, 2, TOKENS[2:], 1), Row(0, 3, [9], 1)])
    for logits, tokens in zip(found, (TOKENS, [*OTHERS, 9]), strict=True):
        np.testing.assert_allclose(logits, plain.logits(tokens), atol=HALF)


def test_a_row_may_fill_several_blocks_and_its_blocks_serve_another_row():
    model, plain = PagedModel("builder-fp32"), PlainDecoder(DATA / "builder-fp32")
    text = [number * 7 % 250 for number in range(3 * BLOCK + 5)]
    model.run([Row(0, 0, [3] * (BLOCK + 1), 0), Row(2, 0, OTHERS, 0)])
    model.blocks.forget(0)
    model.run([Row(1, 0, text[:20], 0)])
    found = model.run([Row(1, 20, text[20:], 1)])
    np.testing.assert_allclose(found[0], plain.logits(text), atol=HALF)


def test_the_logits_of_several_tokens_of_a_row():
    model, plain = PagedModel("builder-fp32"), PlainDecoder(DATA / "builder-fp32")
    found = model.run([Row(0, 0, TOKENS, 2), Row(1, 0, OTHERS, 1)])
    expected = [plain.logits(tokens) for tokens in (TOKENS[:-1], TOKENS, OTHERS)]
    np.testing.assert_allclose(found, expected, atol=HALF)


def test_logits_are_of_single_precision_and_keys_and_values_of_half():
    graph = paged_graph(DATA / "directml-fp16" / "model.onnx", HEAD_SIZE)
    model = onnx.load_from_string(graph.model)
    outputs = {value.name: value.type.tensor_type.elem_type for value in model.graph.output}
    assert outputs.pop("logits") == TensorProto.FLOAT
    assert set(outputs.values()) == {TensorProto.FLOAT16}
    assert graph.kv.dtype == np.float16


@pytest.mark.parametrize(
    ("name", "why"),
    [("phi3-long-fp32", "rotary tables change"), ("plain-fp32", "MultiHeadAttention")],
)
def test_a_graph_that_cannot_be_paged_is_refused(name: str, why: str):
    with pytest.raises(UnservableGraphError, match=why):
        paged_graph(DATA / name / "model.onnx", HEAD_SIZE)
