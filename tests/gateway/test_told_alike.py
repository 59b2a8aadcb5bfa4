"""What several endpoints tell of a model is the same, and it is so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.home import Home
from cupola.scheduler.protocol.messages import Submit
from tests.gateway.running_gateway import HELLO, MODEL, MODEL_ID, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler, work_of

pytestmark = pytest.mark.slow

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
# Takes tools itself; does not, so that the system message describes them; none at all.
TEMPLATES = {"takes tools": "{{ tools }}[TOOL_CALLS]", "other": "{{ messages }}", "none": None}
CAPABILITIES: dict[str, Callable[[httpx2.Client], bool]] = {
    "show": lambda http: "tools" in shown(http)["capabilities"],
    "tags": lambda http: "tools" in http.get("/api/tags").json()["models"][0]["capabilities"],
    "models": lambda http: bool(http.get(f"/v1/models/{MODEL}").json()["toolCalling"]),
    "catalog": lambda http: next(
        bool(model["supportsToolCalling"])
        for model in http.get("/foundry/list").json()
        if model["name"] == MODEL_ID
    ),
}


def shown(http: httpx2.Client) -> dict[str, Any]:
    return dict(http.post("/api/show", json={"model": MODEL}).json())


def folder_of(home: Path) -> Path:
    return Home(home).model_folder(SMOLLM2_135M.publisher, MODEL_ID)


@pytest.mark.parametrize("teller", CAPABILITIES)
@pytest.mark.parametrize("template", TEMPLATES)
def test_tools_are_told_of_where_they_work(
    gateway: RunningGateway, home: Path, teller: str, template: str
) -> None:
    if (text := TEMPLATES[template]) is not None:
        (folder_of(home) / "chat_template.jinja").write_text(text, "utf-8")
    with gateway.http() as http:
        assert CAPABILITIES[teller](http) is (text is not None)


@pytest.mark.parametrize("template", ["takes tools", "other"])
def test_they_do_work_there(
    gateway: RunningGateway, scheduler: ScriptedScheduler, home: Path, template: str
) -> None:
    """The model reads of the tool in the template or in the system message."""
    (folder_of(home) / "chat_template.jinja").write_text(TEMPLATES[template] or "", "utf-8")
    with gateway.http() as http:
        assert http.post("/api/chat", json=HELLO | {"tools": [TOOL]}).status_code == 200
    prompt = work_of(scheduler.next(Submit)).prompt
    assert '"f"' in json.dumps([prompt.tools, prompt.messages]).replace('\\"', '"')


@pytest.mark.parametrize("in_tokenizer", [False, True])
def test_the_template_is_shown_wherever_it_is(
    gateway: RunningGateway, home: Path, in_tokenizer: bool
) -> None:
    text = "{{ messages }}"
    if in_tokenizer:
        config = json.dumps({"chat_template": text})
        (folder_of(home) / "tokenizer_config.json").write_text(config, "utf-8")
    else:
        (folder_of(home) / "chat_template.jinja").write_text(text, "utf-8")
    with gateway.http() as http:
        assert shown(http)["template"] == text
