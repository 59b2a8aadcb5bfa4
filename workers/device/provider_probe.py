"""Tries one execution provider in a process of its own, because a driver may crash or hang.

``python -m cupola.workers.device.provider_probe`` prints the providers that the runtime has. With a
NAME it prints why that provider does not work, and nothing if it works.
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

_CPU = "CPUExecutionProvider"


def problem(name: str) -> str:
    """Why the provider cannot multiply two matrices; empty if it can."""
    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors are raised anyway
    if name != _CPU:  # else the CPU would do the work silently
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = ort.InferenceSession(_product(), options, providers=[name])
        session.run(None, {"x": np.eye(2, dtype=np.float32)})
    except Exception as error:  # onnxruntime's own tree
        if "assigned to the default CPU EP" in str(error):
            return "it starts, but computes nothing on this machine"
        return " ".join(str(error).split())
    return "" if name in session.get_providers() else "it does not start"


def _product() -> bytes:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "x"], ["y"])], "product", [x], [y])
    opsets = [helper.make_opsetid("", 17)]
    model: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return model


def main(arguments: list[str]) -> None:
    """The process."""
    if arguments:
        print(problem(arguments[0]))
    else:
        print(*ort.get_available_providers(), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
