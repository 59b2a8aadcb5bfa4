"""ONNX Runtime leaves no device id behind and queues no event, whichever way it is reached."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.imports import PACKAGES, imports, sources

RUNTIMES = ("onnxruntime", "onnxruntime_genai")
# Every module that imports a runtime, so a new one cannot be forgotten.
MENTIONING = (path for path in sources(*PACKAGES) if RUNTIMES[0] in path.read_text("utf-8"))
USERS = sorted({found.file for found in imports(MENTIONING) if found.top in RUNTIMES})

# A model that is run, because the runtime notes its events when a session starts.
RUN_A_MODEL = """
import onnxruntime
from onnx import TensorProto, helper
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
node = helper.make_node("Identity", ["x"], ["y"])
graph = helper.make_graph([node], "graph", ends[:1], ends[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
"""


def left_behind(home: Path, *arguments: str) -> list[str]:
    """The files in a home folder that was empty before Python ran in it."""
    home.mkdir()
    done = subprocess.run(
        [sys.executable, *arguments],
        env={"HOME": str(home), "PATH": ""},
        cwd=home,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()]


def test_the_runtime_leaves_files_behind_if_it_is_let(tmp_path: Path) -> None:
    # Otherwise the tests below would prove nothing.
    assert any("deviceid" in file for file in left_behind(tmp_path / "home", "-c", RUN_A_MODEL))


@pytest.mark.parametrize("file", USERS)
def test_no_module_lets_it(file: str, tmp_path: Path) -> None:
    module = "cupola." + file.removesuffix(".py").replace("/", ".")
    code = f"import {module}\n{RUN_A_MODEL}"
    assert left_behind(tmp_path / "home", "-c", code) == []


@pytest.mark.parametrize("provider", [[], ["CPUExecutionProvider"]], ids=["list", "try"])
def test_no_probe_lets_it(provider: list[str], tmp_path: Path) -> None:
    arguments = ["-m", "cupola.workers.device.provider_probe", *provider]
    assert left_behind(tmp_path / "home", *arguments) == []
