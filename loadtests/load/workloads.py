"""What clients ask, as data: the same workloads for locust, the benchmark and the engine alone.

Texts are from chapter I of "Alice's Adventures in Wonderland" (Lewis Carroll, 1865, in the public
domain). A random number generator with a seed makes every choice, so a seed gives the same load.

The lengths of chats and long prompts are drawn from log-normal distributions. Their centres are
published; their spread (``SIGMA``) is an assumption of this file:

- LMSYS-Chat-1M (Zheng et al., ICLR 2024, table 1): on average 69.5 tokens a prompt and 214.5 an
  answer.
- Azure's conversation trace (Patel et al., "Splitwise", ISCA 2024): medians of 1,020 tokens a
  prompt and 129 an answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cupola.loadtests.load import recorded_agent

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
TEXT = Path(__file__).parent / "alice.txt"
WORDS = (
    "time year people way day man thing woman life child world school state family student group "
    "country problem hand part place case week company system program question work government "
    "number night point home water room mother area money story fact month lot right study book"
).split()
SIGMA = 1.0
TOKENS_A_WORD = 1.3  # of English prose, roughly; only prompts' lengths depend on it


@dataclass(frozen=True, slots=True)
class Lengths:
    """Numbers of tokens: log-normal around ``median``, or always ``median`` with ``sigma`` 0."""

    median: float
    most: int
    sigma: float = SIGMA

    @classmethod
    def always(cls, tokens: int) -> Lengths:
        return cls(tokens, tokens, 0)

    @classmethod
    def around_mean(cls, mean: float, most: int) -> Lengths:
        """With ``mean`` before the cut at ``most``."""
        return cls(mean / math.exp(SIGMA**2 / 2), most)

    def draw(self, chance: Random) -> int:
        drawn = self.median * math.exp(self.sigma * chance.gauss(0, 1)) if self.sigma else self.most
        return max(1, min(self.most, round(drawn)))

    def draws(self, chance: np.random.Generator, number: int) -> NDArray[np.int64]:
        """So many at once."""
        if not self.sigma:
            return np.full(number, self.draw(Random(0)))
        drawn = self.median * np.exp(self.sigma * chance.standard_normal(number))
        return np.clip(np.rint(drawn), 1, self.most).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Workload:
    """What one client asks, over and over."""

    name: str
    answer: Lengths  # max_tokens
    prompt: Lengths | None = None  # of a passage to be discussed; None: a story is asked for
    system: str = ""  # that all clients share; "{round}" in it is the round's number
    words: int = 0  # of a long system prompt that differs for every request
    copy: bool = False  # a given text is to be written once more, at temperature 0
    turns: int = 1
    recorded: bool = False  # the turns of a coding agent, which go on as they are written
    tools: tuple[Mapping[str, Any], ...] = ()
    schema: Mapping[str, Any] | None = None  # of the answer
    exact: bool = False  # answers have their whole length; not every server knows ``ignore_eos``
    path: str = CHAT

    def body(self, model: str, chance: Random, round_: int = 0) -> dict[str, Any]:
        """The first request of a client."""
        return Conversation(self, model, chance, round_).body()

    def fault(self, text: str, finish_reason: str | None) -> str | None:
        """What is wrong with a complete answer."""
        if self.schema is not None and finish_reason == "stop":
            try:
                json.loads(text)
            except ValueError:
                return "the answer to a JSON schema is not JSON"
        return None


class Conversation:
    """The requests of one client, of which each but the first depends on the answer before."""

    def __init__(self, workload: Workload, model: str, chance: Random, round_: int = 0) -> None:
        self.workload = workload
        self._model = model
        self._chance = chance
        self._left = workload.turns
        system = workload.system.replace("{round}", str(round_))
        if workload.words:
            system = " ".join(chance.choices(WORDS, k=workload.words))
        question = ""
        self._recorded: list[recorded_agent.AgentTurn] = []  # the next one comes last
        if workload.recorded:
            question, turns = recorded_agent.session(chance, workload.turns)
            self._recorded = turns[::-1]
        self._messages: list[dict[str, Any]] = (
            [{"role": "system", "content": system}] if system else []
        )
        self._messages.append({"role": "user", "content": question or self._question()})

    @property
    def over(self) -> bool:
        return self._left == 0

    def body(self) -> dict[str, Any]:
        """The next request."""
        workload, chance = self.workload, self._chance
        if workload.path == EMBEDDINGS:
            return {"model": self._model, "input": [self._messages[-1]["content"]]}
        body: dict[str, Any] = {
            "model": self._model,
            "messages": list(self._messages),
            "max_tokens": workload.answer.draw(chance),
            "temperature": 0.0 if workload.copy or workload.recorded else 0.8,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if workload.exact:
            body["ignore_eos"] = True
        if workload.tools:
            body["tools"] = list(workload.tools)
        if workload.schema is not None:
            form = {"name": "answer", "schema": workload.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        return body

    def answered(self, text: str, calls: list[dict[str, Any]]) -> None:
        """Takes the answer up, and asks on: with the tools' results if it called any."""
        self._left -= 1
        if self._recorded:
            turn = self._recorded.pop()
            self._messages.append({"role": "assistant", "content": turn.call})
            self._messages.append({"role": "user", "content": turn.result})
            return
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if calls:
            message["tool_calls"] = calls
        self._messages.append(message)
        for call in calls:
            result = passage(self._chance, 80)
            self._messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        if not calls:
            self._messages.append({"role": "user", "content": self._question()})

    def _question(self) -> str:
        chance = self._chance
        if self.workload.copy:
            return f"Repeat this text, word for word, and nothing else:\n\n{_letter(chance)}"
        if self.workload.prompt is not None:
            words = max(1, round(self.workload.prompt.draw(chance) / TOKENS_A_WORD))
            ask = "What happens here?" if self.workload.path == CHAT else ""
            return f"{passage(chance, words)} {ask}".strip()
        return f"Write a long story about {chance.choice(WORDS)} number {chance.randint(0, 9999)}."


@cache
def _book() -> list[str]:
    return TEXT.read_text("utf-8").split()


def passage(chance: Random, words: int) -> str:
    """So many words from anywhere in the book; after its end it begins again."""
    book = _book()
    start = chance.randrange(len(book))
    return " ".join(book[(start + number) % len(book)] for number in range(words))


def _letter(chance: Random) -> str:
    """About 200 tokens of plain sentences, of which no two are alike."""
    a = chance.choice
    return " ".join(
        f"The {a(WORDS)} of the {a(WORDS)} will be at the {a(WORDS)} until {number} o'clock, and "
        f"every {a(WORDS)} of your {a(WORDS)} may come."
        for number in range(1, 9)
    )


def story(
    max_tokens: int, shared_prefix: str | None = None, prompt_words: int = 0, copy: bool = False
) -> Workload:
    """The benchmark's own: all answers have one length.

    A "new" shared prefix is shared by those who come together, and known to nobody before. A
    "known" one is the same in all rounds.
    """
    day = {"new": "{round}", "known": "0"}
    system = "You are a careful assistant for a small library. " * 40
    return Workload(
        "story",
        Lengths.always(max_tokens),
        system=f"It is day {day[shared_prefix]}. {system}" if shared_prefix else "",
        words=prompt_words,
        copy=copy,
        exact=True,
    )


def recorded_agents(max_tokens: int) -> Workload:
    """Each client is a coding agent of 20 turns; all answers have one length."""
    return Workload(
        "recorded agent",
        Lengths.always(max_tokens),
        system=recorded_agent.SYSTEM,
        turns=20,
        recorded=True,
        exact=True,
    )


def _tool(name: str, about: str, parameter: str) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": {parameter: {"type": "string"}},
        "required": [parameter],
    }
    function = {"name": name, "description": about, "parameters": parameters}
    return {"type": "function", "function": function}


_CHAT_PROMPT = Lengths.around_mean(69.5, most=700)
_CHAT_ANSWER = Lengths.around_mean(214.5, most=256)
_SHORT = Lengths.always(64)
_LIBRARIAN = "You are a careful assistant of a small library and answer in full sentences. "

WORKLOADS = {
    each.name: each
    for each in (
        Workload("chat", _CHAT_ANSWER, _CHAT_PROMPT),
        Workload("long prompt", Lengths(129, most=256), Lengths(1020, most=1400)),
        Workload("shared prompt", _CHAT_ANSWER, _CHAT_PROMPT, system=_LIBRARIAN * 30),
        Workload(
            "agent",
            _SHORT,
            Lengths.always(40),
            system=_LIBRARIAN + "Use your tools.",
            turns=4,
            tools=(
                _tool("search_books", "Searches the books for a text.", "text"),
                _tool("read_page", "Reads a page of a book.", "page"),
                _tool("write_note", "Keeps a note for later.", "note"),
            ),
        ),
        Workload(
            "structured",
            Lengths.always(128),
            Lengths.always(60),
            schema={
                "type": "object",
                "properties": {
                    "title": {"type": "string", "maxLength": 40},
                    "people": {"type": "integer"},
                    "sad": {"type": "boolean"},
                },
                "required": ["title", "people", "sad"],
                "additionalProperties": False,
            },
        ),
        Workload("embeddings", Lengths.always(1), _CHAT_PROMPT, path=EMBEDDINGS),
    )
}
