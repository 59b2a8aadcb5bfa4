"""The nodes of an ONNX graph while it is written."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import helper

MICROSOFT = "com.microsoft"


class GraphNodes:
    """A list of nodes in the order in which they run."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []

    def add(
        self,
        operator: str,
        inputs: list[str],
        name: str,
        output: str | None = None,
        *,
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Adds a node of one output. Returns the output's name: ``NAME/output_0`` by default."""
        output = output or f"{name}/output_0"
        self.add_many(operator, inputs, [output], name, domain=domain, **attributes)
        return output

    def add_many(
        self,
        operator: str,
        inputs: list[str],
        outputs: list[str],
        name: str,
        *,
        domain: str = "",
        **attributes: Any,
    ) -> None:
        """Adds a node of several outputs. An empty name leaves an optional output out."""
        self.nodes.append(
            helper.make_node(operator, inputs, outputs, name=name, domain=domain, **attributes)
        )
