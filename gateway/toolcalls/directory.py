"""In which format a model on the disk answers. Its chat template says it, or a file beside that.

``cupola.json`` in the model's folder goes first: ``{"tool_format": "hermes"}`` names a format, an
object there describes one of its own, and ``"reasoning": [{"start": …, "end": …}]`` the
markers of its reasoning. Only files are read here; nothing in them is run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import anyio.to_thread
import msgspec
from msgspec.structs import replace

from cupola.gateway.toolcalls.formats import AnswerFormat, Markers, ToolCallFormat
from cupola.gateway.toolcalls.harmony import MARKERS as HARMONY_MARKERS
from cupola.gateway.toolcalls.known import BY_NAME, format_of_template

logger = logging.getLogger(__name__)

OWN, TEMPLATE, TOKENIZER = "cupola.json", "chat_template.jinja", "tokenizer_config.json"
_MAX_BYTES = 8 * 1024 * 1024

T = TypeVar("T")
Stamp = tuple[tuple[int, int] | None, ...]
LOOK_SECONDS = 1.0  # for which what was read of a folder need not be looked at again


class _Known(NamedTuple):
    look_at: float
    stamp: Stamp
    answer_format: AnswerFormat


class _Own(msgspec.Struct):
    tool_format: str | ToolCallFormat | None = None
    reasoning: tuple[Markers, ...] | None = None
    starts_in_reasoning: bool | None = None


class _Token(msgspec.Struct):
    content: str = ""
    special: bool = False


class _Named(msgspec.Struct):
    name: str = ""
    template: str = ""


class _Tokenizer(msgspec.Struct):
    chat_template: str | list[_Named] | None = None
    added_tokens_decoder: dict[str, _Token] = {}


class FormatDirectory:
    """Reads model folders, in threads, and again only when their files have changed.

    ``clock``: monotonic seconds. A change is seen after LOOK_SECONDS at the latest.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, _Known] = {}

    async def of(self, folder: str) -> AnswerFormat:
        """The format of the model in ``folder``. ``PLAIN`` where the folder says nothing."""
        known = self._known.get(folder)
        now = self._clock()
        if known is not None and now < known.look_at:
            return known.answer_format
        # In the loop: it takes less than until a thread has its turn beside a busy loop, and every
        # request that comes until then would have a thread as well.
        stamp = tuple(_stamp(Path(folder) / name) for name in (OWN, TEMPLATE, TOKENIZER))
        if known is not None and known.stamp == stamp:
            answer_format = known.answer_format
        else:
            answer_format = await anyio.to_thread.run_sync(read_format, Path(folder))
        self._known[folder] = _Known(now + LOOK_SECONDS, stamp, answer_format)
        return answer_format


def read_template(folder: Path) -> str:
    """The chat template of the model in ``folder``; empty where it has none."""
    return _template(folder, _decode(folder / TOKENIZER, _Tokenizer) or _Tokenizer())


def read_format(folder: Path) -> AnswerFormat:
    """The format of the model in ``folder``. A file that cannot be read is logged and left out."""
    tokenizer = _decode(folder / TOKENIZER, _Tokenizer) or _Tokenizer()
    template = _template(folder, tokenizer)
    own = _decode(folder / OWN, _Own) or _Own()
    answer_format = _overridden(format_of_template(template), own)
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return replace(
        answer_format,
        chats=bool(template),
        special=any(_is_special(m, special) for m in _markers(answer_format)),
    )


def _template(folder: Path, tokenizer: _Tokenizer) -> str:
    file = folder / TEMPLATE
    try:
        if file.exists():
            return file.read_text("utf-8")[:_MAX_BYTES]
    except (OSError, ValueError) as error:
        logger.warning("%s cannot be read: %s", file.name, error)
    given = tokenizer.chat_template
    if isinstance(given, list):
        by_name = {one.name: one.template for one in given}
        return by_name.get("tool_use") or by_name.get("default", "")
    return given or ""


def _overridden(answer_format: AnswerFormat, own: _Own) -> AnswerFormat:
    if isinstance(own.tool_format, ToolCallFormat):
        answer_format = replace(answer_format, name="own", tools=own.tool_format, harmony=False)
    elif own.tool_format is not None and (named := BY_NAME.get(own.tool_format)):
        answer_format = replace(
            named,
            reasoning=answer_format.reasoning,
            starts_in_reasoning=answer_format.starts_in_reasoning,
            template_takes_tools=answer_format.template_takes_tools,
        )
    elif own.tool_format is not None:
        known = ", ".join(BY_NAME)
        logger.warning("%s names the unknown format '%s'; known: %s", OWN, own.tool_format, known)
    if own.reasoning is not None:
        answer_format = replace(answer_format, reasoning=own.reasoning)
    if own.starts_in_reasoning is not None:
        answer_format = replace(answer_format, starts_in_reasoning=own.starts_in_reasoning)
    return answer_format


def _markers(answer_format: AnswerFormat) -> Iterator[str]:
    if answer_format.harmony:
        yield from HARMONY_MARKERS
    pairs = (
        *(answer_format.tools.markers if answer_format.tools else ()),
        *answer_format.reasoning,
    )
    for pair in pairs:
        yield from (pair.start, pair.end)


def _is_special(marker: str, special: set[str]) -> bool:
    """Whether a marker begins or ends with a special token. Some tokenizers list none."""
    if special:
        return any(marker.startswith(token) or marker.endswith(token) for token in special if token)
    return marker.startswith(("<|", "<\uff5c", "[TOOL"))


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _decode(file: Path, kind: type[T]) -> T | None:
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_BYTES)
        return msgspec.json.decode(content.removeprefix(b"\xef\xbb\xbf"), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        logger.warning("%s/%s cannot be read: %s", file.parent.name, file.name, error)
        return None
