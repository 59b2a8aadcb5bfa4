"""Divides the tokens of a step among the prompts that are being read. Pure.

    class     prompts of a lower class take what they need before those of a higher one
    client    in a class, those come first that need little in all; the others have equal shares,
              and what one does not need the others have
    prompt    of a client, the shortest comes first; a small one is not read in parts. Questions of
              decisions come after the others: each is short, and behind it comes the next one

The prompt that has had its slot for the longest time always gets a part. So a stream of short or
urgent prompts holds nobody up for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Protocol, TypeVar

LEAST_SHARE = 32  # tokens of a client in a step; smaller ones would cost more than they are worth
SMALL = 2 * LEAST_SHARE  # tokens that are read at once where they fit
OLDEST = 8  # the oldest prompt gets at least one of so many tokens


class Reading(Protocol):
    """A sequence whose prompt is being read."""

    @property
    def pending(self) -> int:
        """How many tokens are known and not yet in the cache."""

    @property
    def client(self) -> str: ...

    @property
    def patient(self) -> bool:
        """Whether nobody reads its tokens as they come, and more prompts may follow it."""

    @property
    def rank(self) -> int:
        """Its class: see ``scheduler.waiting.lane.class_of``."""


ReadingT = TypeVar("ReadingT", bound=Reading)


def shares(
    prompts: Sequence[ReadingT],
    budget: int,
    parallel: int,
    served: Callable[[str], float],
) -> list[tuple[ReadingT, int]]:
    """How many tokens of each prompt are read; those with none are left out.

    ``prompts`` are in order of arrival. ``parallel``: so many of a client get equal shares of what
    the client has. ``served``: what a client has been served until now.
    """
    if not prompts or budget <= 0:
        return []
    if len(prompts) == 1:
        return [(prompts[0], min(budget, prompts[0].pending))]
    if sum(prompt.pending for prompt in prompts) <= budget:
        order = sorted(prompts, key=lambda prompt: (prompt.rank, prompt.pending))
        return [(prompt, prompt.pending) for prompt in order]
    given: dict[int, int] = {}  # by the prompt's place
    _divide(prompts, budget, parallel, served, given)
    oldest = min(prompts[0].pending, max(1, budget // OLDEST))
    if given.get(0, 0) < oldest:
        given = {0: oldest}
        _divide(prompts, budget - oldest, parallel, served, given)
    places = sorted(given, key=lambda place: (prompts[place].rank, prompts[place].pending, place))
    return [(prompts[place], given[place]) for place in places if given[place] > 0]


def _divide(
    prompts: Sequence[ReadingT],
    budget: int,
    parallel: int,
    served: Callable[[str], float],
    given: dict[int, int],
) -> None:
    """Divide among all, besides what is ``given`` already."""
    places = sorted(range(len(prompts)), key=lambda place: prompts[place].rank)
    for _, group in groupby(places, key=lambda place: prompts[place].rank):
        budget -= _among_clients(prompts, list(group), budget, parallel, served, given)


def _among_clients(
    prompts: Sequence[ReadingT],
    places: list[int],
    budget: int,
    parallel: int,
    served: Callable[[str], float],
    given: dict[int, int],
) -> int:
    """Divide among the clients of a class. Returns how much of the budget is used."""
    needs: dict[str, int] = {}
    asking = {prompts[place].client for place in places if prompts[place].patient}
    for place in places:
        missing = prompts[place].pending - given.get(place, 0)
        needs[prompts[place].client] = needs.get(prompts[place].client, 0) + missing
    shortest = {
        client: min(prompts[p].pending for p in places if prompts[p].client == client)
        for client in needs
    }
    clients = sorted(
        needs,
        key=lambda client: (
            needs[client] > SMALL or client in asking,
            served(client),
            shortest[client],
        ),
    )
    first = clients[: max(1, budget // LEAST_SHARE)]
    left = budget
    for number, client in enumerate(sorted(first, key=lambda client: needs[client])):
        share = left if needs[client] <= SMALL else left // (len(first) - number)
        share = min(needs[client], share)
        own = [place for place in places if prompts[place].client == client]
        left -= _among_prompts(prompts, own, share, parallel, given)
    for client in clients[len(first) :]:  # the first ones needed little
        own = [place for place in places if prompts[place].client == client]
        left -= _among_prompts(prompts, own, left, parallel, given)
    return budget - left


def _among_prompts(
    prompts: Sequence[ReadingT],
    places: Iterable[int],
    budget: int,
    parallel: int,
    given: dict[int, int],
) -> int:
    """Divide among the prompts of a client. Returns how much of the budget is used."""
    order = sorted(
        places, key=lambda place: (prompts[place].patient, prompts[place].pending, place)
    )
    left = budget
    for number, place in enumerate(order):
        among = max(1, min(parallel, len(order)) - number)
        missing = prompts[place].pending - given.get(place, 0)
        count = min(missing, left if missing <= SMALL else left // among)
        if count > 0:
            given[place] = given.get(place, 0) + count
            left -= count
    return budget - left
