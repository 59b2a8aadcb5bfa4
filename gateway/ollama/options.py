"""``options`` of Ollama's API, with its defaults."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from cupola.gateway.core.fields import Natural, Penalty, Seed, Share, Stop, TopK
from cupola.gateway.http.validation import Endpoint, Refused, invalid
from cupola.scheduler.protocol.tasks import SamplingParams

# Answers of Ollama's clients look as they are used to.
TEMPERATURE, TOP_K, TOP_P = 0.8, 40, 0.9
WHOLE_CONTEXT = -1
Limit = Annotated[int, Field(ge=-2, le=2**31 - 1)]


class OllamaOptions(Endpoint):
    """How tokens are chosen, and how a model is laid out in memory.

    The latter is the service's business here: such options change nothing. The context is always
    all that the model has, so every ``num_ctx`` is there.
    """

    refused: ClassVar[tuple[Refused, ...]] = (
        Refused("mirostat", bool, "leave it out"),
        Refused("tfs_z", lambda z: z != 1, "leave it out"),
        Refused("penalize_newline", lambda wanted: not wanted, "newlines are as other tokens"),
        Refused("vocab_only", bool, "leave it out"),
        Refused("embedding_only", bool, "use /api/embed"),
    )
    labels: ClassVar[frozenset[str]] = frozenset(
        "num_ctx num_keep num_batch num_gpu main_gpu num_thread numa low_vram f16_kv logits_all "
        "use_mmap use_mlock mirostat_tau mirostat_eta".split()
    )

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_k: TopK | None = None
    top_p: Share | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    typical_p: Share | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    repeat_last_n: Annotated[int, Field(ge=-1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Seed | None = None
    num_predict: Limit | None = None  # below 0: as many as the context holds
    stop: Stop | None = None
    parse_special: bool | None = None  # here because Ollama's clients send no further fields
    mirostat: Natural | None = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    tfs_z: float | None = None
    penalize_newline: bool | None = None
    num_ctx: Natural | None = None
    num_keep: int | None = None
    num_batch: int | None = None
    num_gpu: int | None = None
    main_gpu: int | None = None
    num_thread: int | None = None
    numa: bool | None = None
    low_vram: bool | None = None
    f16_kv: bool | None = None
    logits_all: bool | None = None
    vocab_only: bool | None = None
    embedding_only: bool | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None

    def sampling(self, logprobs: int | None) -> SamplingParams:
        given: dict[str, Any] = {
            "temperature": TEMPERATURE if self.temperature is None else self.temperature,
            "top_k": TOP_K if self.top_k is None else self.top_k,
            "top_p": TOP_P if self.top_p is None else self.top_p,
            "min_p": self.min_p,
            "typical_p": self.typical_p,
            "repetition_penalty": 1.0 if self.repeat_last_n == 0 else self.repeat_penalty,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "seed": None if self.seed is None or self.seed < 0 else self.seed,
            "max_tokens": None if (self.num_predict or -1) < 0 else self.num_predict,
            "stop": tuple(self.stop or ()),
            "logprobs": logprobs,
        }
        return SamplingParams(**{name: value for name, value in given.items() if value is not None})

    @model_validator(mode="after")
    def _can_be_done(self) -> OllamaOptions:
        if self.num_predict == 0:
            raise invalid("'num_predict' must be at least 1, or -1 for no limit", "num_predict")
        window = self.repeat_last_n not in (None, 0, WHOLE_CONTEXT)
        if window and self.repeat_penalty not in (None, 1):
            text = "Repetition is counted over the whole context: use -1, or 0 for no penalty"
            raise invalid(text, "repeat_last_n")
        return self
