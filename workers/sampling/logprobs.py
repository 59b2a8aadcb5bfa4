"""The log-probabilities of tokens by the model itself: without temperature, penalties and masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cupola.scheduler.protocol.outputs import TokenLogprob
from cupola.workers.sampling.sampling import largest

TokenBytes = Callable[[int], bytes]


def logprob(
    logits: NDArray[np.float32], token: int, best: int, to_bytes: TokenBytes
) -> TokenLogprob:
    """The entry of ``token`` in one row of logits ``[vocabulary]``.

    It lists the ``best`` most probable tokens as well.
    """
    highest = logits.max()
    weights = logits - highest
    total = highest + np.log(np.exp(weights, out=weights).sum())  # summed pairwise
    top: NDArray[np.intp] = np.empty(0, np.intp)
    if best:
        top = largest(logits, min(best, logits.size))
        top = top[np.argsort(-logits[top], kind="stable")]
    return TokenLogprob(
        to_bytes(token),
        float(logits[token] - total),
        tuple((to_bytes(int(other)), float(logits[other] - total)) for other in top),
    )


class HeldLogprobs:
    """Keeps the log-probabilities of tokens until their text is sent.

    Text is held back while it may become a stop string or a whole character. Text that is never
    sent has no log-probabilities either.
    """

    def __init__(self) -> None:
        self._held: list[tuple[int, TokenLogprob]] = []  # where the token's text ends
        self._fed = 0
        self._sent = 0

    def add(self, entry: TokenLogprob, text: str) -> None:
        """Add a token, and the text that the detokenizer returned for it."""
        self._fed += len(text)
        self._held.append((self._fed, entry))

    def take(self, sent: str, *, all_: bool = False) -> tuple[TokenLogprob, ...]:
        """The entries of the tokens whose text is sent now.

        ``all_``: include the entries of all tokens that are left.
        """
        self._sent += len(sent)
        due = [entry for end, entry in self._held if all_ or end <= self._sent]
        self._held = self._held[len(due) :]
        return tuple(due)
