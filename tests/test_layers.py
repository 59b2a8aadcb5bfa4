"""Who may import whom, and which file may use which library: the borders of the design.

``pytest -rP tests/test_layers.py -k arrows`` prints which folder imports which.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests import rooms
from tests.imports import PACKAGES, ROOT, Import, everyones, ours, sources

# What each package may import besides itself.
ALLOWED = {
    "cache": (),
    "scheduler": ("cupola.cache",),
    "workers": ("cupola.cache", "cupola.scheduler"),
    "gateway": ("cupola.cache", "cupola.scheduler"),
    "service": ("cupola.cache", "cupola.scheduler", "cupola.workers", "cupola.gateway"),
    "loadtests": ("cupola.cache", "cupola.scheduler", "cupola.workers"),
    "client": (
        "cupola.cache",
        "cupola.loadtests",
        "cupola.service.settings",
    ),
}

FEWEST, MOST = 3, 20  # modules in a folder

# Libraries that only these files may use. A folder's name stands for all of its files.
BORDERS = {
    "zmq": (
        "gateway/core/scheduler_socket.py",
        "scheduler/broker.py",
        "scheduler/protocol/endpoint.py",
        "scheduler/protocol/known_keys.py",
        "workers/main.py",
    ),
    "onnxruntime": (
        "loadtests/products.py",
        "workers/run/session.py",
        "workers/run/decoder_session.py",
        "workers/run/runner.py",
        "workers/run/model_state.py",
        "workers/run/prepacked.py",
        "workers/device/device.py",
        "workers/device/provider_probe.py",
        "workers/kv/paged_cache.py",
        "workers/run/paged_session.py",
        "workers/encoder/encoder_session.py",
        "workers/speech/speech_session.py",
        "cache/convert/formats/onnx_adapter.py",
        "cache/convert/quality/runtime.py",
    ),
    "onnxruntime_genai": ("workers/run/genai_session.py",),
    "psutil": (
        "workers/device/machine.py",
        "loadtests/host/machine.py",
        "loadtests/overhead/processes.py",
        "loadtests/chaos/service.py",
    ),
    "multiprocessing": ("service/processes/child.py", "service/supervisor.py"),
    "starlette": ("gateway/", "loadtests/overhead/bare_server.py"),
    "opentelemetry": ("gateway/telemetry.py",),
    "prometheus_client": ("gateway/operations/metrics.py",),
    "hypercorn": (
        "gateway/server.py",
        "gateway/connection.py",
        "gateway/http1.py",
        "gateway/http1_stream.py",
        "loadtests/overhead/bare_server.py",
    ),
    "tokenizers": ("workers/", "cache/convert/"),
    "jinja2": ("workers/model/",),
    "soundfile": ("workers/speech/audio_file.py",),
    "soxr": ("workers/speech/audio_file.py",),
    "llguidance": ("workers/grammar/",),
    "gguf": ("cache/convert/",),
    "onnx": (
        "cache/convert/",
        "loadtests/products.py",
        "workers/graph/",
        "workers/device/provider_probe.py",
    ),
    "httpx2": ("cache/remote/", "client/", "gateway/foundry/proxy.py", "loadtests/"),
    "typer": ("client/commands/", "client/terminal/"),
    "rich": ("client/terminal/",),
    "pydantic_settings": ("service/settings/",),
}

# Whoever can write such bytes can run code where they are read.
UNSAFE = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
UNSAFE_CALLS = {"recv_pyobj", "send_pyobj"}

# Light commands, and what none of them may load.
HEAVY = {"starlette", "hypercorn", "zmq", "onnxruntime", "onnxruntime_genai", "numpy", "onnx"}
SLOW = {"pydantic", "httpx2"}


def folder(file: str) -> str:
    return file.rpartition("/")[0]


def test_the_packages_are_there() -> None:
    assert {Path(found.file).parts[0] for found in ours()} == set(PACKAGES)


def test_packages_import_one_way() -> None:
    def within(found: Import) -> bool:
        package = Path(found.file).parts[0]
        allowed = (f"cupola.{package}", *ALLOWED[package])
        return any(
            name == module or name.startswith(module + ".")
            for name in found.names
            for module in allowed
        )

    cupolas = [found for found in ours() if found.top == "cupola"]
    assert cupolas
    assert [str(found) for found in cupolas if not within(found)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_folders_import_downwards(package: str) -> None:
    depth = rooms.levels(package)
    folders = {folder(path.relative_to(ROOT).as_posix()) for path in sources(package)}
    assert folders == set(depth), "a folder without a level"
    wrong = []
    for found in ours():
        source, target = folder(found.file), folder(found.target)
        inside = found.file.startswith(f"{package}/") and found.target.startswith(f"{package}/")
        # A package's __init__ may offer what lies above its folder: it is for those outside.
        offers = found.file == f"{package}/__init__.py"
        if inside and source != target and depth[source] >= depth[target] and not offers:
            wrong.append(str(found))
    assert wrong == []


def test_the_picture_shows_the_folders_in_their_order() -> None:
    assert rooms.PICTURE.read_text(encoding="utf-8") == rooms.drawn(), "python -m tests.rooms"


def test_no_two_files_import_each_other_in_a_circle() -> None:
    arrows: dict[str, set[str]] = defaultdict(set)
    for found in ours():
        if found.target and found.target != found.file:
            arrows[found.file].add(found.target)
    assert set(circles(arrows)) == set()


def test_apis_share_nothing_but_what_lies_below_them() -> None:
    """What two of these APIs need is in ``core`` or ``http``, never in the folder of one."""
    apis = ("gateway/anthropic/", "gateway/ollama/", "gateway/openai/")
    assert [
        str(found)
        for found in ours()
        for api in apis
        for other in apis
        if found.file.startswith(api) and other != api and found.target.startswith(other)
    ] == []


def circles(arrows: Mapping[str, set[str]]) -> Iterator[frozenset[str]]:
    """The strongly connected components of more than one file (Tarjan 1972)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(file: str) -> Iterator[frozenset[str]]:
        order[file] = lowest[file] = len(order)
        stack.append(file)
        for target in sorted(arrows.get(file, ())):
            if target not in order:
                yield from visit(target)
                lowest[file] = min(lowest[file], lowest[target])
            elif target in stack:
                lowest[file] = min(lowest[file], order[target])
        if lowest[file] == order[file]:
            at = stack.index(file)
            component = frozenset(stack[at:])
            del stack[at:]
            if len(component) > 1:
                yield component

    for file in sorted(arrows):
        if file not in order:
            yield from visit(file)


def test_circles_are_found() -> None:
    assert set(circles({"a": {"b"}, "b": {"c"}, "c": {"b"}})) == {frozenset({"b", "c"})}
    assert set(circles({"a": {"b", "c"}, "b": {"c"}})) == set()


def test_a_folder_has_a_few_files() -> None:
    counts: dict[str, int] = defaultdict(int)
    for path in sources(*PACKAGES):
        counts[folder(path.relative_to(ROOT).as_posix())] += path.name != "__init__.py"
    assert {name: count for name, count in counts.items() if not FEWEST <= count <= MOST} == {}


def test_a_folder_says_in_a_sentence_what_is_in_it() -> None:
    silent = [
        path.relative_to(ROOT).as_posix()
        for path in sources(*PACKAGES)
        if path.name == "__init__.py" and not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert silent == []


def test_arrows_between_folders() -> None:
    """Prints them; each is one way (see the tests above)."""
    arrows: dict[str, set[str]] = defaultdict(set)
    for found in ours():
        source, target = folder(found.file), folder(found.target)
        if found.target and source != target:
            arrows[source].add(target)
    for source in sorted(arrows):
        print(f"{source:28} -> {', '.join(sorted(arrows[source]))}")
    both = {(a, b) for a in arrows for b in arrows[a] if a in arrows.get(b, ())}
    offered = {("client", "client/sdk"), ("client/sdk", "client")}  # by client/__init__.py
    assert both - offered == set()


def test_no_test_imports_from_another() -> None:
    # pytest would import such a module twice, and what it has would be two things.
    found = [str(each) for each in everyones() if ".test_" in each.names[0]]
    assert found == []


def test_no_import_is_relative() -> None:
    assert [str(found) for found in everyones() if found.relative] == []


def test_no_import_uses_a_bare_folder_name() -> None:
    # `import scheduler` works in the checkout's root, and makes a second copy of every class.
    assert [str(found) for found in everyones() if found.top in PACKAGES] == []


@pytest.mark.parametrize("library", BORDERS)
def test_a_library_stays_in_its_files(library: str) -> None:
    users = [found for found in ours() if found.top == library]
    outside = [found for found in users if not found.file.startswith(BORDERS[library])]
    assert [str(found) for found in outside] == []
    unused = [b for b in BORDERS[library] if not any(u.file.startswith(b) for u in users)]
    assert unused == [], "files that may use the library and do not"


# Who reads the clock of the day: for dates that people or files see, never for how long something
# takes. That clock can jump.
CLOCK_OF_THE_DAY = (
    "gateway/telemetry.py",  # spans
    "workers/model/chat_template.py",  # templates that write the date
    "workers/run/prepacked.py",  # ages of files
    "workers/kv/prefix_files.py",
)


@pytest.mark.parametrize("package", ["scheduler", "workers", "gateway/core", "gateway/http"])
def test_no_deadline_goes_by_the_clock_of_the_day(package: str) -> None:
    readers = {
        str(file.relative_to(ROOT))
        for file in (ROOT / package).rglob("*.py")
        if _reads_the_day(ast.parse(file.read_text("utf-8")))
    }
    assert readers <= set(CLOCK_OF_THE_DAY)


def test_the_clock_of_the_day_is_found() -> None:
    assert _reads_the_day(ast.parse("import time\ntime.time()"))
    assert _reads_the_day(ast.parse("datetime.datetime.now()"))
    assert not _reads_the_day(ast.parse("time.monotonic()"))


def _reads_the_day(tree: ast.AST) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in ("time", "time_ns", "now", "utcnow")
        and isinstance(node.value, ast.Name | ast.Attribute)
        and (node.value.id if isinstance(node.value, ast.Name) else node.value.attr)
        in ("time", "datetime")
        for node in ast.walk(tree)
    ) or any(
        isinstance(node, ast.ImportFrom)
        and node.module == "time"
        and any(name.name == "time" for name in node.names)
        for node in ast.walk(tree)
    )


def test_nothing_is_pickled() -> None:
    assert [str(found) for found in everyones() if found.top in UNSAFE] == []
    for path in sources(*PACKAGES):
        text = path.read_text("utf-8")
        assert not any(call in text for call in UNSAFE_CALLS), path


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


def command(*arguments: str) -> str:
    """Code that runs the command line."""
    run = "from cupola.client.commands.main import main; main()"
    return f"sys.argv[1:] = {list(arguments)}; {run}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", ["--help", "--version", "model list", "cache list", "cache location"]
)
def test_light_commands_load_nothing_heavy(arguments: str, tmp_path: Path) -> None:
    assert loaded_by(command(*arguments.split()), tmp_path) & (HEAVY | SLOW) == set()


@pytest.mark.slow
def test_service_status_loads_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "daemon.json").write_text('{"web_urls": ["http://127.0.0.1:1"], "pid": 1}')
    assert loaded_by(command("service", "status"), tmp_path) & (HEAVY | SLOW) == set()


@pytest.mark.slow
def test_settings_load_nothing_heavy(tmp_path: Path) -> None:
    assert loaded_by("import cupola.service.settings.settings", tmp_path) & HEAVY == set()
