"""The workers of a service, their steps, and the queue before them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field
from pydantic_settings import NoDecode

from cupola.service.settings.types import ALLOWED_WORKERS, AUTO, Slots, Workers


class EngineSettings(BaseModel):
    """The workers of a service, their steps, and the queue before them."""

    workers: Annotated[Workers, NoDecode] = Field(
        default="cpu:0",
        description=f"The worker processes: {ALLOWED_WORKERS}. A count means workers on the CPU. "
        "The workers divide the threads among them. In the settings file they may be tables, "
        "[[workers]], that say more: see docs/settings.md. 'cupola workers' changes them while the "
        "service runs.",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="The number of threads of all workers together. 0: one for each core.",
    )
    slots: Slots = Field(
        default=AUTO,
        description="The number of sequences that a worker runs at once. Further requests wait. "
        "More slots raise the throughput and make each answer slower. 'auto' begins with 16 for "
        "each model and learns from the time of steps how many keep the pace that itl_ms asks "
        "for, up to 128. It stays at 16 on GPUs, with onnxruntime-genai and with kv_cache 'int8'.",
    )
    spare_slots: int = Field(
        default=2,
        ge=0,
        le=64,
        description="Further slots of a worker, for clients that run nothing there. A client that "
        "sends one request need not wait behind another that sends many. 0: none.",
    )
    decision_permutations: int = Field(
        default=1,
        ge=1,
        le=255,
        description="The number of orders in which a decision's options are asked. It counts where "
        "the request does not say it. The results are averaged. Each order is read, so it takes "
        "as many times as long.",
    )
    context: int = Field(
        default=0,
        ge=0,
        le=1_048_576,
        description="The longest context of a sequence, in tokens. 0: the model's own.",
    )
    step_tokens: int = Field(
        default=256,
        ge=1,
        le=65536,
        description="The most tokens that one engine step runs. Decoding sequences take one token "
        "or a few; prefill chunks take the rest. Larger steps read long prompts faster.",
    )
    recording_parts: int = Field(
        default=4,
        ge=1,
        le=64,
        description="Into how many parts, of a minute or more, a long recording is cut at silence. "
        "They are transcribed side by side. 1: each window begins where the one before ended.",
    )
    itl_ms: float = Field(
        default=100,
        gt=0,
        le=60_000,
        description="Milliseconds between two tokens of an answer while prompts are read beside "
        "it. The engine sizes the prefill chunks by it, so that all but one step of a hundred keep "
        "it, also while short prompts come beside long ones. Raise it to read long prompts faster; "
        "lower it for smoother answers.",
    )
    queue_limit: int = Field(
        default=256,
        ge=0,
        le=1_000_000,
        description="The number of requests that may wait. Further requests are refused with "
        "status 503. A client that has four times as many waiting as there are places left is "
        "refused with status 429.",
    )
    queue_tokens: int = Field(
        default=1_000_000,
        ge=0,
        le=1_000_000_000,
        description="The number of prompt tokens that may wait, at about four bytes each. Further "
        "requests are refused as with queue_limit. 0: any number.",
    )
    queue_timeout: float = Field(
        default=300,
        gt=0,
        le=86_400,
        description="Seconds that a request may wait in the queue. Then it fails with status 503.",
    )
    stall_seconds: float = Field(
        default=60,
        ge=5,
        le=86_400,
        description="Seconds after which a process that makes no progress is killed and started "
        "again. One step of a model on a slow machine must be shorter. A worker that loads a "
        "model or runs onnxruntime-genai has ten times as long, and at least 10 minutes.",
    )
    reproducible: Literal["asked", "always", "no"] = Field(
        default="asked",
        description="Which requests have the same answer whenever they come again, to the last "
        "bit. 'asked': those at temperature 0 and those with a seed. 'always': all; what they "
        "draw without a seed still differs. 'no': none, which is a little faster.",
    )
    warm_up: Literal["yes", "no"] = Field(
        default="yes",
        description="Whether a worker prepares for a model's first requests while it has none. It "
        "touches memory and finds the fastest way to run a step, which takes some seconds of a "
        "processor after each load. 'no': the first burst of requests is slower.",
    )
    backend: Literal["onnx", "genai", "echo"] = Field(
        default="onnx",
        description="What runs the models. 'onnx' is Cupola's engine on ONNX Runtime. 'genai' is "
        "onnxruntime-genai, which runs one request after the other. 'echo' runs no model and is "
        "meant for tests.",
    )
