"""Narrows a decoder graph to the tokens whose logits are wanted, as early as that can be.

The head is a fifth of a small model's work. And behind the last attention no token reads another's
values any more: what is computed there for a prompt's other tokens is computed for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx
from onnx import helper

from cupola.workers.graph.attention_layers import ATTENTION, UnservableGraphError

WANTED = "last"  # [R] int64: which of the packed tokens
# In front of a head of integers tokens are given one length and rounded, and turned where it is the
# embedding.
_OF_THE_HEAD = ("QuantizeLinear", "SimplifiedLayerNormalization", "MatMul")
# What adds to the residual stream, which is [1, T, hidden].
_STREAM = ("Add", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization")


def keep_wanted(graph: onnx.GraphProto) -> None:
    """Gather the wanted tokens behind the last attention, or in front of the head where what is
    between them also reads something that is not known to be a row for each token.

    Raises UnservableGraphError.
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
    """The nodes that read any of these values, or what is made of them, in their order."""
    known = set(values)
    found = []
    for node in graph.node:
        if not known.isdisjoint(node.input):
            known.update(node.output)
            found.append(node)
    return found


def _gather(value: str, readers: list[onnx.NodeProto], graph: onnx.GraphProto) -> None:
    wanted = f"{value}.wanted"
    gather = helper.make_node("Gather", [value, WANTED], [wanted], axis=1)
    graph.node.insert(list(graph.node).index(readers[0]), gather)
    for reader in readers:
        reader.input[:] = [wanted if name == value else name for name in reader.input]


def _head(makers: Mapping[str, onnx.NodeProto]) -> onnx.NodeProto:
    """The first node of what makes logits of hidden states."""
    if "logits" not in makers:
        raise UnservableGraphError("no output is called 'logits'")
    head = makers["logits"]
    while not head.op_type.startswith("MatMul"):
        if not head.input or head.input[0] not in makers:
            raise UnservableGraphError("no MatMul makes the logits")
        head = makers[head.input[0]]
    while (before := makers.get(head.input[0])) is not None and before.op_type in _OF_THE_HEAD:
        head = before
    return head


def _of_all_tokens(hidden: str, makers: Mapping[str, onnx.NodeProto]) -> str:
    """The hidden states that ``hidden`` is the last of, in graphs that make one token's logits."""
    maker = makers.get(hidden)
    if maker is not None and maker.op_type == "Unsqueeze":
        maker = makers.get(maker.input[0])
    if maker is None or maker.op_type != "Gather":
        return hidden
    axis = next((each.i for each in maker.attribute if each.name == "axis"), 0)
    return maker.input[0] if axis == 1 else hidden
