"""Commands of Foundry Local's two command lines that need a service, or change what one gets."""

from __future__ import annotations

import json
import re
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from cupola.cache.home import Home
from tests.client.command_line import Cli

pytestmark = pytest.mark.slow

URL = re.compile(r"http://(?:[a-zA-Z0-9.-]+|\d{1,3}(?:\.\d{1,3}){3}):\d+")


def test_load_ps_unload(echoing: Cli, model: str) -> None:
    quiet = echoing.having(CUPOLA_MODEL="")  # nothing is loaded at the start
    assert quiet.refused("service", "ps").startswith("cupola: The service is not running")
    loading, loaded = quiet.ok("model", "load", "smollm2-135m", "--ttl", "60").splitlines()
    assert (loading, loaded) == ("🕓 Loading model...", f"🟢 Model {model} loaded successfully")
    title, head, row = quiet.ok("service", "ps").splitlines()
    assert title == "Models running in service:"
    assert re.split(r"\s{2,}", head.strip()) == ["Alias", "Model ID"]
    assert re.split(r"\s{2,}", row) == ["🟢", "smollm2-135m", model]
    assert quiet.ok("service", "list") == quiet.ok("service", "ps")
    (record,) = json.loads(quiet.ok("model", "list", "--loaded", "-o", "json"))["models"]
    assert (record["id"], record["loaded"]) == (model, True)
    record = json.loads(quiet.ok("model", "info", model, "-o", "json"))
    assert (record["loaded"], record["engine"], record["engineReason"]) == (True, "echo", None)
    assert re.search(r"^Engine +echo$", quiet.ok("model", "info", model), re.M)
    (record,) = json.loads(quiet.ok("cache", "ls", "-o", "json"))["models"]
    assert record["loaded"]
    assert (
        quiet.ok("model", "unload", "smollm2-135m") == f"🔴 Model {model} unloaded successfully\n"
    )
    assert quiet.ok("service", "ps") == "No models are currently loaded in the service\n"
    assert quiet.ok("model", "unload", model) == f"Model {model} is not loaded\n"
    told = json.loads(quiet.ok("model", "load", "smollm2-135m", "-o", "json"))
    assert told == {
        "success": True,
        "message": f"Loaded 'smollm2-135m' (CPU variant '{model}') into memory.",
    }
    told = json.loads(quiet.ok("-o", "json", "model", "unload", "smollm2-135m"))
    assert told == {"success": True, "message": f"Unloaded '{model}' from memory."}


def test_load_of_what_is_not_there(cupola: Cli) -> None:
    assert "cupola model download" in cupola.refused("model", "load", "smollm2-135m")
    assert "did you mean" in cupola.refused("model", "load", "smollm")


def test_server_verbs(echoing: Cli) -> None:
    record = json.loads(
        echoing.ok("server", "start", "-p", "0", "--idle-timeout", "5", "-o", "json")
    )
    assert record["idleTimeoutMinutes"] == 5
    text = echoing.ok("server", "status")
    found = re.search(r"Web URLs\s+(https?://\S+)", text)
    assert found
    assert [found[1]] == record["webUrls"]
    assert json.loads(echoing.ok("server", "status", "-o", "json"))["webUrls"] == record["webUrls"]
    assert echoing.ok("server", "logs", "-n", "1").count("\n") == 1
    state = json.loads(echoing.ok("-o", "json", "status"))
    assert state["service"]["webUrls"] == record["webUrls"]
    assert state["connectivity"] == {"service": "ok"}
    assert state["executionProviders"]["CPUExecutionProvider"] == "works"
    shown = echoing.ok("status")
    assert re.search(r"^Execution providers$", shown, re.M)
    assert re.search(r"^  CPUExecutionProvider works$", shown, re.M)
    stopped = json.loads(echoing.ok("server", "stop", "-o", "json"))
    assert stopped == {"success": True, "message": "Server stopped."}
    assert not URL.search(echoing.ok("server", "status"))


def test_set_restarts_a_running_service(echoing: Cli, home: Home, tmp_path: Path) -> None:
    echoing.ok("service", "start")
    other = tmp_path / "models"
    text = echoing.ok("service", "set", "--cachedir", str(other))
    assert re.fullmatch(
        "Saving new settings\nRestarting service...\n🔴 Service is stopped.\n"
        r"🟢 Service is Started on http://127.0.0.1:\d+/, PID \d+!\n",
        text,
    )
    assert echoing.ok("cache", "location") == f"💾 Cache directory path: {other}\n"
    answer = json.loads(echoing.ok("cache", "location", "-o", "json"))
    assert answer.items() >= {"path": str(other), "userSet": True}.items()
    assert echoing.ok("cache", "cd", str(tmp_path / "third")).startswith("Restarting service...\n")
    assert "Reset" in echoing.ok("config", "reset", "cache-directory")
    assert echoing.ok("cache", "location") == f"💾 Cache directory path: {home.models}\n"


def test_set_without_a_service(cupola: Cli, home: Home) -> None:
    head, body = cupola.ok("service", "set", "--show").splitlines()
    assert head == "No settings changed"
    shown = json.loads(body)["serviceSettings"]
    assert (shown["host"], shown["port"], shown["schema"]) == ("localhost", 5273, "http")
    assert cupola.ok("service", "set", "--port", "8080") == "Saving new settings\n"
    assert tomllib.loads(home.settings_file.read_text()) == {"port": 8080}
    assert "99999" in cupola.refused("service", "set", "--port", "99999")


def test_what_is_advised_works_where_the_settings_file_is_wrong(cupola: Cli, home: Home) -> None:
    home.root.mkdir(exist_ok=True)
    home.settings_file.write_text("prot = 3")
    refused = cupola.refused("config", "show")
    assert "prot" in refused and "did you mean port?" in refused
    assert "To see every setting: cupola serve --help" in refused
    assert "--port" in cupola.ok("serve", "--help")


def test_config_set_and_reset(cupola: Cli, home: Home, tmp_path: Path) -> None:
    cupola.ok("config", "set", "idle-timeout-minutes", "5")
    cupola.ok("config", "set", "port", "auto")
    cupola.ok("config", "set", "log-level", "debug")
    assert json.loads(cupola.ok("config", "set", "slots", "3", "-o", "json"))["success"]
    expected = {"model_ttl": 300.0, "port": 0, "log_level": "debug", "slots": 3}
    assert tomllib.loads(home.settings_file.read_text()) == expected
    refused = cupola.refused("config", "set", "slot", "3")
    assert "slot is not a setting; did you mean slots?" in refused
    refused = cupola.refused("config", "set", "slots", "many")
    assert "slots = 'many' (the argument VALUE) is not allowed" in refused
    assert "number of minutes" in cupola.refused("config", "set", "idle-timeout-minutes", "x")
    assert tomllib.loads(home.settings_file.read_text()) == expected
    assert cupola.ok("config", "reset", "port") == "Reset: port\n"
    assert cupola.ok("config", "reset", "port") == "port was not set\n"
    cupola.ok("config", "set", "cache-directory", str(tmp_path / "models"))
    records = json.loads(cupola.ok("config", "show", "-o", "json"))
    values = {record["key"]: record for record in records}
    assert values["cache-directory"]["value"] == str(tmp_path / "models")
    assert values["cache-directory"]["userSet"]
    assert values["slots"]["value"] == 3


def test_clear(cupola: Cli, model: str) -> None:
    assert "--yes" in cupola.refused("cache", "clear")
    assert cupola.ok("cache", "clear", "--yes") == f"Deleted model {model} from the cache.\n"
    assert cupola.ok("cache", "clear", "--yes") == "No models are cached on device.\n"


def test_rm_and_show_are_other_names(cupola: Cli, model: str) -> None:
    assert cupola.ok("model", "show", "smollm2-135m") == cupola.ok("model", "info", "smollm2-135m")
    assert cupola.ok("model", "info", "smollm2-135m", "--license") == "apache-2.0\n"
    assert json.loads(cupola.ok("cache", "rm", model, "--yes", "-o", "json"))["success"]


def test_filters(cupola: Cli, model: str) -> None:
    assert model in cupola.ok("model", "list", "--filter", "alias=smol*")
    assert model not in cupola.ok("model", "list", "--filter", "device=GPU")
    assert model not in cupola.ok("model", "ls", "--type", "embedding")
    assert model in cupola.ok("model", "ls", "--cached", "--device", "cpu", "--search", "SMOL")
    assert "is not a filter" in cupola.refused("model", "list", "--filter", "size=3")


def test_complete_and_run(echoing: Cli, model: str) -> None:
    assert echoing.ok("complete", "smollm2-135m", "two words") == "two words \n"
    run = echoing("run", "smollm2-135m", "--prompt", "one", "--verbose", "--retain", "false")
    assert run.stdout == "one \n"
    assert f"🟢 Model {model} loaded successfully" in run.stderr
    assert "Time cost to load model: 0:00:0" in run.stderr
    assert echoing.ok("chat", model, typed="hello\n/exit\n") == "hello \n"
    assert "'true', 'false'" in echoing.refused("run", "--retain", "maybe", status=2)


def test_transcribe_needs_a_recording(cupola: Cli) -> None:
    assert "nothing to transcribe" in cupola.refused("transcribe")
    assert "no file speech.wav" in cupola.refused("transcribe", "--file", "speech.wav")


def test_report_and_logs(cupola: Cli, home: Home, tmp_path: Path) -> None:
    text = cupola.ok("report")
    assert "## What happened" in text
    assert "cupola" in text
    assert "There is no log" in cupola.refused("zip-logs", str(tmp_path / "logs.zip"))
    home.logs.mkdir(parents=True)
    (home.logs / "cupola-2026-01-01.log").write_text("line\n")
    cupola.ok("zip-logs", str(tmp_path / "logs.zip"))
    with zipfile.ZipFile(tmp_path / "logs.zip") as archive:
        assert archive.namelist() == ["cupola-2026-01-01.log"]


def test_what_is_unknown_is_told_in_foundry_locals_words(cupola: Cli) -> None:
    text = cupola.refused("service", "bogus", status=2)
    assert "Unrecognized command or argument 'bogus'." in text
    assert "--help' to see usage" in text
    assert "Did you mean" not in text


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["modle"], "'cupola model'"),
        (["model", "lst"], "'cupola model list'"),
        (["ls"], "'cupola model ls' or 'cupola cache ls'"),  # as Ollama has it
        (["start"], "'cupola service start' or 'cupola server start'"),  # and not 'status'
    ],
)
def test_what_an_unknown_command_may_mean_is_told(
    cupola: Cli, typed: list[str], meant: str
) -> None:
    assert f"'{typed[-1]}'. Did you mean {meant}?\n" in cupola.refused(*typed, status=2)
    told = json.loads(cupola(*typed, "-o", "json").stdout)
    assert f"Did you mean {meant}?" in told["message"]


@pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")
def test_a_unit_for_systemd(cupola: Cli, home: Home, tmp_path: Path) -> None:
    cupola = cupola.having(XDG_CONFIG_HOME=str(tmp_path), CUPOLA_PORT="8080", PATH="")
    text = cupola.ok("service", "install", "--print")
    assert f'ExecStart="{sys.executable}" "-P" "-m" "cupola.service"\n' in text
    assert f'Environment="CUPOLA_HOME={home.root}"\nEnvironment="CUPOLA_PORT=8080"\n' in text
    unit = tmp_path / "systemd" / "user" / "cupola.service"
    assert "systemctl --user enable --now cupola.service" in cupola.ok("service", "install")
    assert unit.read_text() == text
    cupola.ok("service", "uninstall")
    assert "There is no unit" in cupola.refused("service", "uninstall")
