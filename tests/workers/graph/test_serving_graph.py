"""Which graphs are rewritten, whatever their forms and names, and why the others are refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cupola.workers.graph.attention_layers import UnservableGraphError
from cupola.workers.graph.logits_pruning import WANTED_TOKENS
from cupola.workers.graph.serving_graph import serving_graph
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.run.packing import Row
from tests.workers.reference import DATA, PlainDecoder

Change = Callable[[onnx.GraphProto], None]
TOKENS = [7, 81, 200, 13, 5]
OTHERS = [44, 3, 120]


def changed(source: str, folder: Path, change: Change) -> Path:
    """A copy of a model whose graph was changed."""
    shutil.copytree(DATA / source, folder, dirs_exist_ok=True)
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    change(model.graph)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder


def session(folder: Path) -> DecoderSession:
    return DecoderSession(ModelFolder.read(folder), slots=3, width=16, threads=1)


def ragged(folder: Path) -> np.ndarray:
    """Logits behind TOKENS, which are read in two chunks beside other rows."""
    model = session(folder)
    model.run([Row(0, 0, OTHERS, 0), Row(1, 0, TOKENS[:2], 0)])
    rows = [Row(2, 0, OTHERS, 0), Row(1, 2, TOKENS[2:], 1), Row(0, 3, [9], 0)]
    return np.asarray(model.run(rows)[0])


def attentions(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    return (node for node in graph.node if node.op_type == "GroupQueryAttention")


def test_half_precision_and_rotary_nodes_of_their_own_are_served():
    """As the builder writes them for DirectML: positions are an input, and the logits float16."""
    plain = PlainDecoder(DATA / "directml-fp16").logits(TOKENS)
    made = ragged(DATA / "directml-fp16")
    assert plain.dtype == np.float16 and made.dtype == np.float32
    np.testing.assert_allclose(made, plain, atol=1e-2)


def test_a_graph_that_makes_one_tokens_logits_is_served(tmp_path: Path):
    def prune(graph: onnx.GraphProto) -> None:
        head = next(node for node in graph.node if "logits" in node.output)
        graph.initializer.append(numpy_helper.from_array(np.array(-1), "minus_one"))
        graph.initializer.append(numpy_helper.from_array(np.array([1]), "one"))
        gather = helper.make_node("Gather", [head.input[0], "minus_one"], ["newest"], axis=1)
        unsqueeze = helper.make_node("Unsqueeze", ["newest", "one"], ["newest.row"])
        head.input[0] = "newest.row"
        place = list(graph.node).index(head)
        graph.node.insert(place, unsqueeze)
        graph.node.insert(place, gather)

    folder = changed("qwen2-fp32", tmp_path, prune)
    plain = PlainDecoder(DATA / "qwen2-fp32").logits(TOKENS)
    np.testing.assert_allclose(ragged(folder), plain, atol=1e-4)
    model = session(folder)
    assert model.run([Row(0, 0, TOKENS, 3)]).shape[0] == 3  # also those of other tokens


def gathers_of_wanted(folder: Path) -> int:
    graph = onnx.load_from_string(serving_graph(folder / "model.onnx", 16, padding=16).model).graph
    return sum(node.op_type == "Gather" and WANTED_TOKENS in node.input for node in graph.node)


def test_behind_the_last_attention_only_wanted_tokens_are_computed():
    assert gathers_of_wanted(DATA / "qwen2-fp32") == 2  # of attention and of the residual stream


def test_what_else_is_read_behind_the_last_attention_is_read_for_all_tokens(tmp_path: Path):
    """Such as an embedding that every layer reads: whether a row of it is a token is not known."""

    def embed_again(graph: onnx.GraphProto) -> None:
        head = next(node for node in graph.node if "logits" in node.output)
        embedding = next(node for node in graph.node if "input_ids" in node.input)
        doubled = helper.make_node("Sum", [embedding.output[0]] * 2, ["doubled"])
        both = helper.make_node("Mul", [head.input[0], "doubled"], ["both"])
        head.input[0] = "both"
        place = list(graph.node).index(head)
        graph.node.insert(place, both)
        graph.node.insert(place, doubled)

    folder = changed("qwen2-fp32", tmp_path, embed_again)
    assert gathers_of_wanted(folder) == 1
    plain = PlainDecoder(folder).logits(TOKENS)
    np.testing.assert_allclose(ragged(folder), plain, atol=1e-4)


def test_names_do_not_matter(tmp_path: Path):
    def rename(graph: onnx.GraphProto) -> None:
        names = {value.name for value in graph.input} - {"input_ids", "attention_mask"}
        names |= {value.name for value in graph.output} - {"logits"}
        for value in (*graph.input, *graph.output):
            value.name = f"our.{value.name}" if value.name in names else value.name
        for node in graph.node:
            for part in (node.input, node.output):
                part[:] = [f"our.{name}" if name in names else name for name in part]

    folder = changed("qwen2-fp32", tmp_path, rename)
    (folder / "model.onnx").rename(folder / "decoder.onnx")
    config = folder / "genai_config.json"
    config.write_text(config.read_text().replace('"model.onnx"', '"decoder.onnx"'))
    plain = PlainDecoder(DATA / "qwen2-fp32").logits(TOKENS)
    np.testing.assert_allclose(ragged(folder), plain, atol=1e-4)


def other_attention(graph: onnx.GraphProto) -> None:
    next(attentions(graph)).op_type = "SparseAttention"


def no_attention(graph: onnx.GraphProto) -> None:
    for node in list(attentions(graph)):
        node.op_type = "Something"


def biased(graph: onnx.GraphProto) -> None:
    node = next(attentions(graph))
    node.input[10] = "attention_mask"


def looking_ahead(graph: onnx.GraphProto) -> None:
    next(attentions(graph)).attribute.append(helper.make_attribute("causal", 0))


def uneven(graph: onnx.GraphProto) -> None:
    value = next(value for value in graph.input if value.name == "past_key_values.1.key")
    value.type.tensor_type.shape.dim[1].dim_value = 5


def wide_keys(graph: onnx.GraphProto) -> None:
    for value in graph.input:
        if value.name.startswith("past"):
            value.type.tensor_type.elem_type = TensorProto.BFLOAT16


def further_input(graph: onnx.GraphProto) -> None:
    """Such as the state of a convolution: no row would know whose it is."""
    graph.input.append(helper.make_tensor_value_info("past_conv.0", TensorProto.FLOAT, [1, 32]))
    head = next(node for node in graph.node if "logits" in node.output)
    place = list(graph.node).index(head)
    graph.node.insert(place, helper.make_node("Add", [head.input[0], "past_conv.0"], ["sum"]))
    head.input[0] = "sum"


def embeddings(graph: onnx.GraphProto) -> None:
    next(value for value in graph.input if value.name == "input_ids").name = "inputs_embeds"


def failing(graph: onnx.GraphProto) -> None:
    """It loads, and its first run is refused: it wants a multiple of 1000 tokens."""
    head = next(node for node in graph.node if "logits" in node.output)
    graph.initializer.append(numpy_helper.from_array(np.array([1000, -1, 32]), "thousand"))
    place = list(graph.node).index(head)
    graph.node.insert(place, helper.make_node("Reshape", [head.input[0], "thousand"], ["cut"]))
    head.input[0] = "cut"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_attention, "its attention is SparseAttention, not GroupQueryAttention"),
        (no_attention, "it has no GroupQueryAttention"),
        (biased, "its attention has a bias"),
        (looking_ahead, "its attention is not causal"),
        (uneven, "keys and values of different shapes"),
        (wide_keys, "of the type bfloat16"),
        (further_input, "the graph also needs past_conv.0"),
        (embeddings, "no input is called 'input_ids'"),
        (failing, "its first run failed"),
    ],
)
def test_what_stands_in_the_way_is_said(change: Change, words: str, tmp_path: Path):
    folder = changed("qwen2-fp32", tmp_path, change)
    with pytest.raises(UnservableGraphError, match=words):
        session(folder)


@pytest.mark.parametrize("condition", ["Less", "GreaterOrEqual"])
def test_rotary_tables_are_joined_only_where_it_is_known_how_they_are_chosen(
    condition: str, tmp_path: Path
):
    def choose(graph: onnx.GraphProto) -> None:
        next(node for node in graph.node if node.op_type == "Greater").op_type = condition

    folder = changed("phi3-long-fp32", tmp_path, choose)
    with pytest.raises(UnservableGraphError, match="branches in a way"):
        session(folder)
