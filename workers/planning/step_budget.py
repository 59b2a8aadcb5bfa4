"""How many tokens a step may hold so that others are not held up. Pure.

The time of a step has two parts: one for the sequences that generate, and one for each prompt token
beside them. Both are learnt from earlier steps. So is how much longer than expected the slowest
hundredth of all steps takes. The budget is what fits the objective even then.

The objective holds if sequences generate. It also holds while a long prompt is read and short ones
come now and then: a request waits until the running step ends, and that step may be a long one.
Without short prompts, long ones are read in the largest steps, which cost the least for each token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cupola.workers.planning.prompt_shares import LEAST_SHARE, OLDEST
from cupola.workers.planning.slowest import Slowest

# Weight of the newest step in the averages. It is larger if the step was slower. A prompt token
# costs more the deeper in its prompt it lies, and an average that follows too slowly would hold the
# other sequences up.
_WEIGHT, _SLOWER = 0.2, 0.5
_MIN_PROMPT_TOKENS = 16  # of a step, however slow it is, so that prompts get on
# The same where only decisions are read: they wait rather than make answers slower.
_MIN_PATIENT_TOKENS = 8
RECENT = 10.0  # seconds of runs after a short prompt in which another one is expected


class Prompt(Protocol):
    """A prompt that is being read."""

    @property
    def pending(self) -> int:
        """How many tokens are known and not yet in the cache."""

    @property
    def to_read(self) -> int:
        """How many there were when it got its slot."""

    @property
    def patient(self) -> bool:
        """Whether nobody reads its tokens as they come."""


class StepBudget:
    """Learns from the time of steps how many tokens the next one may hold."""

    def __init__(self, objective: float, max_tokens: int) -> None:
        """``objective``: seconds between two tokens of an answer. ``max_tokens``: of any step."""
        self._objective = objective
        self._max_tokens = max_tokens
        self._step: float | None = None  # seconds of a step without prompts
        self._token: float | None = None  # seconds that one prompt token adds
        self._slowest = Slowest()
        self._generating = 0  # in the last step
        self._since_short = RECENT  # seconds of runs since a short prompt was read

    def is_short(self, prompt: Prompt) -> bool:
        """Whether one step can read it."""
        return prompt.to_read <= self._max_tokens

    def tokens(
        self,
        generating: int,
        prompts: Sequence[Prompt] = (),
        newcomer: int = 0,
        spent: float = 0.0,
    ) -> int:
        """The most tokens of the next step, in which so many sequences generate.

        ``prompts`` are being read. If nobody generates, the shortest is read to its end in any
        case, which its client waits for. ``newcomer``: pending tokens of the shortest whose client
        runs nothing else. They are read to the end beside those that generate, if they are few.
        ``spent``: seconds since those that generate had their last token.
        """
        # Prompts get on even if more sequences generate than a step may have tokens.
        most = max(self._max_tokens, generating + min(_MIN_PATIENT_TOKENS, self._max_tokens))
        if self._token is None:
            return most
        short: list[int] = []
        if generating:
            spare = (self._objective - spent) / self._slowest.ratio - (self._step or 0.0)
        else:
            short = [prompt.pending for prompt in prompts if self.is_short(prompt)]
            if len(short) == len(prompts) or not (short or self._since_short < RECENT):
                return most  # nobody waits for a long prompt
            spare = self._objective
        if spare >= self._max_tokens * self._token:  # also if a token takes no time at all
            return most
        least = _MIN_PROMPT_TOKENS
        if generating and prompts and all(prompt.patient for prompt in prompts):
            least = _MIN_PATIENT_TOKENS
        if short:
            least = max(least, _beside_oldest(min(short)))
        elif 0 < newcomer <= LEAST_SHARE:
            least = max(least, _beside_oldest(newcomer))
        fits = int(spare / self._token) if spare > 0 else 0
        return min(most, generating + max(least, fits))

    def observe(
        self,
        generating: int,
        prompt_tokens: int,
        seconds: float,
        steps: int = 1,
        *,
        short: bool = False,
        patient: bool = False,
        drafts: bool = False,
    ) -> None:
        """Learn that a step of so many sequences and prompt tokens took ``seconds``.

        ``steps``: so many took as long on average, and had no prompts. If there is more than one,
        nothing is learnt of the slowest. ``short``: one of the prompts was. ``patient``: all of
        them were, so that the step may have had fewer tokens than others. ``drafts``: it had draft
        tokens, and was longer for them.
        """
        self._since_short = 0.0 if short else self._since_short + seconds * steps
        expected = self._expected(prompt_tokens)
        # What is expected is known of steps with as many sequences.
        if expected and 0 < generating <= self._generating and steps == 1 and not drafts:
            self._slowest.add(seconds / expected)
        self._generating = generating
        if prompt_tokens == 0:
            self._step = _average(self._step, seconds, steps)
        elif prompt_tokens >= (_MIN_PATIENT_TOKENS if patient else _MIN_PROMPT_TOKENS):
            if generating and self._step is not None and seconds < self._step:
                self._step = _average(self._step, seconds)  # without prompts it is no longer
            beside = (self._step or 0.0) if generating else 0.0
            self._token = _average(self._token, max(0.0, seconds - beside) / prompt_tokens)

    def _expected(self, prompt_tokens: int) -> float:
        """Seconds of a step beside sequences that generate; 0: nobody knows."""
        if self._step is None or (prompt_tokens and self._token is None):
            return 0.0
        return self._step + prompt_tokens * (self._token or 0.0)


def _beside_oldest(count: int) -> int:
    """So many tokens, and those that go to the oldest prompt. See ``prompt_shares``."""
    return count + max(0, count - 1) // (OLDEST - 1)


def _average(known: float | None, new: float, times: int = 1) -> float:
    """After ``new`` was seen so many times."""
    if known is None:
        return new
    weight = _SLOWER if new > known else _WEIGHT
    if times > 1:
        weight = 1 - (1 - weight) ** times
    return known + weight * (new - known)
