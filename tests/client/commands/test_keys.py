"""``cupola keys``: a key is printed once, and only its digest stays."""

from __future__ import annotations

import json

import pytest

from cupola.cache.home import Home
from cupola.cache.system.api_keys import KeyFile, matching
from cupola.client.commands.service.setting_flags import with_values
from tests.client.command_line import Cli


def test_a_key_is_made_listed_and_removed(cupola: Cli, home: Home) -> None:
    key = cupola.ok("keys", "add", "laptop", "--model", "qwen*", "--per-minute", "60").strip()
    found = matching(KeyFile(home.api_keys).read(), key)
    assert found is not None
    assert (found.models, found.per_minute, found.admin) == (("qwen*",), 60, False)
    listed = cupola.ok("keys", "list")
    assert "laptop" in listed and key not in listed and found.digest not in listed
    assert "already" in cupola.refused("keys", "add", "laptop")
    cupola.ok("keys", "remove", "laptop")
    assert KeyFile(home.api_keys).read() == []
    assert "No key is called 'laptop'" in cupola.refused("keys", "remove", "laptop")


def test_the_same_in_json(cupola: Cli) -> None:
    made = json.loads(cupola.ok("keys", "add", "ci", "--admin", "-o", "json"))
    assert made["key"].startswith("cupola-")
    [listed] = json.loads(cupola.ok("keys", "list", "-o", "json"))
    assert (listed["name"], listed["admin"], "digest" in listed) == ("ci", True, False)


def test_a_service_for_others_without_a_key_does_not_start(cupola: Cli) -> None:
    quick = ("serve", "--backend", "echo", "--port", "0", "--host", "0.0.0.0")
    assert "cupola keys add NAME" in cupola.as_processes().refused(*quick)


@pytest.mark.parametrize(
    ("given", "complete"),
    [
        (["--insecure"], ["--insecure", "yes"]),
        (["--insecure", "--port", "1"], ["--insecure", "yes", "--port", "1"]),
        (["--insecure", "no", "--legacy-keys"], ["--insecure", "no", "--legacy-keys", "yes"]),
        (["--port", "1"], ["--port", "1"]),
    ],
)
def test_a_switch_needs_no_value(given: list[str], complete: list[str]) -> None:
    assert with_values(given) == complete
