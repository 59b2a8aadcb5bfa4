"""The memory and the disk that the workers of a service may take."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class MemorySettings(BaseModel):
    """The memory and the disk that the workers of a service may take."""

    kv_memory_mb: int = Field(
        default=0,
        ge=0,
        description="The memory of each worker's KV cache, in MB. 0: half of the free memory, "
        "divided among the workers.",
    )
    prefix_cache_mb: int = Field(
        default=-1,
        ge=-1,
        description="The memory of each model's prefix cache, beside the KV cache, in MB. There a "
        "worker keeps what it has read and generated on the CPU, so that a prompt that begins "
        "alike is read from there on. The least recently used goes first, and all of it after ten "
        "minutes without a request. 0: only free slots keep what ran in them. -1: a quarter of "
        "the free memory, divided among the workers, at most 1024.",
    )
    prefix_disk_mb: int = Field(
        default=0,
        ge=0,
        description="The disk space of all models' prefix caches, in MB. Keys and values are "
        "written to cache/prefixes while a worker is idle and when it stops, and a prompt that "
        "begins alike is read from there, also after a restart. Who can read that folder can find "
        "out what the prompts were; only the service's user can. 0: nothing is written.",
    )
    kv_cache: Literal["model", "int8"] = Field(
        default="model",
        description="The precision of the KV cache of models on CPUs. 'model' keeps keys and "
        "values as the model has them. 'int8' takes a quarter of the memory and half the time to "
        "read, and is slightly less exact.",
    )
    shared_weights: Literal["auto", "yes", "no"] = Field(
        default="auto",
        description="Whether workers on CPUs share one copy of a model's weights. The copy is a "
        "file in the models' folder that the workers map. 'auto' shares it where there are "
        "several workers. 'no' gives each worker its own copy.",
    )
    shared_weights_disk_mb: int = Field(
        default=0,
        ge=0,
        description="The most that files of shared weights may take on the disk, in MB. Those "
        "that were unused longest are deleted first, and all that were unused for 30 days. "
        "0: a quarter of the disk.",
    )
    block_weights_mb: int = Field(
        default=-1,
        ge=-1,
        description="The largest integer weights that are in memory a second time, in blocks, in "
        "MB. The blocks have four bits where the model has a graph of its own for them. They make "
        "runs of few tokens faster on some processors; a worker uses them where they do. They are "
        "not used at temperature 0, with a seed, with shared weights or with kv_cache 'int8'. "
        "Lower it to save memory. 0: never. -1: an eighth of the free memory, divided among the "
        "workers.",
    )
    lane_weights_mb: int = Field(
        default=512,
        ge=0,
        description="The largest model on a CPU that has lanes, in MB. Lanes are two more "
        "sessions, each with half of the threads. They run the halves of a step side by side where "
        "that is faster; if it never is, they and their file are deleted and not tried again for a "
        "week. They map the weights from a file, so shared_weights must not be 'no'. "
        "Lower it to save memory. 0: never.",
    )
