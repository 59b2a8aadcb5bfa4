"""What earlier answers of a tenant say about the next answer. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from cupola.workers.speculation.suffix_index import BREAK, Occurrence, SuffixIndex

_KEPT_TOKENS = 2**15  # of each of two parts, about 5 MB

# What may decide how often a draft token is accepted: whether the sequence itself has it, how many
# tokens repeat (in classes), how often it followed them, and how often other tokens did.
Source = tuple[bool, int, int, int]
FORCED: Source = (True, -1, 0, 0)  # by a grammar


class AcceptanceRates:
    """How often draft tokens of each source have been accepted lately."""

    _WEIGHT = 4.0  # of the rate that is assumed at first, in draft tokens
    _KEPT = 0.99  # of the earlier counts, with each new draft token of the source

    def __init__(self) -> None:
        self._counts: defaultdict[Source, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))

    def rate(self, source: Source, assumed: float) -> float:
        """The rate of a source. ``assumed``: the rate if nothing is known."""
        accepted, all_ = self._counts[source]
        return (accepted + self._WEIGHT * assumed) / (all_ + self._WEIGHT)

    def learn(self, source: Source, accepted: bool) -> None:
        """Count one more draft token."""
        before, all_ = self._counts[source]
        self._counts[source] = self._KEPT * before + accepted, self._KEPT * all_ + 1


class DraftHistory:
    """The recent answers to a tenant, and its acceptance rates."""

    def __init__(self) -> None:
        self.rates = AcceptanceRates()
        # Two parts, of which the older one is dropped when the newer one is full.
        self._older, self._newer = SuffixIndex(), SuffixIndex()

    def add(self, answer: Iterable[int]) -> None:
        """An answer has ended. At most its last tokens are kept."""
        if len(self._newer) >= _KEPT_TOKENS:
            self._older, self._newer = self._newer, SuffixIndex()
        self._newer.extend([BREAK, *list(answer)[-_KEPT_TOKENS:]])

    def occurrences(self, end: Sequence[int]) -> list[Occurrence]:
        """Where the last tokens of ``end`` stood in the answers, the newest first."""
        return self._newer.occurrences(end) + self._older.occurrences(end)


class DraftHistories:
    """The histories of the tenants that were served last."""

    _MOST = 8

    def __init__(self) -> None:
        self._by_salt: dict[str, DraftHistory] = {}  # the least recently used one comes first

    def of(self, salt: str) -> DraftHistory:
        """The history of a tenant, by its cache salt."""
        history = self._by_salt.pop(salt, None) or DraftHistory()
        self._by_salt[salt] = history
        if len(self._by_salt) > self._MOST:
            del self._by_salt[next(iter(self._by_salt))]
        return history
