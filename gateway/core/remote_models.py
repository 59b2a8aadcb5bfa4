"""The models of other servers that have been registered with this one.

They and their keys are kept in memory only. The supervisor passes what one gateway registers on to
all gateways, also to those that it starts later.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

import msgspec

VERB = "remote"  # of the lines between gateways and supervisor


class RemoteModel(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model that another server runs. One without a ``base`` (its URL) has been removed."""

    name: str
    kind: str = ""  # of provider, e.g. "deepseek"
    base: str = ""
    key: str = ""
    since: int = 0  # Unix seconds

    @property
    def line(self) -> str:
        """What the supervisor is sent. It keeps the last line of each name.

        The line of a model that has been removed ends with the name, and then it keeps none.
        """
        head = f"{VERB} {quote(self.name.casefold(), safe='')}"
        return f"{head} {msgspec.json.encode(self).decode()}" if self.base else head


class RemoteModels:
    """Finds them by name, in any case."""

    def __init__(self) -> None:
        self._models: dict[str, RemoteModel] = {}

    def __len__(self) -> int:
        return len(self._models)

    def all(self) -> list[RemoteModel]:
        return list(self._models.values())

    def find(self, name: str) -> RemoteModel | None:
        return self._models.get(name.casefold())

    def put(self, model: RemoteModel) -> None:
        """Add, replace, or with an empty ``base`` remove it."""
        self._models.pop(model.name.casefold(), None)
        if model.base:
            self._models[model.name.casefold()] = model

    def update(self, line: str) -> None:
        """Apply a line from the supervisor. Lines about other things change nothing."""
        match line.split(" ", 2):
            case [verb, _, model] if verb == VERB:
                self.put(msgspec.json.decode(model, type=RemoteModel))
            case [verb, name] if verb == VERB:
                self.put(RemoteModel(unquote(name)))
