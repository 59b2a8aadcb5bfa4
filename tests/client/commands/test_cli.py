"""Commands that need no service: texts, JSON, errors and exit statuses."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from cupola.cache.home import Home
from cupola.client.commands import main
from cupola.service.settings.settings import Settings
from cupola.service.settings.sources import load
from cupola.service.settings.texts import Group, default, flag, in_group, meaning, summary
from tests.client.command_line import COMMAND, Cli
from tests.default_model import DEFAULT_MODEL


def test_version(cupola: Cli) -> None:
    for each in (cupola, cupola.as_processes()):
        assert each.ok("--version") == version("cupola") + "\n"


def test_help_says_what_is_untested(cupola: Cli) -> None:
    text = cupola.ok("--help")
    assert "Windows and macOS" in text
    assert "untested" in text


def test_every_command_has_an_example() -> None:
    group: Any = get_command(main.build())
    commands = [
        (f"{name} {inner}", command)
        for name, outer in group.commands.items()
        for inner, command in getattr(outer, "commands", {"": outer}).items()
    ]
    assert len(commands) > 15
    for name, command in commands:
        # Two groups share commands, and an example may begin with a variable.
        assert re.search(r"Example: ([A-Z_]+=\S+ )?cupola \S+", command.help), name


def unwrapped(text: str) -> str:
    """Without white space: the help breaks lines behind hyphens as well."""
    return "".join(text.split())


@pytest.mark.parametrize("command", ["serve", "service start", "service restart", "server start"])
def test_every_setting_is_a_flag_of_what_starts_a_service(cupola: Cli, command: str) -> None:
    sections = re.split(r"^(\w+):$", cupola.ok(*command.split(), "--help"), flags=re.M)
    panels = dict(zip(sections[1::2], sections[2::2], strict=True))
    assert list(panels) == [*(group.capitalize() for group in Group), "Options"]
    for group in Group:
        panel = panels[group.capitalize()]
        flags = re.split(r"^ +(?:-\w, )?(--[a-z-]+) <[\w|]+>", panel, flags=re.M)[1:]
        texts = zip(flags[::2], flags[1::2], strict=True)
        shown = {name: unwrapped(text) for name, text in texts}
        assert shown == {
            flag(key): unwrapped(f"{meaning(key)} Default: {default(key)}.")
            for key in in_group(group)
        }


def test_the_value_of_every_flag_reaches_its_setting() -> None:
    wanted = Settings(workers="2", slots=3, model_ttl=-1, kv_cache="int8", cors_origins="*")
    arguments = [
        each for key, value in wanted.model_dump().items() for each in (flag(key), str(value))
    ]
    serve: Any = get_command(main.build()).commands["serve"]  # type: ignore[attr-defined]
    parsed = serve.make_context("serve", arguments).params
    resolved = load({flag.name: parsed[flag.name] for flag in serve.flags})
    assert resolved.settings == wanted
    assert dict(resolved.sources) == {key: flag(key) for key in Settings.model_fields}


def test_a_folder_of_a_flag_does_not_depend_on_where_the_service_runs(
    echoing: Cli, tmp_path: Path
) -> None:
    subprocess.run(
        [*COMMAND, "service", "start", "--home", "here", "--uds", "here/socket"],
        env=echoing.environment,
        cwd=tmp_path,
        check=True,
    )
    folder = tmp_path / "here"
    assert (folder / "daemon.json").exists()
    assert (folder / "socket").is_socket()
    echoing.having(CUPOLA_HOME=str(folder)).ok("service", "stop")


@pytest.mark.parametrize("arguments", [["bogus"], ["model", "list", "--bogus"], ["model", "info"]])
def test_usage_errors(cupola: Cli, arguments: list[str]) -> None:
    for each in (cupola, cupola.as_processes()):
        assert "--help" in each.refused(*arguments, status=2)


def test_model_list(cupola: Cli, home: Home) -> None:
    lines = cupola.ok("model", "list").splitlines()
    titles = ["Alias", "Device", "Task", "File Size", "License", "Model ID"]
    assert re.split(r"\s{2,}", lines[0]) == titles
    assert set(lines[1]) == {"-"}
    row = re.split(r"\s{2,}", lines[2])
    assert row[0] == "smollm2-135m"
    assert row[-1] == DEFAULT_MODEL.id
    assert "cupola model download" in lines[-1]
    assert not home.root.exists()  # a look leaves no trace


def test_model_list_tells_what_is_on_the_disk(cupola: Cli, model: str) -> None:
    assert f"On this disk: {model}" in cupola.ok("model", "ls")
    records = json.loads(cupola.ok("model", "list", "-o", "json"))["models"]
    assert [record["id"] for record in records if record["cached"]] == [model]


def test_model_info(cupola: Cli, model: str, home: Home) -> None:
    record = json.loads(cupola.ok("model", "info", "SmolLM2-135M", "-o", "json"))
    assert (record["id"], record["cached"], record["engine"]) == (model, True, None)
    assert str(home.models) in cupola.ok("model", "info", model)


def test_model_info_tells_of_a_graph_for_few_tokens(cupola: Cli, model: str, home: Home) -> None:
    assert "Few tokens" not in cupola.ok("model", "info", model)
    (config,) = home.models.rglob("genai_config.json")
    config.with_name("few_tokens.onnx").touch()
    assert "\nFew tokens          with a graph of fewer bits, " in cupola.ok("model", "info", model)


def test_model_info_tells_what_an_import_measured(cupola: Cli, model: str, home: Home) -> None:
    (config,) = home.models.rglob("genai_config.json")
    file = config.parent / "quality.json"
    figures = {
        "perplexity": 20.06,
        "perplexity_fp32": 20.0,
        "kl_divergence": 0.0071,
        "size_bytes": 141_440_861,
        "weights": [
            {"name": "down_proj", "bits": 4, "source": "Q4_K", "share": 0.5},
            {"name": "down_proj", "bits": 8, "source": "Q6_K", "share": 0.5},
            {"name": "lm_head", "bits": 8, "source": "Q6_K", "share": 1.0},
        ],
        "tokens_per_second_1": 110.4,
        "tokens_per_second_16": 600.0,
    }
    file.write_text(json.dumps(figures))
    text = cupola.ok("model", "info", model)
    assert "\nQuality             perplexity +0.3% against float32, KL divergence 0.007\n" in text
    assert "\nWeights             141 MB\n" in text
    bits = "down_proj 4 (Q4_K, 50%) and 8 (Q6_K, 50%), lm_head 8 (Q6_K)"
    assert f"\nBits a weight       {bits}\n" in text
    assert "\nSpeed               about 110 / 600 tokens/s at 1 / 16 sequences, " in text
    assert json.loads(cupola.ok("model", "info", model, "-o", "json"))["quality"] == figures
    file.write_text("damaged")
    assert "Quality" not in cupola.ok("model", "info", model)
    assert json.loads(cupola.ok("model", "info", model, "-o", "json"))["quality"] is None


def test_an_unknown_model_is_told_with_near_names(cupola: Cli) -> None:
    text = cupola.refused("model", "info", "smollm")
    assert re.search(r"did you mean .*\bsmollm2-135m\b", text)
    assert "cupola model list" in text


def test_a_model_that_is_there_is_not_fetched(cupola: Cli, model: str) -> None:
    assert "was found in the local cache" in cupola.ok("model", "download", "smollm2-135m")


def test_an_index_that_cannot_be_reached(cupola: Cli) -> None:
    offline = cupola.having(
        PIP_CONFIG_FILE="/dev/null",
        PIP_INDEX_URL="http://127.0.0.1:1/simple",
        PIP_RETRIES="0",
        PIP_FIND_LINKS="",
        PIP_EXTRA_INDEX_URL="",
    )
    text = offline.refused("model", "download", "smollm2-135m")
    assert "cupola model import FILE.gguf" in text


def test_import_of_what_is_no_model(cupola: Cli, tmp_path: Path) -> None:
    assert "There is no file" in cupola.refused("model", "import", "nothing.gguf")
    file = tmp_path / "text.gguf"
    file.write_text("not a model")
    assert str(file) in cupola.refused("model", "import", str(file))


def test_remove_asks_first(cupola: Cli, model: str, home: Home) -> None:
    assert "--yes" in cupola.refused("model", "remove", "smollm2-135m")
    assert model in cupola.ok("cache", "list")
    assert cupola.ok("model", "remove", "smollm2-135m", "--yes") == (
        f"Deleted model {model} from the cache.\n"
    )
    assert "not downloaded" in cupola.refused("cache", "remove", "smollm2-135m", "--yes")


def test_cache_list(cupola: Cli, model: str) -> None:
    title, head, row = cupola.ok("cache", "list").splitlines()
    assert title == "Models cached on device:"
    assert re.split(r"\s{2,}", head.strip()) == ["Alias", "Model ID"]
    assert re.split(r"\s{2,}", row) == ["💾 smollm2-135m", model]
    (record,) = json.loads(cupola.ok("cache", "ls", "-o", "json"))["models"]
    assert record["id"] == model


def test_cache_list_of_nothing(cupola: Cli) -> None:
    assert "No models are cached" in cupola.ok("cache", "list")


def test_cache_location(cupola: Cli, home: Home, tmp_path: Path) -> None:
    assert cupola.ok("cache", "location") == f"💾 Cache directory path: {home.models}\n"
    other = Home(tmp_path / "other")
    answer = cupola.ok("--home", str(other.root), "cache", "location", "-o", "json")
    told = json.loads(answer)
    assert (told["path"], told["userSet"], told["modelBytes"]) == (str(other.models), True, 0)


def test_config_show(cupola: Cli, home: Home) -> None:
    home.root.mkdir()
    home.settings_file.write_text("slots = 3\n")
    text = cupola.having(CUPOLA_PORT="8080").ok("config", "show")
    rows = {row[0]: row[1:3] for line in text.splitlines() if (row := re.split(r"\s{2,}", line))}
    assert rows["port"] == ["8080", "CUPOLA_PORT"]
    assert rows["slots"] == ["3", str(home.settings_file)]
    assert rows["host"] == ["localhost", "default"]
    assert rows["model_ttl"] == ["600", "default"]
    records = json.loads(cupola.ok("config", "show", "--json"))
    assert {
        "key": "slots",
        "value": 3,
        "source": str(home.settings_file),
        "userSet": True,
    } in records
    assert {record["key"] for record in records} == {*Settings.model_fields, "cache-directory"}
    assert all(
        re.search(rf"^{key} .*{re.escape(summary(key))}$", text, re.M)
        for key in Settings.model_fields
    )


def test_wrong_settings_are_told_before_anything_starts(cupola: Cli) -> None:
    text = cupola.refused("serve", "--port", "99999")
    assert "port = 99999 (--port) is not allowed" in text
    text = cupola.having(CUPOLA_PROT="1").refused("config", "show")
    assert "did you mean CUPOLA_PORT?" in text


def test_output_is_utf8_whatever_the_language(cupola: Cli) -> None:
    language = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    plain = cupola.having(**language).as_processes()
    assert "💾" in plain.ok("cache", "location")
