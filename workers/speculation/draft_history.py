"""What earlier answers of a tenant say about the next one. Pure."""

from __future__ import annotations

from collections import defaultdict

from cupola.workers.speculation.ngrams import NgramTable

_EARLIER_GRAMS = (3, 2, 1)  # tokens that must repeat
_EARLIER_PLACES = 2**17  # 2 MB

# What may decide how often a draft token is accepted: whether it comes from the sequence itself,
# how many tokens repeat, how often it followed them, and how often other tokens did.
Source = tuple[bool, int, int, int]


class AcceptanceRates:
    """How often draft tokens of each source have been accepted lately."""

    _WEIGHT = 8.0  # of the rate that is assumed at first, in draft tokens
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
    """The n-grams of a tenant's earlier answers, and its acceptance rates."""

    def __init__(self) -> None:
        self.earlier = NgramTable(_EARLIER_GRAMS, _EARLIER_PLACES)
        self.rates = AcceptanceRates()


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
