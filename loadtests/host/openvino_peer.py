"""OpenVINO GenAI's continuous batching behind a chat endpoint, to be measured.

    openvino_peer.py MODEL.gguf PORT

It runs in an environment of its own, with openvino-genai and aiohttp. Each token is a chunk, and
the usage comes at the end. There are no stop strings and no tools.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import threading
from typing import Any

import openvino_genai
from aiohttp import web

IDLE_SECONDS = 0.5


class Pipeline:
    """The pipeline, stepped by a thread of its own."""

    def __init__(self, model: str, loop: asyncio.AbstractEventLoop) -> None:
        config = openvino_genai.SchedulerConfig()
        config.enable_prefix_caching = True
        config.max_num_batched_tokens = 256
        config.dynamic_split_fuse = True
        config.cache_size = 4
        config.max_num_seqs = 64
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(model, config, "CPU")
        self.tokenizer = self._pipeline.get_tokenizer()
        self._loop = loop
        self._numbers = itertools.count(1)
        self._open: dict[int, tuple[Any, asyncio.Queue[tuple[list[int], bool]]]] = {}
        self._lock, self._work = threading.Lock(), threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def add(self, tokens: Any, config: Any) -> asyncio.Queue[tuple[list[int], bool]]:
        """The tokens of an answer as they come, and whether they were the last."""
        outputs: asyncio.Queue[tuple[list[int], bool]] = asyncio.Queue()
        number = next(self._numbers)
        with self._lock:
            self._open[number] = (self._pipeline.add_request(number, tokens, config), outputs)
        self._work.set()
        return outputs

    def _run(self) -> None:
        while True:
            if not self._pipeline.has_non_finished_requests():
                self._work.wait(IDLE_SECONDS)
                self._work.clear()
                continue
            self._pipeline.step()
            self._hand_out()

    def _hand_out(self) -> None:
        with self._lock:
            requests = list(self._open.items())
        for number, (handle, outputs) in requests:
            tokens: list[int] = []
            while handle.can_read():
                for output in handle.read().values():
                    tokens += list(output.generated_ids)
            last = handle.get_status() != openvino_genai.GenerationStatus.RUNNING
            if tokens or last:
                self._loop.call_soon_threadsafe(outputs.put_nowait, (tokens, last))
            if last:
                with self._lock:
                    self._open.pop(number, None)


def _config(body: dict[str, Any]) -> Any:
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = body.get("max_tokens", 64)
    config.ignore_eos = bool(body.get("ignore_eos"))
    temperature = body.get("temperature", 1.0)
    config.do_sample = temperature > 0
    if config.do_sample:
        config.temperature = temperature
    return config


def _frame(value: object) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


async def chat(request: web.Request) -> web.StreamResponse:
    pipeline, body = request.app[PIPELINE], await request.json()
    said = (f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in body["messages"])
    prompt = "".join(said) + "<|im_start|>assistant\n"
    tokens = pipeline.tokenizer.encode(prompt, add_special_tokens=False).input_ids
    outputs = pipeline.add(tokens, _config(body))
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    count, last = 0, False
    while not last:
        made, last = await outputs.get()
        count += len(made)
        if made:
            text = pipeline.tokenizer.decode(made)
            await response.write(_frame({"choices": [{"index": 0, "delta": {"content": text}}]}))
    usage = {"completion_tokens": count, "prompt_tokens": tokens.shape[1]}
    await response.write(_frame({"choices": [], "usage": usage}) + b"data: [DONE]\n\n")
    return response


async def models(_: web.Request) -> web.Response:
    return web.json_response({"data": [{"id": "openvino"}]})


PIPELINE = web.AppKey("pipeline", Pipeline)


async def start(app: web.Application) -> None:
    app[PIPELINE] = Pipeline(sys.argv[1], asyncio.get_running_loop())


if __name__ == "__main__":
    application = web.Application()
    application.router.add_post("/v1/chat/completions", chat)
    application.router.add_get("/v1/models", models)
    application.on_startup.append(start)
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[2]), print=None)
