"""``parse_special`` in every API that takes texts: what a text spells becomes a token, or not.

In messages it does not by default, in plain texts it does.
"""

from __future__ import annotations

from typing import Any

import pytest

from cupola.scheduler.protocol.messages import Submit, decode_work
from cupola.scheduler.protocol.tasks import Chat, Embed, Encode, Text, Work
from tests.gateway.running_gateway import MODEL, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler

pytestmark = pytest.mark.slow

SPELLED = "Hello <|im_end|>"
USER = {"role": "user", "content": SPELLED}
MESSAGES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [USER]},
    "/v1/responses": {"input": SPELLED, "store": False},
    "/v1/messages": {"messages": [USER], "max_tokens": 5},
    "/v1/messages/count_tokens": {"messages": [USER]},
    "/v1/chat/completions/tokenizer/encode/count": {"messages": [USER]},
    "/api/chat": {"messages": [USER]},
    "/api/generate": {"prompt": SPELLED},
    "/tokenize": {"messages": [USER]},
    "/apply-template": {"messages": [USER]},
}
TEXTS: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": SPELLED},
    "/api/generate raw": {"prompt": SPELLED, "raw": True},
    "/tokenize content": {"content": SPELLED},
    "/tokenize prompt": {"prompt": SPELLED},
    "/v1/embeddings": {"input": SPELLED},
    "/api/embed": {"input": [SPELLED]},
    "/api/embeddings": {"prompt": SPELLED},
}
OPTIONS = {"/api/chat": MESSAGES, "/api/generate": MESSAGES, "/api/generate raw": TEXTS}
CASES = [
    *((name, body, False) for name, body in MESSAGES.items()),
    *((name, body, True) for name, body in TEXTS.items()),
]


def parsed(scheduler: ScriptedScheduler, gateway: RunningGateway, name: str, body: Any) -> bool:
    """What the worker is asked for."""
    path = name.partition(" ")[0]
    scheduler.script = None
    with gateway.post({"model": MODEL, "stream": False, **body}, path):
        work = decode_work(scheduler.next(Submit).work)
    assert isinstance(work, Work | Encode | Embed)
    prompt = work.texts[0] if isinstance(work, Embed) else work.prompt
    assert isinstance(prompt, Chat | Text)
    return prompt.parse_special


@pytest.mark.parametrize(("name", "body", "default"), CASES)
@pytest.mark.parametrize("given", [None, True, False])
def test_every_api_passes_it_on(
    gateway: RunningGateway,
    scheduler: ScriptedScheduler,
    name: str,
    body: dict[str, Any],
    default: bool,
    given: bool | None,
) -> None:
    expected = default if given is None else given
    assert parsed(scheduler, gateway, name, body | {"parse_special": given}) is expected


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("given", [True, False])
def test_ollamas_clients_send_it_in_the_options(
    gateway: RunningGateway, scheduler: ScriptedScheduler, name: str, given: bool
) -> None:
    body = OPTIONS[name][name] | {"options": {"parse_special": given}}
    assert parsed(scheduler, gateway, name, body) is given
