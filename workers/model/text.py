"""From text to token ids and back: tokenizer and stop strings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from cupola.scheduler.protocol.tasks import Chat
from cupola.workers.model.chat_template import ChatTemplate, TemplateError
from cupola.workers.model.prompt_template import read_prompt_template
from cupola.workers.model.render_budget import RenderBudget
from cupola.workers.model.special_tokens import SpecialTokens
from cupola.workers.model.token_bound import TokenBound
from cupola.workers.model.token_bytes import token_bytes

# A longer text is given to tokenizers in a way that lets other threads of Python run.
_LONG = 4096


@dataclass(frozen=True, slots=True)
class RenderedChat:
    """A conversation as the model reads it.

    ``mark`` stands within what only spells a special token; empty: nothing does.
    """

    marked: str
    mark: str = ""

    @property
    def text(self) -> str:
        """Without the marks."""
        return self.marked.replace(self.mark, "") if self.mark else self.marked


class TextCodec:
    """Converts between text and tokens of one model. It may be used from several threads."""

    def __init__(self, folder: Path) -> None:
        """Read ``tokenizer.json`` and the files beside it. Raises OSError, ValueError."""
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises bare Exception
            raise ValueError(f"tokenizer.json: {error}") from error
        self._tokenizer.no_truncation()  # a text that is too long is refused
        self._tokenizer.no_padding()
        self._byte_level = "ByteLevel" in repr(self._tokenizer.decoder)
        self._special = SpecialTokens(self._tokenizer)
        self._bound = TokenBound(self._tokenizer)
        config = _read_json(folder / "tokenizer_config.json")
        tokens = {
            name: value["content"] if isinstance(value, dict) else value
            for name, value in config.items()
            if name.endswith("_token") and value is not None and not isinstance(value, bool)
        }
        file = folder / "chat_template.jinja"
        source = file.read_text("utf-8") if file.exists() else config.get("chat_template")
        if not isinstance(source, str):
            source = read_prompt_template(folder)
        self._template = None if source is None else ChatTemplate(source, tokens)

    def has(self, token: int) -> bool:
        """Whether the vocabulary has this token id."""
        return 0 <= token < 2**32 and self._tokenizer.id_to_token(token) is not None

    def encode(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> list[int]:
        """The tokens of plain text.

        ``add_special``: with the special tokens that the tokenizer itself adds. Without
        ``parse_special``, text that spells a special token is like any other text.
        """
        if not parse_special:
            return self._special.encode(text, add_special=add_special)
        if len(text) <= _LONG:
            return list(self._tokenizer.encode(text, add_special_tokens=add_special).ids)
        batch = self._tokenizer.encode_batch_fast([text], add_special_tokens=add_special)
        return list(batch[0].ids)

    def encode_pair(self, first: str, second: str) -> tuple[list[int], list[int]]:
        """The tokens of two texts as one input, and for each token 0 or 1: whose it is."""
        pair = self._tokenizer.encode(first, second)
        return list(pair.ids), list(pair.type_ids)

    def fewest_tokens(self, text: str) -> int:
        """A lower bound on the number of its tokens, found without making them."""
        return self._bound.fewest(text)

    def decode(self, tokens: Sequence[int], *, keep_special: bool) -> str:
        """The text of a complete list of tokens."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=not keep_special))

    def render(self, chat: Chat, budget: RenderBudget | None = None) -> RenderedChat:
        """The conversation as the model reads it. Raises what ``ChatTemplate.render`` raises."""
        if self._template is None:
            raise TemplateError("this model has no chat template; use it for plain completion")
        if chat.parse_special:
            return RenderedChat(self._template.render(chat, budget))
        try:
            chat, mark = self._special.separated(chat)
        except (ValueError, RecursionError) as error:
            raise TemplateError(f"these messages cannot be read: {error}") from error
        return RenderedChat(self._template.render(chat, budget), mark)

    def encode_rendered(self, rendered: RenderedChat) -> list[int]:
        """The tokens of a conversation."""
        if rendered.mark:
            return self._special.encode(rendered.marked, rendered.mark)
        # The template writes the special tokens, so the tokenizer must not add them once more.
        return self.encode(rendered.text, add_special=False)

    def encode_behind(self, before: str, text: str) -> list[int]:
        """The tokens of a template's text and of a client's text behind it.

        The client's spells no special tokens.
        """
        chat, mark = self._special.separated(Chat(({"content": text},)))
        return self.encode_rendered(RenderedChat(before + chat.messages[0]["content"], mark))

    def encode_chat(self, chat: Chat) -> list[int]:
        """The tokens of a conversation. Raises TemplateError."""
        return self.encode_rendered(self.render(chat))

    def detokenizer(self, *, keep_special: bool = False, continues: bool = False) -> Detokenizer:
        """``continues``: the answer follows other text, so a space at its beginning counts."""
        # Byte-level tokenizers never drop a space. Others drop it at the beginning of a text.
        before = self.encode("a", add_special=False) if continues and not self._byte_level else []
        return Detokenizer(self._tokenizer, keep_special, before)

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one token, which may be a part of a character."""
        spelled = self._tokenizer.id_to_token(token)
        if spelled is None:
            return b""
        return token_bytes(spelled, byte_level=self._byte_level)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    data = json.loads(path.read_text("utf-8"))
    return data if isinstance(data, dict) else {}


class Detokenizer:
    """Turns the tokens of one answer into text, token by token, without half characters."""

    def __init__(
        self, tokenizer: Tokenizer, keep_special: bool = False, before: Sequence[int] = ()
    ) -> None:
        """``before``: tokens of any text, as if it stood before the answer."""
        self._tokenizer = tokenizer
        self._skip_special = not keep_special
        self._stream = DecodeStream(ids=list(before), skip_special_tokens=self._skip_special)
        self._held: list[int] = []  # tokens of a character that is not complete yet

    def feed(self, token: int) -> str:
        """The text that is complete with this token; it may be empty."""
        try:
            return self._step(token)
        except Exception:  # tokenizers has no class for it
            pass
        # Bytes that make no character have removed a character before them, whose text is already
        # sent. Begin again with the tokens that are held.
        tokens, self._held = [*self._held, token], []
        self._stream = DecodeStream(skip_special_tokens=self._skip_special)
        return "".join(map(self.feed, tokens))

    def _step(self, token: int) -> str:
        text = self._stream.step(self._tokenizer, token)
        if text is None:
            self._held.append(token)
            return ""
        self._held.clear()
        return text

    def flush(self) -> str:
        """The text that is left at the end: the beginning of a character."""
        held, self._held = self._held, []
        return self._tokenizer.decode(held, skip_special_tokens=self._skip_special) if held else ""


class StopMatcher:
    """Finds stop strings in streamed text. It holds back text that may be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def feed(self, text: str) -> tuple[str, str | None]:
        """Returns the text that may be sent now, and the stop string if one was found.

        Text behind a stop string is dropped.
        """
        if not self._stops:
            return text, None
        text = self._held + text
        found = [(at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self._held = ""
            at, stop = min(found)
            return text[:at], stop
        keep = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], None

    def flush(self) -> str:
        """The text that was held back, for an answer that ended without a stop string."""
        text, self._held = self._held, ""
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest suffix of ``text`` that is a prefix of ``stop``."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0
