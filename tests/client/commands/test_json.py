"""``-o json``: every command of the tree answers with JSON, failures too."""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from cupola.client.commands import main
from tests.client.command_line import COMMAND, LONGEST, Cli

MODEL = "smollm2-135m"
# What each command is asked, in this order, and a key that its answer has. A service runs from
# "service start" to "service stop". LOG is a file to write.
ANSWERS = {
    "status": ("", "system"),
    "report": ("", "service"),
    "devices": ("", "providers"),
    "model list": ("", "models"),
    "model info": (MODEL, "contextLength"),
    "model search": ("smol", "catalog"),
    "model download": (MODEL, "success"),
    "cache list": ("", "models"),
    "cache location": ("", "path"),
    "config set": ("slots 3", "success"),
    "config reset": ("slots", "success"),
    "service set": ("--show", "serviceSettings"),
    "service install": ("--print", "unit"),
    "service start": ("", "webUrls"),
    "service restart": ("", "webUrls"),
    "service status": ("", "running"),
    "server status": ("", "running"),
    "model load": (MODEL, "success"),
    "service ps": ("", "models"),
    "workers list": ("", "workers"),
    "workers add": ("--threads 1", "workers"),
    "workers drain": ("cpu:0/1", "workers"),
    "workers restart": ("cpu:0/1", "workers"),
    "workers remove": ("cpu:0/1 --now", "workers"),
    "run": (f"{MODEL} hello", "text"),
    "complete": (f"{MODEL} hello", "finishReason"),
    "model calibrate": (f"{MODEL} nothing.jsonl", "message"),
    "decide": (f"{MODEL} --question late", "message"),  # the echo decides nothing
    "chat": (MODEL, "usage"),
    "model unload": (MODEL, "success"),
    "service logs": ("-n 2", "lines"),
    "zip-logs": ("LOG", "path"),
    "cache cd": ("LOG.folder", "success"),
    "config show": ("", None),  # a list
    "service stop": ("", "success"),
    "server stop": ("", "success"),
    "bench": ("", "message"),
    "simulate": ("", "message"),
    "tune": ("--model no-such-model", "message"),
    "top": ("", "message"),
    "service log-level": ("debug", "message"),
    "keys add": ("app", "key"),
    "keys list": ("", None),  # a list
    "keys remove": ("app", "message"),
    "cache adopt": ("--dry-run", "models"),
    "cache verify": ("", "models"),
    "cache prune": ("--dry-run", "removed"),
    "model remove": (f"{MODEL} --yes", "message"),  # the other folder has none
    "cache clear": ("--yes", "success"),
    "service uninstall": ("", "message"),
    "model import": ("nothing.gguf", "message"),
    "model quantize": ("no-such-model", "message"),
    "transcribe": ("", "message"),
}
FAIL = {
    "bench",
    "simulate",
    "tune",
    "top",
    "service log-level",
    "decide",
    "model calibrate",
    "model remove",
    "service uninstall",
    "model import",
    "model quantize",
    "transcribe",
}
SAME = {
    "service list": "service ps",
    "service diag": "service logs",
    "server start": "service start",
    "server restart": "service restart",
    "server logs": "service logs",
    "model ls": "model list",
    "model show": "model info",
    "model run": "run",
    "cache ls": "cache list",
    "cache pwd": "cache location",
    "cache remove": "model remove",
    "cache rm": "model remove",
}


def commands() -> dict[str, Any]:
    """Every command of the tree, by how it is typed."""
    tree: Any = typer.main.get_command(main.build())
    return {
        f"{name} {inner}".strip(): command
        for name, outer in tree.commands.items()
        for inner, command in getattr(outer, "commands", {"": outer}).items()
    }


def test_no_command_is_forgotten() -> None:
    assert set(commands()) == {*ANSWERS, *SAME, "serve"}
    assert set(SAME.values()) <= set(ANSWERS)
    for name, command in commands().items():
        assert any("-o" in param.opts for param in command.params), name


@pytest.mark.skipif(sys.platform != "linux", reason="has systemd's commands")
def test_every_command_answers_with_one_line_of_json(
    echoing: Cli, model: str, tmp_path: Path
) -> None:
    nobody = "http://127.0.0.1:9"  # no hub is asked
    cupola = echoing.having(XDG_CONFIG_HOME=str(tmp_path), PATH="", HF_ENDPOINT=nobody)
    for name, (arguments, key) in ANSWERS.items():
        given = arguments.replace("LOG", str(tmp_path / "logs")).split()
        done = cupola(*name.split(), *given, "-o", "json", typed="hello\n")
        assert done.returncode == int(name in FAIL), (name, done.stdout, done.stderr)
        (line,) = done.stdout.splitlines()
        answer = json.loads(line)
        assert key is None or key in answer, (name, answer)
        assert answer.get("success", True) is not (name in FAIL) if key else True
        if name in FAIL:
            assert set(answer) == {"success", "message", "hint"}
            assert done.stderr == ""


@pytest.fixture(scope="module")
def one_tree() -> Iterator[None]:
    """Lets the commands of this file share their tree, which a process makes once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main, "build", functools.cache(main.build))
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture
def typed(
    one_tree: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Callable[..., tuple[Any, str]]:
    """Runs a command in this process; the status, and the standard output."""
    monkeypatch.setenv("CUPOLA_HOME", str(tmp_path))

    def run(*arguments: str) -> tuple[Any, str]:
        monkeypatch.setattr(sys, "argv", ["cupola", *arguments])
        with pytest.raises(SystemExit) as end:
            main.main()
        return end.value.code, capsys.readouterr().out

    return run


FORMS = (["-o", "json"], ["-ojson"], ["--output", "json"], ["--output=json"])


@pytest.mark.slow
def test_usage_errors_of_every_command(typed: Callable[..., tuple[Any, str]]) -> None:
    """Each command has one way to write the option, behind it or before it; the rest all."""
    cases = []
    for number, name in enumerate(commands()):
        form, behind = FORMS[number % 4], number % 8 < 4
        case = [*name.split(), "--bogus"]
        cases.append([*case, *form] if behind else [*form, *case])
    for form in FORMS:
        cases += [["bogus", *form], ["model", "bogus", *form], form, ["config", "set", *form]]
        cases += [[*form, "model", "list", "--bogus"], ["model", "list", "--bogus", *form]]
    for case in cases:
        status, text = typed(*case)
        assert status == 2, case
        told = json.loads(text)
        assert told["success"] is False and told["message"] and "--help" in told["hint"], case


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("model info smollm", "did you mean"),
        ("model load smollm2-135m", "not downloaded"),
        ("service ps", "not running"),
        ("config set slots many", "not allowed"),
        ("cache remove smollm2-135m", "not downloaded"),
        ("model list --filter size=3", "is not a filter"),
        ("run smollm2-135m hi --json-schema {", "not JSON"),
        ("run smollm2-135m hi --json-schema missing.json", "No such file"),
    ],
)
def test_failures(
    typed: Callable[..., tuple[Any, str]],
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    words: str,
) -> None:
    monkeypatch.setenv("CUPOLA_PORT", "0")
    status, text = typed(*arguments.split(), "-o", "json")
    told = json.loads(text)
    assert (status, told["success"]) == (1, False)
    assert words in told["message"]


def test_a_defect_is_told_as_such(
    typed: Callable[..., tuple[Any, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("cupola.client.models_folder.location", lambda home: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        typed("cache", "location", "-o", "json")
    assert "defect" in json.loads(capsys.readouterr().out)["message"]


def test_the_version(typed: Callable[..., tuple[Any, str]]) -> None:
    status, text = typed("--version", "-o", "json")
    assert (status, list(json.loads(text))) == (0, ["version"])


@pytest.mark.skipif(sys.platform == "win32", reason="interrupts with a signal")
@pytest.mark.slow
def test_serve_tells_that_its_model_could_not_be_loaded(cupola: Cli, model: str) -> None:
    """The files of ``model`` are none that an engine reads."""
    with subprocess.Popen(
        [*COMMAND, "serve", "-o", "json"],
        env=cupola.having(CUPOLA_PORT="0", CUPOLA_GRACE_SECONDS="1").environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    ) as service:
        assert service.stdout is not None
        ready = json.loads(service.stdout.readline())
        service.send_signal(signal.SIGINT)
        assert service.wait(LONGEST) == 0
    assert (ready["state"], ready["model"], ready["notLoaded"]) == ("ready", "", "smollm2-135m")


@pytest.mark.skipif(sys.platform == "win32", reason="interrupts with a signal")
def test_serve_tells_when_it_is_ready(echoing: Cli, model: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "serve", "-o", "json"],
        env=echoing.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    ) as service:
        assert service.stdout is not None
        ready = json.loads(service.stdout.readline())
        assert (ready["state"], ready["pid"]) == ("ready", service.pid)
        port = ready["webUrls"][0].rpartition(":")[2]
        other = echoing.having(CUPOLA_PORT=port, CUPOLA_HOME=str(tmp_path / "other"))
        failed = other.having(CUPOLA_MODEL="").as_processes()("serve", "-o", "json")
        assert failed.returncode == 1
        assert f"port {port} is in use" in json.loads(failed.stdout)["message"]
        service.send_signal(signal.SIGINT)
        assert service.communicate(timeout=LONGEST)[0] == ""
