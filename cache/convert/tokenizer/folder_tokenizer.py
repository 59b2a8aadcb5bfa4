"""The tokenizer that lies beside a model's safetensors, as its makers published it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from cupola.cache.convert.formats.json_file import JsonObject, read_json
from cupola.cache.convert.tokenizer.model_tokenizer import END_TOKENS, Json
from cupola.cache.errors import BrokenFileError, UnsupportedError

_MAX_TEMPLATE = 1 << 20  # bytes


class FolderTokenizer:
    """The files ``tokenizer.json``, ``tokenizer_config.json`` and their company.

    Raises UnsupportedError for a folder that has a tokenizer in another form only, BrokenFileError
    for files that contradict each other or the model.
    """

    def __init__(self, folder: Path, config: JsonObject, embedding_rows: int) -> None:
        """``config``: of the model. ``embedding_rows``: there is at least one for each token."""
        self._folder = folder
        if not (folder / "tokenizer.json").is_file():
            raise UnsupportedError(
                f"{folder.name} has no tokenizer.json. Add the one of the model, or take its GGUF"
            )
        self._json = read_json(folder / "tokenizer.json")
        self._config = self._optional("tokenizer_config.json")
        self._ids = self._read_ids()
        largest = max(self._ids.values(), default=-1)
        if not 0 <= largest < embedding_rows:
            raise BrokenFileError(
                f"{folder.name}: tokenizer.json has the token {largest}, and the model an "
                f"embedding of {embedding_rows} rows"
            )
        self._sources = [self._optional("generation_config.json"), config]

    def _read_ids(self) -> dict[str, int]:
        try:
            return dict(Tokenizer.from_str(json.dumps(self._json)).get_vocab())
        except Exception as error:  # the library raises plain Exceptions
            raise BrokenFileError(
                f"{self._folder.name}: tokenizer.json cannot be read: {error}"
            ) from None

    def _optional(self, name: str) -> JsonObject:
        path = self._folder / name
        return JsonObject(name, read_json(path) if path.is_file() else {})

    def tokenizer_json(self) -> Json:
        """See ``ModelTokenizer``."""
        return self._json

    def tokenizer_config(self) -> Json:
        """See ``ModelTokenizer``."""
        content = dict(self._config.values)
        if self.chat_template:
            content["chat_template"] = self.chat_template
        return content

    @property
    def chat_template(self) -> str:
        """See ``ModelTokenizer``. Of several templates, the one that is called "default"."""
        path = self._folder / "chat_template.jinja"
        if path.is_file():
            with path.open("rb") as file:
                content = file.read(_MAX_TEMPLATE + 1)
            if len(content) > _MAX_TEMPLATE:
                raise BrokenFileError(f"{path.name} is larger than {_MAX_TEMPLATE >> 20} MB")
            return content.decode("utf-8", "replace")
        template: Any = self._config.values.get("chat_template", "")
        if isinstance(template, list):
            named = {each.get("name"): each for each in template if isinstance(each, dict)}
            template = named.get("default", {}).get("template", "")
        return template if isinstance(template, str) else ""

    @property
    def bos(self) -> int | None:
        return self._special("bos")

    @property
    def pad(self) -> int | None:
        return self._special("pad")

    @property
    def ends(self) -> list[int]:
        """See ``ModelTokenizer``."""
        found = {number for token, number in self._ids.items() if token in END_TOKENS}
        for source in self._sources:
            value = source.values.get("eos_token_id")
            numbers = value if isinstance(value, list) else [value]
            found.update(number for number in numbers if type(number) is int)
        if (named := self._named("eos")) is not None:
            found.add(named)
        return sorted(found & set(self._ids.values()))

    def _special(self, role: str) -> int | None:
        if (named := self._named(role)) is not None:
            return named
        for source in self._sources:
            number = source.values.get(f"{role}_token_id")
            if type(number) is int and number in self._ids.values():
                return number
        return None

    def _named(self, role: str) -> int | None:
        """The token that tokenizer_config.json gives the role, as a text or as an object."""
        token = self._config.values.get(f"{role}_token")
        if isinstance(token, dict):
            token = token.get("content")
        return self._ids.get(token) if isinstance(token, str) else None
