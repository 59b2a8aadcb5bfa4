"""What transcriptions cost the chats of a running service, and when their first words come.

    python -m loadtests.speech_beside_chat --url http://127.0.0.1:5273 --chat smollm2-135m
        --speech whisper-tiny.en talk.wav --clients 8 --listeners 1 --seconds 20

Chats run alone and beside transcriptions, in turn. Printed are the times between two pieces of text
of all chats, and how long the first words of a transcription took.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2


class Load:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._content = options.file.read_bytes()
        self.gaps: dict[bool, list[float]] = {False: [], True: []}  # by whether somebody listens
        self.first_words: list[float] = []
        self.transcripts = 0

    async def run(self) -> None:
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(
            base_url=self._options.url, timeout=None, limits=limits
        ) as client:
            await self._listen(client, until=0.0)  # both models are loaded now
            await self._chat(client, [], until=0.0)
            self.first_words.clear()
            self.transcripts = 0
            for _ in range(self._options.rounds):
                for beside in (False, True):
                    until = time.monotonic() + self._options.seconds
                    listeners = self._options.listeners if beside else 0
                    async with asyncio.TaskGroup() as group:
                        for _ in range(self._options.clients):
                            group.create_task(self._chat(client, self.gaps[beside], until))
                        for _ in range(listeners):
                            group.create_task(self._listen(client, until))

    async def _chat(self, client: httpx2.AsyncClient, gaps: list[float], until: float) -> None:
        """Chats until the time has come, once at least."""
        while True:
            asked = {
                "model": self._options.chat,
                "messages": [{"role": "user", "content": "Tell me a story of a lighthouse."}],
                "max_tokens": 100,
                "stream": True,
            }
            last = 0.0
            async for event in _events(client, "/v1/chat/completions", json=asked):
                if not any(each["delta"].get("content") for each in event.get("choices", ())):
                    continue
                now = time.perf_counter()
                if last:
                    gaps.append(now - last)
                last = now
            if time.monotonic() >= until:
                return

    async def _listen(self, client: httpx2.AsyncClient, until: float) -> None:
        while True:
            began, first = time.perf_counter(), 0.0
            form = {"model": self._options.speech, "stream": "true", "language": "en"}
            files = {"file": ("a.wav", self._content)}
            async for event in _events(client, "/v1/audio/transcriptions", data=form, files=files):
                if not first and event.get("type") == "transcript.text.delta":
                    first = time.perf_counter() - began
                    self.first_words.append(first)
            self.transcripts += 1
            if time.monotonic() >= until:
                return


async def _events(
    client: httpx2.AsyncClient, path: str, **sent: Any
) -> AsyncIterator[dict[str, Any]]:
    async with client.stream("POST", path, **sent) as answer:
        if answer.status_code != 200:
            raise SystemExit((await answer.aread()).decode())
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                event = json.loads(line.removeprefix("data: "))
                if "error" in event:
                    raise SystemExit(event["error"]["message"])
                yield event


def main() -> None:
    options = _options()
    load = Load(options)
    asyncio.run(load.run())
    print("| chats | gaps | ITL p50, ms | p99, ms |\n|---|---|---|---|")
    for beside, gaps in load.gaps.items():
        cuts = statistics.quantiles(gaps, n=100)
        name = "beside transcriptions" if beside else "alone"
        print(f"| {name} | {len(gaps)} | {1e3 * cuts[49]:.0f} | {1e3 * cuts[98]:.0f} |")
    first = statistics.median(load.first_words)
    print(f"{load.transcripts} transcripts; their first words after {first:.2f} s (median)")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:5273")
    parser.add_argument("--chat", default="smollm2-135m")
    parser.add_argument("--speech", default="whisper-tiny.en")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--listeners", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--rounds", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
