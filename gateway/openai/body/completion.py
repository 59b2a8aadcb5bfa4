"""The body of POST /v1/completions."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from cupola.gateway.core.fields import MAX_INT, Limit, Natural
from cupola.gateway.http.validation import Refused, invalid
from cupola.gateway.openai.body.formats import FormatFields
from cupola.gateway.openai.body.sampling import SamplingFields, limit_of
from cupola.scheduler.protocol.tasks import Text, Tokens

MAX_PROMPTS = 128
DEFAULT_MAX_TOKENS = 16  # OpenAI's


def as_prompts(prompt: Any) -> Any:
    """One of: a text, texts, tokens, lists of tokens; as a list of prompts."""
    if isinstance(prompt, str):
        return [prompt]
    if isinstance(prompt, list) and prompt and all(type(token) is int for token in prompt):
        return [prompt]
    return prompt


Prompt = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[Natural], Field(min_length=1), Tag("<tokens>")],
    Discriminator(lambda prompt: "<text>" if isinstance(prompt, str) else "<tokens>"),
]
ListOfPrompts = Annotated[list[Prompt], Field(min_length=1, max_length=MAX_PROMPTS)]
Prompts = Annotated[
    ListOfPrompts,
    BeforeValidator(as_prompts, json_schema_input_type=Prompt | ListOfPrompts),
]


class CompletionRequest(SamplingFields, FormatFields):
    refused: ClassVar[tuple[Refused, ...]] = (
        Refused("suffix", bool, "no model here knows how to fill in; leave it out"),
    )

    prompt: Prompts
    max_tokens: Annotated[int, Field(ge=-1, le=MAX_INT)] | None = None
    # As other servers call them.
    max_new_tokens: Limit | None = None
    n_predict: Limit | None = None
    n_probs: Annotated[int, Field(ge=0, le=20)] | None = None
    timings_per_token: bool | None = None
    return_progress: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: bool | None = None
    best_of: Annotated[int, Field(ge=1, le=128)] | None = None
    suffix: str | None = None

    @property
    def prompts(self) -> list[Text | Tokens]:
        parse = self.parse_special is not False
        return [Text(p, parse) if isinstance(p, str) else Tokens(tuple(p)) for p in self.prompt]

    @property
    def candidates(self) -> int:
        """How many answers each prompt gets. The client gets the best ``answers`` of them."""
        return max(self.answers, self.best_of or 1)

    @property
    def token_limit(self) -> int | None:
        """None: as much as the context holds."""
        return limit_of(self.max_tokens, self.max_new_tokens, self.n_predict, DEFAULT_MAX_TOKENS)

    @property
    def best_logprobs(self) -> int | None:
        """How many of the best tokens are wanted besides the chosen one; None: no logprobs."""
        return (self.n_probs or None) if self.logprobs is None else self.logprobs

    @model_validator(mode="after")
    def _fits_together(self) -> CompletionRequest:
        if self.best_of is not None and self.best_of < self.answers:
            raise invalid("'best_of' must be at least 'n'", "best_of")
        if self.stream and self.candidates > self.answers:
            raise invalid("The best of several answers is not known while they come", "best_of")
        if self.token_limit == 0 and not self.echo:
            raise invalid("'max_tokens' must be at least 1 without 'echo'", "max_tokens")
        if len(self.prompt) * self.candidates > MAX_PROMPTS:
            text = f"Prompts times answers are more than {MAX_PROMPTS}"
            raise invalid(text, "best_of" if self.best_of else "n")
        _ = self.constraint  # raises what is wrong with it
        return self
