"""From text to token ids and back: chat template, tokenizer, stop strings."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from cupola.scheduler.protocol.messages import Chat
from cupola.workers.model.token_bytes import token_bytes

MAX_RENDERED = 8 * 1024 * 1024  # characters; a template that makes more has gone wrong


class TemplateError(ValueError):
    """The model's chat template refuses these messages, or the model has none."""


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    # Jinja's own filter escapes for HTML, which models were not trained on.
    return json.dumps(value, ensure_ascii=False, indent=indent)


class ChatTemplate:
    """A model's own template. It runs in a sandbox: the code in a model's folder is not trusted."""

    def __init__(self, source: str, tokens: Mapping[str, str]) -> None:
        """``tokens``: bos_token, eos_token and so on, as in tokenizer_config.json."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
        self._template = environment.from_string(source)
        self._tokens = dict(tokens)

    def render(self, chat: Chat) -> str:
        """The prompt, up to the beginning of the assistant's answer. Raises TemplateError."""
        variables = {"tools": list(chat.tools) or None, "add_generation_prompt": True}
        variables |= {"messages": list(chat.messages)} | self._tokens | chat.template_options
        if not chat.continue_last:
            return self._generate(variables)
        # Cut off what the template writes behind the last message, so that the answer continues it.
        prompt = self._generate(variables | {"add_generation_prompt": False})
        last = str(chat.messages[-1].get("content") or "")
        at = prompt.rfind(last.strip())
        if at < 0:
            raise TemplateError("the chat template hides the last message, so it cannot go on")
        return prompt[: at + len(last.strip())]

    def _generate(self, variables: Mapping[str, Any]) -> str:
        parts: list[str] = []
        size = 0
        try:
            for part in self._template.generate(variables):
                parts.append(part)
                size += len(part)
                if size > MAX_RENDERED:
                    raise TemplateError("the chat template makes too long a prompt")
        except (jinja2.TemplateError, TypeError, ValueError, OverflowError) as error:
            raise TemplateError(f"the model's chat template refuses this: {error}") from error
        return "".join(parts)


class TextCodec:
    """Converts between text and tokens of one model."""

    def __init__(self, folder: Path) -> None:
        """Read ``tokenizer.json`` and the files beside it. Raises OSError, ValueError."""
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises bare Exception
            raise ValueError(f"tokenizer.json: {error}") from error
        self._tokenizer.no_truncation()  # a text that is too long is refused
        self._tokenizer.no_padding()
        self._byte_level = "ByteLevel" in repr(self._tokenizer.decoder)
        config = _read_json(folder / "tokenizer_config.json")
        tokens = {
            name: value["content"] if isinstance(value, dict) else value
            for name, value in config.items()
            if name.endswith("_token") and value is not None and not isinstance(value, bool)
        }
        file = folder / "chat_template.jinja"
        source = file.read_text("utf-8") if file.exists() else config.get("chat_template")
        self._template = ChatTemplate(source, tokens) if isinstance(source, str) else None

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
        self._tokenizer.encode_special_tokens = not parse_special
        try:
            return list(self._tokenizer.encode(text, add_special_tokens=add_special).ids)
        finally:
            self._tokenizer.encode_special_tokens = False

    def decode(self, tokens: Sequence[int], *, keep_special: bool) -> str:
        """The text of a complete list of tokens."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=not keep_special))

    def render(self, chat: Chat) -> str:
        """The text of a conversation as the model reads it. Raises TemplateError."""
        if self._template is None:
            raise TemplateError("this model has no chat template; use it for plain completion")
        return self._template.render(chat)

    def encode_chat(self, chat: Chat) -> list[int]:
        """The tokens of a conversation. Raises TemplateError."""
        # The template writes the special tokens, so the tokenizer must not add them once more.
        return self.encode(self.render(chat), add_special=False)

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
