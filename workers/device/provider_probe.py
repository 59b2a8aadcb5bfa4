"""Tries one execution provider, as a process of its own: a driver may crash or hang it.

``python -m cupola.workers.device.provider_probe`` prints the names that the runtime has. With a
NAME it prints what is wrong with that provider, and nothing if it works.
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

ort.disable_telemetry_events()

_CPU = "CPUExecutionProvider"


def problem(name: str) -> str:
    """What keeps the provider from running a product of two matrices; empty if nothing does."""
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what there is to say comes as an error
    if name != _CPU:  # or the CPU would do it in silence
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
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "x"], ["y"])], "product", [given], [made]
    )
    opsets = [helper.make_opsetid("", 17)]
    model: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return model


def main(arguments: list[str]) -> None:
    if arguments:
        print(problem(arguments[0]))
    else:
        print(*ort.get_available_providers(), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
