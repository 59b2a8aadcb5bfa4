"""Who may import whom, and which file may use which library: the borders of the design."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("cache", "scheduler", "workers", "gateway", "client")

# What each package may import besides itself.
ALLOWED = {
    "cache": (),
    "scheduler": ("cupola.cache",),
    "workers": ("cupola.cache", "cupola.scheduler"),
    "gateway": ("cupola.cache", "cupola.scheduler", "cupola.workers"),
    "client": (
        "cupola.cache",
        "cupola.gateway.schemas",
        "cupola.gateway.settings",
        "cupola.gateway.setting_sources",
    ),
}

# Libraries that only these files may use. A package's name stands for all of its files.
BORDERS = {
    "zmq": (
        "gateway/scheduler_client.py",
        "scheduler/broker.py",
        "scheduler/endpoint.py",
        "workers/main.py",
    ),
    "onnxruntime": (
        "workers/session.py",
        "workers/decoder_session.py",
        "workers/runner.py",
        "workers/int8_session.py",
        "workers/device.py",
        "workers/device_cache.py",
        "workers/encoder_session.py",
        "workers/prepacked.py",
        "workers/provider_probe.py",
        "cache/runtime.py",
    ),
    "onnxruntime_genai": ("workers/genai_session.py",),
    "psutil": ("workers/machine.py",),
    "multiprocessing": (
        "gateway/child.py",
        "gateway/supervisor.py",
    ),
    "starlette": ("gateway/",),
    "hypercorn": ("gateway/",),
    "tokenizers": ("workers/", "cache/"),
    "jinja2": ("workers/",),
    "llguidance": ("workers/constraints.py", "workers/grammar.py", "workers/grammar_probe.py"),
    "gguf": ("cache/",),
    "onnx": (
        "cache/",
        "workers/serving_graph.py",
        "workers/wanted_tokens.py",
        "workers/int8_graph.py",
        "workers/block_graph.py",
        "workers/attention_layers.py",
        "workers/rotary.py",
        "workers/provider_probe.py",
    ),
    "httpx2": ("client/", "gateway/foundry_proxy.py"),
    "typer": ("client/",),
    "rich": ("client/",),
    "pydantic_settings": ("gateway/settings.py", "gateway/setting_sources.py"),
}

# Whoever can write such bytes can run code where they are read.
UNSAFE = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
UNSAFE_CALLS = {"recv_pyobj", "send_pyobj"}

# Light commands, and what none of them may load.
HEAVY = {"starlette", "hypercorn", "zmq", "onnxruntime", "onnxruntime_genai", "numpy", "onnx"}
SLOW = {"pydantic", "httpx2"}


@dataclass(frozen=True)
class Import:
    file: str
    line: int
    names: tuple[
        str, ...
    ]  # what the statement may mean, e.g. ("cupola.cache", "cupola.cache.home")
    relative: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.names[-1]}"

    @property
    def top(self) -> str:
        return self.names[0].partition(".")[0]


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports(paths: list[Path]) -> Iterator[Import]:
    for path in paths:
        file = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"), file)):
            if isinstance(node, ast.Import):
                for name in node.names:
                    yield Import(file, node.lineno, (name.name,), relative=False)
            elif isinstance(node, ast.ImportFrom):
                module = node.module or ""
                for name in node.names:
                    names = (module, f"{module}.{name.name}")
                    yield Import(file, node.lineno, names, relative=node.level > 0)


OURS = list(imports(sources(*PACKAGES)))
ALL = OURS + list(imports(sources("tests", "loadtests")))


def test_the_packages_are_there() -> None:
    assert {Path(found.file).parts[0] for found in OURS} == set(PACKAGES)


def test_imports_run_one_way() -> None:
    def within(found: Import) -> bool:
        package = Path(found.file).parts[0]
        allowed = (f"cupola.{package}", *ALLOWED[package])
        return any(
            name == module or name.startswith(module + ".")
            for name in found.names
            for module in allowed
        )

    cupolas = [found for found in OURS if found.top == "cupola"]
    assert cupolas
    assert [str(found) for found in cupolas if not within(found)] == []


def test_no_import_is_relative() -> None:
    assert [str(found) for found in ALL if found.relative] == []


def test_no_import_uses_a_bare_folder_name() -> None:
    # `import scheduler` works in the checkout's root, and makes a second copy of every class.
    assert [str(found) for found in ALL if found.top in PACKAGES] == []


@pytest.mark.parametrize("library", BORDERS)
def test_a_library_stays_in_its_files(library: str) -> None:
    users = [found for found in OURS if found.top == library]
    outside = [found for found in users if not found.file.startswith(BORDERS[library] or ("-",))]
    assert [str(found) for found in outside] == []


def test_nothing_is_pickled() -> None:
    assert [str(found) for found in ALL if found.top in UNSAFE] == []
    for path in sources(*PACKAGES, "loadtests"):
        tree = ast.parse(path.read_text("utf-8"))
        calls = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not calls & UNSAFE_CALLS, path


def loaded_by(code: str, tmp_path: Path) -> set[str]:
    """The top-level modules in a fresh interpreter after ``code``."""
    report = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
    done = subprocess.run(
        [sys.executable, "-c", report + code],
        capture_output=True,
        text=True,
        env={"CUPOLA_HOME": str(tmp_path), "PATH": ""},
        cwd=tmp_path,
        check=True,
    )
    return {name.partition(".")[0] for name in done.stderr.splitlines()[-1].split()}


@pytest.mark.parametrize(
    "command", ["--help", "--version", "model list", "cache list", "cache location"]
)
def test_light_commands_load_nothing_heavy(command: str, tmp_path: Path) -> None:
    code = f"sys.argv[1:] = {command.split()}; from cupola.client.cli import main; main()"
    assert loaded_by(code, tmp_path) & (HEAVY | SLOW) == set()


def test_service_status_loads_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "daemon.json").write_text('{"web_urls": ["http://127.0.0.1:1"], "pid": 1}')
    code = "sys.argv[1:] = ['service', 'status']; from cupola.client.cli import main; main()"
    assert loaded_by(code, tmp_path) & (HEAVY | SLOW) == set()


def test_settings_load_nothing_heavy(tmp_path: Path) -> None:
    assert loaded_by("import cupola.gateway.settings", tmp_path) & HEAVY == set()
