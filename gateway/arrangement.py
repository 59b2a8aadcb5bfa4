"""What a worker must do for a request to a model of some family, and who reads its text. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cupola.gateway.families.description import Family
from cupola.gateway.families.parser import Parser
from cupola.gateway.generation import Conversation, GenerationRequest
from cupola.scheduler.messages import Chat, Text, Tokens, Work


@dataclass(frozen=True, slots=True)
class Arrangement:
    work: Work
    parser: Callable[[int], Parser] | None = None  # for the answer with this index; None: all text


def arrange(asked: GenerationRequest, family: Family) -> Arrangement:
    return Arrangement(
        Work(
            prompt=_prompt(asked.prompt),
            sampling=asked.sampling,
            answers=asked.answers,
            constraint=asked.constraint,
            prediction=asked.prediction,
            keep_special=asked.show_special,
            prompt_logprobs=asked.prompt_logprobs,
            cache_salt=asked.cache_salt,
        )
    )


def _prompt(prompt: Conversation | Text | Tokens) -> Chat | Text | Tokens:
    if not isinstance(prompt, Conversation):
        return prompt
    return Chat(
        prompt.messages,
        template_options=prompt.template_options,
        continue_last=prompt.continue_last,
    )
