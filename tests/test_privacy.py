"""ONNX Runtime leaves no device id behind and queues no event, whichever way it is reached."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.imports import PACKAGES, imports, sources

pytestmark = pytest.mark.slow

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


LeftBehind = Callable[..., list[str]]


@pytest.fixture
def left_behind(tmp_path: Path) -> LeftBehind:
    """Runs Python; gives the files in its home folder, which was empty before."""
    home = tmp_path / "home"
    home.mkdir()

    def run(*arguments: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, *arguments],
            env={"HOME": str(home), "PATH": ""},
            cwd=home,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return [path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()]

    return run


def test_the_runtime_leaves_files_behind_if_it_is_let(
    left_behind: LeftBehind,
) -> None:
    # Otherwise the tests below would prove nothing.
    assert any("deviceid" in file for file in left_behind("-c", RUN_A_MODEL))


@pytest.mark.parametrize("file", USERS)
def test_no_module_lets_it(file: str, left_behind: LeftBehind) -> None:
    module = "cupola." + file.removesuffix(".py").replace("/", ".")
    code = f"import {module}\n{RUN_A_MODEL}"
    assert left_behind("-c", code) == []


@pytest.mark.parametrize("provider", [[], ["CPUExecutionProvider"]], ids=["list", "try"])
def test_no_probe_lets_it(provider: list[str], left_behind: LeftBehind) -> None:
    arguments = ["-m", "cupola.workers.device.provider_probe", *provider]
    assert left_behind(*arguments) == []
