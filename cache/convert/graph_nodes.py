"""The nodes of an ONNX graph that is being written."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import helper

MICROSOFT = "com.microsoft"


class GraphNodes:
    """A list of nodes in the order in which they run."""

    def __init__(self) -> None:
        self.made: list[onnx.NodeProto] = []

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
        """Adds a node of one output and returns its name."""
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
        self.made.append(
            helper.make_node(operator, inputs, outputs, name=name, domain=domain, **attributes)
        )
