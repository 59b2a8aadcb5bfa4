"""Narrows a decoder graph to the tokens whose logits are wanted, as early as possible.

The head is a fifth of a small model's work. Behind the last attention no token reads the values of
another one. So what is computed there for other tokens of a prompt is computed for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx
from onnx import helper

from cupola.workers.graph.attention_layers import ATTENTION, UnservableGraphError

WANTED_TOKENS = "last"  # input [R] of int64: which of the packed tokens are wanted
# Nodes in front of a head of integers: they normalize and round tokens, and rotate them if the head
# is the embedding.
_HEAD_INPUT = ("QuantizeLinear", "SimplifiedLayerNormalization", "MatMul")
# Nodes that add to the residual stream [1, T, hidden].
_STREAM = ("Add", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization")


def prune_logits(graph: onnx.GraphProto) -> None:
    """Keep only the wanted tokens behind the last attention.

    They are kept in front of the head instead if the nodes between the two also read something that
    may not have a row for each token. Raises UnservableGraphError.
    """
    makers = {output: node for node in graph.node for output in node.output}
    head = _head(makers)
    head.input[0] = hidden = _of_all_tokens(head.input[0], makers)
    attention = [node for node in graph.node if node.op_type == ATTENTION][-1]
    readers = _behind([attention.output[0]], graph)
    known = {name for node in readers for name in node.output}
    of_tokens = {value.name for value in graph.input}
    of_tokens.update(name for node in _behind(of_tokens, graph) for name in node.output)
    read = {name for node in readers for name in node.input if name not in known}
    values = sorted(read & of_tokens)
    rows = {name for name, node in makers.items() if node.op_type in _STREAM}
    if head not in readers or not rows.issuperset(set(values) - {attention.output[0]}):
        readers, values = [head], [hidden]
    for value in values:
        _gather(value, [node for node in readers if value in node.input], graph)


def _behind(values: Iterable[str], graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that depend on any of these values, in their order."""
    known = set(values)
    nodes = []
    for node in graph.node:
        if not known.isdisjoint(node.input):
            known.update(node.output)
            nodes.append(node)
    return nodes


def _gather(value: str, readers: list[onnx.NodeProto], graph: onnx.GraphProto) -> None:
    """Let ``readers`` read only the wanted tokens of ``value``."""
    wanted = f"{value}.wanted"
    gather = helper.make_node("Gather", [value, WANTED_TOKENS], [wanted], axis=1)
    graph.node.insert(list(graph.node).index(readers[0]), gather)
    for reader in readers:
        reader.input[:] = [wanted if name == value else name for name in reader.input]


def _head(makers: Mapping[str, onnx.NodeProto]) -> onnx.NodeProto:
    """The first node of the head, which makes logits of hidden states."""
    if "logits" not in makers:
        raise UnservableGraphError("no output is called 'logits'")
    head = makers["logits"]
    while not head.op_type.startswith("MatMul"):
        if not head.input or head.input[0] not in makers:
            raise UnservableGraphError("no MatMul makes the logits")
        head = makers[head.input[0]]
    while (before := makers.get(head.input[0])) is not None and before.op_type in _HEAD_INPUT:
        head = before
    return head


def _of_all_tokens(hidden: str, makers: Mapping[str, onnx.NodeProto]) -> str:
    """The hidden states of all tokens, in a graph that reads only the last of them."""
    maker = makers.get(hidden)
    if maker is not None and maker.op_type == "Unsqueeze":
        maker = makers.get(maker.input[0])
    if maker is None or maker.op_type != "Gather":
        return hidden
    axis = next((each.i for each in maker.attribute if each.name == "axis"), 0)
    return maker.input[0] if axis == 1 else hidden
