"""Streamed chat as users see it: time to first token, time between tokens, tokens a second.

Run it against a running service: ``make loadtest``, or

    locust -f loadtests/locustfile.py --headless -u 16 -r 16 -t 60s

Locust's own table has a row an event: TTFT (ms, send to first text), ITL (ms between two pieces of
text of one answer) and the whole answer. Tokens a second are printed at the end. The loop is
closed: a user asks again when its answer is there.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator

from locust import HttpUser, between, events, task
from locust.env import Environment

MODEL = "smollm2-135m"
MAX_TOKENS = 64
TOPICS = (
    "a cat, gravity, the sea, bread, an old clock, trains, volcanoes, chess, rain, bees, the moon, "
    "bridges, tea, wolves, maps, glass"
).split(", ")
SYSTEM = "You are a careful assistant of a small library and answer in full sentences. " * 30


class Totals:
    """What all users together have got since the start of the run."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.tokens = 0
        self.began = time.perf_counter()

    def rate(self) -> float:
        return self.tokens / (time.perf_counter() - self.began)


totals = Totals()


@events.test_start.add_listener
def begin(**_: object) -> None:
    totals.restart()


@events.quitting.add_listener
def report(environment: Environment, **_: object) -> None:
    print(f"\n{totals.tokens} tokens, {totals.rate():.1f} tokens/s over all users\n")


class ChatUser(HttpUser):
    """An app that asks, reads the stream to its end, and asks again."""

    host = "http://127.0.0.1:5273"
    wait_time = between(0, 0.1)

    @task(3)
    def short_prompt(self) -> None:
        self.ask("short", [])

    @task(1)
    def shared_system_prompt(self) -> None:
        self.ask("shared prefix", [{"role": "system", "content": SYSTEM}])

    def ask(self, name: str, messages: list[dict[str, str]]) -> None:
        topic = f"Write a story about {random.choice(TOPICS)}, number {random.randint(0, 9999)}."
        body = {
            "model": MODEL,
            "messages": [*messages, {"role": "user", "content": topic}],
            "max_tokens": MAX_TOKENS,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        began = last = time.perf_counter()
        with self.client.post(
            "/v1/chat/completions", json=body, stream=True, name=name, catch_response=True
        ) as response:
            first = True
            for chunk in chunks(response.iter_lines()):
                if "error" in chunk:
                    response.failure(chunk["error"]["message"])
                    return
                if usage := chunk.get("usage"):
                    totals.tokens += usage["completion_tokens"]
                if any(choice["delta"].get("content") for choice in chunk["choices"]):
                    now = time.perf_counter()
                    event, since = ("TTFT", began) if first else ("ITL", last)
                    self.record(event, name, now - since)
                    first, last = False, now

    def record(self, event: str, name: str, seconds: float) -> None:
        self.environment.events.request.fire(
            request_type=event,
            name=name,
            response_time=seconds * 1000,
            response_length=0,
            exception=None,
            context={},
        )


def chunks(lines: Iterator[bytes]) -> Iterator[dict]:
    """The JSON of a server-sent event stream, up to ``[DONE]``."""
    for line in lines:
        if line.startswith(b"data: ") and line != b"data: [DONE]":
            yield json.loads(line[6:])
