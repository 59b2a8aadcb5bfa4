"""What is read and printed as text: any bytes may come in, and any stream may be the output."""

from __future__ import annotations

import codecs
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cupola.cache.home import Home
from tests.client.command_line import COMMAND, LONGEST, Cli
from tests.client.conftest import echo_services, place_model
from tests.default_model import DEFAULT_MODEL

pytestmark = pytest.mark.slow

posix = pytest.mark.skipif(sys.platform == "win32", reason="arguments and streams of POSIX")
LATIN = b"caf\xe9"
UTF8 = "café 模型 🙂"


def run(
    cli: Cli, *arguments: str | bytes, typed: bytes = b"", shell: str = ""
) -> subprocess.CompletedProcess[bytes]:
    """A command with bytes for text. ``shell``: redirections of its streams."""
    command: list[str | bytes] = [*COMMAND, *arguments]
    if shell:
        command = ["bash", "-c", f'"$@" {shell}', "bash", *command]
    return subprocess.run(
        command, input=typed, capture_output=True, env=cli.environment, timeout=LONGEST
    )


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The command line over a service that runs, for commands that leave it as it is."""
    home = Home(tmp_path_factory.mktemp("serving"))
    place_model(home)
    cli = echo_services(home)
    cli.ok("service", "start")
    yield cli
    cli.ok("service", "stop")


# -- what is read ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "said", "is_told"),
    [
        (LATIN, "caf\ufffd", True),
        (b"\xff\xfe\x00", "\ufffd\ufffd\x00", True),
        (UTF8.encode(), UTF8, False),
        (UTF8.encode()[:-1], "café 模型 \ufffd", True),
        (codecs.BOM_UTF8 + UTF8.encode(), UTF8, False),
        (b"\xed\xa0\x80", "\ufffd" * 3, True),  # half of a surrogate pair
        (b"crlf\r", "crlf", False),
    ],
)
@pytest.mark.parametrize("language", [{}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}])
def test_standard_input(
    serving: Cli, typed: bytes, said: str, is_told: bool, language: dict[str, str]
) -> None:
    cli = serving.having(PYTHONUTF8="0", **language)
    done = run(cli, "run", DEFAULT_MODEL.id, typed=typed + b"\nlast\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == f"{said} \nlast \n"
    assert (done.stderr.count(b"not all UTF-8") == 1) is is_told
    assert b"Traceback" not in done.stderr


@posix
@pytest.mark.parametrize(
    "arguments",
    [
        ["model", "info", LATIN],
        ["model", "list", "--search", LATIN],
        ["model", "list", "--filter", b"alias=" + LATIN],
        ["model", "import", LATIN],
        ["config", "set", "model", LATIN],
        ["config", "set", LATIN, "1"],
        ["config", "show", "--json"],
        ["cache", "cd", LATIN],
        ["--home", LATIN, "cache", "location"],
        ["run", "smollm2-135m", LATIN],
        ["run", "smollm2-135m", "hello", "--system", LATIN],
        ["run", "smollm2-135m", "hello", "--json-schema", LATIN],
        ["zip-logs", LATIN],
        [LATIN],
    ],
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_arguments_that_are_not_utf8(
    serving: Cli,
    cupola: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str | bytes],
    form: str,
) -> None:
    odd = os.fsdecode(bytes(tmp_path) + b"/" + LATIN)
    cli = serving if "run" in arguments else cupola
    cli = cli.having(CUPOLA_HOME=odd) if "show" in arguments else cli
    monkeypatch.chdir(tmp_path)
    done = cli(*map(os.fsdecode, arguments), "-o", form)  # whose output is read as UTF-8
    assert done.returncode in (0, 1, 2)
    assert "Traceback" not in done.stderr


@posix
def test_an_argument_of_a_process_that_is_not_utf8(cupola: Cli) -> None:
    done = run(cupola, "model", "info", LATIN)
    assert done.returncode == 1
    assert "caf" in done.stderr.decode()


@pytest.mark.parametrize("command", [["config", "show"], ["service", "status"], ["run", "x"]])
@pytest.mark.parametrize("text", [codecs.BOM_UTF8 + b"port = 0\n", b"port = 0 # caf\xe9\n"])
def test_a_settings_file_of_other_editors(
    cupola: Cli, home: Home, command: list[str], text: bytes
) -> None:
    home.root.mkdir()
    home.settings_file.write_bytes(text)
    assert "Traceback" not in cupola(*command).stderr
    if text.startswith(codecs.BOM_UTF8):
        assert str(home.settings_file) in cupola.ok("config", "show")
        cupola.ok("config", "set", "slots", "3")
        assert home.settings_file.read_bytes() == b"port = 0\nslots = 3\n"
    else:
        assert "save it as UTF-8" in cupola.refused("config", "show")
        assert "Save it as UTF-8" in cupola.refused("config", "reset", "port")
        assert home.settings_file.read_bytes() == text


# -- what is printed -------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(
    ("arguments", "shell", "status"),
    [
        ("cache location", "| true; exit ${PIPESTATUS[0]}", {0, 1}),
        ("config show", "| head -1; exit ${PIPESTATUS[0]}", {0, 1}),
        ("model info nothing", "2>&1 | true; exit ${PIPESTATUS[0]}", {1}),
        ("cache location", ">&-", {0}),
        ("cache location", "2>&-", {0}),
        ("model info nothing", "2>&-", {1}),
        ("model list", "<&- >&- 2>&-", {0}),
        ("cache clear", "<&-", {0}),
        pytest.param(
            "cache location",
            "> /dev/full",
            {1},
            marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full"),
        ),
    ],
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_an_output_that_nobody_reads(
    cupola: Cli, arguments: str, shell: str, status: set[int], form: str
) -> None:
    done = run(cupola, *arguments.split(), "-o", form, shell=shell)
    assert done.returncode in status, done.stderr
    assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr
    assert (b"No space left" in done.stderr) is ("full" in shell)


@posix
@pytest.mark.parametrize(
    "language", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "LANG": "C"}, {"LC_ALL": "POSIX"}]
)
def test_a_service_prints_whatever_the_language(
    echoing: Cli, model: str, language: dict[str, str]
) -> None:
    plain = echoing.having(**language).as_processes()
    assert "🟢" in plain.ok("service", "start")
    assert plain.ok("run", model, UTF8) == f"{UTF8} \n"
