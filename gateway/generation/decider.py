"""From questions to the probabilities of their options. Knows no API's shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.requests import Request

from cupola.cache.decision_calibration import temperature_of
from cupola.gateway.core.asking import ask
from cupola.gateway.core.distribution import Distribution
from cupola.gateway.core.param_names import with_param_names
from cupola.gateway.core.request import Conversation, GenerationRequest
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.generation.generator import new_call_id
from cupola.gateway.generation.model_directory import ModelDirectory
from cupola.gateway.generation.preparation import chat_prompt
from cupola.gateway.http.errors import ApiError
from cupola.gateway.toolcalls.directory import FormatDirectory
from cupola.scheduler.protocol.outputs import Usage
from cupola.scheduler.protocol.tasks import Decide, Question

# A model that thinks has no place at which it could be asked before its thoughts. These variables
# of the models' own templates leave the thoughts out.
_NO_THOUGHTS = {"enable_thinking": False, "thinking": False}


@dataclass(frozen=True, slots=True)
class DecisionRequest:
    """What a client wants decided. ``names``: see ``param_names``; for errors only."""

    model: str
    messages: tuple[dict[str, Any], ...]
    questions: tuple[Question, ...]
    permutations: int | None = None  # None: as the service is set
    cache_salt: str = ""
    ttl: float | None = None
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decided:
    """``found``: for each question. ``temperature``: of the model's calibration."""

    model: str
    found: Sequence[Distribution]
    usage: Usage
    temperature: float


class Decider:
    """Decides for every API."""

    def __init__(
        self,
        client: SchedulerClient,
        models: ModelDirectory,
        formats: FormatDirectory,
        permutations: int = 1,
    ) -> None:
        """``permutations``: of requests that do not say in how many orders they are asked."""
        self._client = client
        self._models = models
        self._formats = formats
        self._permutations = permutations

    async def decide(self, request: Request, wanted: DecisionRequest) -> Decided:
        """``request``: whose client waits. Raises ApiError, RequestFailed."""
        model = await self._models.find(wanted.model)
        answer_format = await self._formats.of(model.path)
        conversation = Conversation(wanted.messages, template_options=dict(_NO_THOUGHTS))
        generation = GenerationRequest(wanted.model, conversation, reasoning=False)
        with with_param_names(wanted.names):
            prompt = chat_prompt(generation, answer_format, new_call_id)
            orders = wanted.permutations or self._permutations
            task = Decide(prompt, wanted.questions, orders, wanted.cache_salt)
            outputs = await ask(self._client, request, model, task, wanted.ttl)
        scores = {output.index: output.scores for output in outputs if output.scores is not None}
        if len(scores) != len(wanted.questions):
            text = f"The model '{model.id}' makes no decisions"
            raise ApiError(400, "invalid_request", text, param="model")
        # A small file, if there is one: a thread would wait longer for its turn.
        temperature = temperature_of(Path(model.path))
        found = [Distribution.of(scores[n], temperature) for n in range(len(scores))]
        return Decided(model.id, found, outputs[-1].usage or Usage(0, 0), temperature)
