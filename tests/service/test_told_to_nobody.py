"""What clients ask and how they are answered is in no log and no metric, at any level."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.client.command_line import Cli
from tests.service.running_service import MODEL, PATIENCE, Service

pytestmark = pytest.mark.slow

CANARY = "xylophonist-7f3a"
KEY = "sk-canary-0123456789abcdef"
USER = {"role": "user", "content": CANARY}
CHAT: dict[str, Any] = {"messages": [USER]}
SCHEMA = {"type": "object", "properties": {CANARY: {"type": "string"}}}
FUNCTION = {"name": "look", "description": CANARY, "parameters": SCHEMA}
TOOL = {"type": "function", "function": FUNCTION}
FORM = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
# By path: bodies, of which each has the canary. Some are refused, some make a worker fail.
ASKED: Mapping[str, list[Any]] = {
    "/v1/chat/completions": [
        CHAT,
        CHAT | {"stream": True},
        CHAT | {"tools": [TOOL]},
        CHAT | {"response_format": FORM},
        CHAT | {"temperature": CANARY},
        CHAT | {"stop": CANARY, "user": CANARY, "metadata": {CANARY: CANARY}},
        {"messages": [{"role": CANARY, "content": CANARY}]},
        {"messages": [{"role": "user", "content": f"echo:refuse {CANARY}"}]},
        {"messages": [{"role": "user", "content": f"echo:crash {CANARY}"}]},
        f"{{{CANARY}",
    ],
    "/v1/completions": [{"prompt": CANARY}, {"prompt": [CANARY, CANARY], "stream": True}],
    "/v1/responses": [{"input": CANARY}, {"input": CANARY, "stream": True, "store": True}],
    "/v1/embeddings": [{"input": CANARY}],
    "/v1/messages": [CHAT | {"max_tokens": 9}, CHAT | {"max_tokens": 9, "system": CANARY}],
    "/v1/messages/count_tokens": [CHAT],
    "/v1/decisions": [{"prompt": CANARY, "questions": [CANARY]}, {"input": CANARY}],
    "/v1/systemone": [{"state": CANARY, "questions": [CANARY]}],
    "/v1/rerank": [{"query": CANARY, "documents": [CANARY]}],
    "/v1/score": [{"text_1": CANARY, "text_2": CANARY}],
    "/v1/classify": [{"input": CANARY, "labels": [CANARY]}],
    "/api/chat": [CHAT, CHAT | {"stream": False}],
    "/api/generate": [{"prompt": CANARY, "system": CANARY}],
    "/api/embed": [{"input": CANARY}],
    "/tokenize": [{"content": CANARY}],
    "/apply-template": [CHAT],
}  # fmt: skip


def test_no_prompt_and_no_key_is_in_a_log_a_metric_or_a_report(
    place_model: Callable[[Path], Path], tmp_path: Path
) -> None:
    place_model(tmp_path)
    with Service(tmp_path, backend="echo", log_level="debug", log_format="json") as service:
        with httpx2.Client(base_url=service.ready().url, timeout=PATIENCE) as http:
            http.headers["authorization"] = f"Bearer {KEY}"
            statuses = [_ask(http, path, body) for path, bodies in ASKED.items() for body in bodies]
            _ask_for_speech(http)
            told = http.get("/metrics").text + http.get("/admin/state").text
            reported = _reported(tmp_path)
            http.post("/shutdown")
        log = service.rest_of_log()
    assert 200 in statuses
    assert {400, 500} & set(statuses)
    for text in (told, log, *reported):
        assert CANARY not in text
        assert KEY not in text
    assert "/v1/chat/completions" in log


def _reported(home: Path) -> list[str]:
    """What ``cupola report`` gives away."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("CUPOLA_")}
    cupola = Cli({**clean, "CUPOLA_HOME": str(home), "CUPOLA_API_KEY": KEY})
    return [cupola.ok("report"), cupola.ok("report", "--output", "json")]


def _ask(http: httpx2.Client, path: str, body: Any) -> int:
    if isinstance(body, str):
        return http.post(path, content=body).status_code
    return http.post(f"{path}?q={CANARY}", json={"model": MODEL} | body).status_code


def _ask_for_speech(http: httpx2.Client) -> None:
    sound = {"file": (f"{CANARY}.wav", CANARY.encode(), "audio/wav")}
    http.post("/v1/audio/transcriptions", files=sound, data={"model": MODEL, "prompt": CANARY})
