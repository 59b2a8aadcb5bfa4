"""What the shell offers after Tab."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from cupola.cache.catalog_file import built_in
from cupola.cache.home import Home
from cupola.client.commands import main
from cupola.service.settings.texts import FIELDS, choices, flag
from tests.client.command_line import LONGEST, Cli
from tests.default_model import DEFAULT_MODEL

# The name of the program is that of its console script.
CODE = "import sys; sys.argv[0] = 'cupola'; from cupola.client.commands.main import main; main()"
KEYS = {*FIELDS, "cache-directory", "idle-timeout-minutes"}
CATALOG = {name for each in built_in() for name in (each.alias, each.name)}


def offered(cli: Cli, line: str, shell: str = "bash") -> list[str]:
    """What is offered at the end of a command line."""
    words = line.split(" ")
    asking = cli.having(
        _CUPOLA_COMPLETE=f"complete_{shell}",
        COMP_WORDS=line,
        COMP_CWORD=str(len(words) - 1),
        _TYPER_COMPLETE_ARGS=line,
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    return [word for word in asking.ok().splitlines() if word]


@pytest.mark.parametrize(
    "command", ["model info", "model download", "model run", "run", "chat", "complete"]
)
def test_models_of_the_catalog(cupola: Cli, home: Home, command: str) -> None:
    assert set(offered(cupola, f"cupola {command} ")) == CATALOG
    assert not home.root.exists()  # a look leaves no trace


@pytest.mark.parametrize(
    "command", ["model load", "model unload", "model remove", "cache rm", "cache clear"]
)
def test_models_on_the_disk(cupola: Cli, model: str, command: str) -> None:
    names = {DEFAULT_MODEL.alias, DEFAULT_MODEL.name}
    assert set(offered(cupola, f"cupola {command} ")) == names
    assert offered(cupola, f"cupola {command} nothing") == []


def test_settings(cupola: Cli) -> None:
    assert set(offered(cupola, "cupola config set ")) == KEYS
    assert set(offered(cupola, "cupola config reset model")) == {"model", "model_ttl"}
    for key in ("kv_cache", "log_level"):
        assert offered(cupola, f"cupola config set {key} ") == [*choices(key)]
        assert offered(cupola, f"cupola serve {flag(key)} ") == [*choices(key)]
    assert set(offered(cupola, "cupola serve --kv")) == {"--kv-memory-mb", "--kv-cache"}


def test_words_have_no_colon() -> None:
    """bash would take it for the end of the word."""
    assert not any(":" in name for name in CATALOG)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell(cupola: Cli, shell: str) -> None:
    text = "\n".join(offered(cupola, "cupola model info smollm2-135m", shell))
    assert DEFAULT_MODEL.alias in text
    script = cupola.having(_CUPOLA_COMPLETE=f"source_{shell}").ok()
    assert "_CUPOLA_COMPLETE" in script


def test_bash_itself(cupola: Cli, tmp_path: Path) -> None:
    program = tmp_path / "cupola"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{CODE}" "$@"\n')
    program.chmod(0o755)
    script = cupola.having(_CUPOLA_COMPLETE="source_bash").python(CODE)
    line = "COMP_WORDS=(cupola model info smollm2-135m-i); COMP_CWORD=3"
    done = subprocess.run(
        ["bash", "-c", f'{script}\n{line}; _cupola_completion cupola; echo "${{COMPREPLY[@]}}"'],
        env={**cupola.environment, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        encoding="utf-8",
        timeout=LONGEST,
    )
    names = {each.name for each in built_in() if each.alias == DEFAULT_MODEL.alias}
    assert set(done.stdout.split()) == names, done.stderr


@pytest.mark.parametrize("line", ["cupola config set ", "cupola model info ", "cupola model load "])
def test_what_is_broken_says_nothing(cupola: Cli, home: Home, line: str) -> None:
    folder = home.model_folder("Somebody", "broken")
    folder.mkdir(parents=True)
    (folder / "genai_config.json").write_text("{")
    (folder / "inference_model.json").write_text("{")
    home.settings_file.write_text("port = ")
    asking = cupola.having(
        _CUPOLA_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD="3", CUPOLA_NONSENSE="1"
    )
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        env=asking.environment,
        timeout=LONGEST,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_it_reads_the_disk_only(cupola: Cli, model: str) -> None:
    """Neither a socket nor a process is made; what does it costs is not loaded."""
    watch = (
        "import sys; made = []; "
        "sys.addaudithook(lambda e, a: made.append(e) if e.startswith(('socket.', 'subprocess.', "
        "'os.fork', 'os.posix_spawn', 'os.exec')) else None)\n"
        "import atexit; atexit.register(lambda: print(*made, *({'httpx2', 'onnxruntime', "
        "'numpy', 'zmq', 'starlette'} & set(sys.modules)), file=sys.stderr))\n"
    )
    lines = ["model load s", "model info s", "run s", "config set m", "serve --kv-cache "]
    for line in lines:
        words = f"cupola {line}"
        asking = cupola.having(
            _CUPOLA_COMPLETE="complete_bash",
            COMP_WORDS=words,
            COMP_CWORD=str(len(words.split(" ")) - 1),
        )
        done = subprocess.run(
            [sys.executable, "-c", watch + CODE],
            capture_output=True,
            encoding="utf-8",
            env=asking.environment,
            timeout=LONGEST,
        )
        assert done.stdout.split(), line
        assert done.stderr.strip() == "", line


def test_every_argument_for_a_model_or_setting_is_completed(
    home: Home, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUPOLA_HOME", str(home.root))
    tree: Any = get_command(main.build())
    for outer in tree.commands.values():
        for command in getattr(outer, "commands", {"": outer}).values():
            context = command.make_context("x", [], resilient_parsing=True)
            for param in command.params:
                if param.param_type_name == "argument" and param.name in ("name", "key"):
                    assert param.shell_complete(context, ""), command.name
