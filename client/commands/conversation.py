"""Chats with a model in the terminal, or in a pipe, over the running service."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from cupola.client import home
from cupola.client.commands.common.connection import running
from cupola.client.commands.common.local_model import ensure
from cupola.client.errors import ClientError
from cupola.client.running_service import Ending, RunningService, chat
from cupola.client.terminal.answers import AnswerPrinter, printer
from cupola.client.terminal.output import Form

_HELP = """\
/help, /?   show this
/clear      forget the conversation
/exit       leave (so does Ctrl+D)
Ctrl+C      cancel the answer"""

Messages = list[dict[str, str]]
Answer = Callable[[Messages], Generator[str, None, Ending]]


class Conversation:
    """The messages so far. ``answer`` gives the pieces of the next reply to them.

    ``system`` tells the model how to answer; it stays when the messages are forgotten.
    """

    def __init__(self, answer: Answer, system: str = "") -> None:
        self._answer = answer
        self._system: Messages = [{"role": "system", "content": system}] if system else []
        self.messages: Messages = []

    def say(self, text: str) -> Generator[str, None, Ending]:
        """The pieces of the reply. If it is cancelled, the pieces so far are kept.

        A question without any reply is forgotten, so that it can be asked again.
        """
        messages = [*self.messages, {"role": "user", "content": text}]
        pieces: list[str] = []
        try:
            with closing(self._answer([*self._system, *messages])) as answer:
                while True:
                    try:
                        piece = next(answer)
                    except StopIteration as end:
                        ending: Ending = end.value
                        return ending
                    pieces.append(piece)
                    yield piece
        finally:
            if pieces:
                self.messages = [*messages, {"role": "assistant", "content": "".join(pieces)}]

    def clear(self) -> None:
        self.messages = []


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """How to answer.

    ``sampling``: parameters of OpenAI's chat completions; None is "not given". ``ttl`` in seconds;
    ``retain``: keep other models in memory; ``verbose``: print timings.
    """

    sampling: Mapping[str, Any] = field(default_factory=dict)
    system: str = ""
    ttl: int | None = None
    retain: bool = True
    verbose: bool = False
    form: Form = Form.TEXT


def talk(name: str | None, prompt: str | None, options: ChatOptions) -> None:
    """Answer ``prompt``, or what is typed. Raises ClientError and the cache's errors."""
    folder = home.current()
    model = ensure(folder, name or _default_model()).variant.id
    show = printer(options.form, model)
    interactive = prompt is None and sys.stdin.isatty()
    if interactive:
        show.note(f"Model {model} was found in the local cache.")
    service = running(folder)
    if not options.retain:
        _unload_others(service, model)
    if interactive or options.verbose or options.ttl is not None:
        _load(service, model, options)
    conversation = Conversation(
        lambda messages: chat(running(folder), model, messages, **options.sampling),
        options.system,
    )
    if prompt is not None:
        show.answer(conversation.say(prompt))
    elif interactive:
        _interact(conversation, show)
    else:
        for line in sys.stdin:
            if not _obey(conversation, line.strip(), show):
                return


def _load(service: RunningService, model: str, options: ChatOptions) -> None:
    """Load the model and say so, beside the answers on standard output."""
    from cupola.client.sdk.connection import Connection

    print("🕓 Loading model...", file=sys.stderr, flush=True)
    begun = time.perf_counter()
    Connection(service.url).load(model, options.ttl)
    print(f"🟢 Model {model} loaded successfully", file=sys.stderr, flush=True)
    if options.verbose:
        taken = timedelta(seconds=time.perf_counter() - begun)
        print(f"Time cost to load model: {taken}", file=sys.stderr, flush=True)


def _unload_others(service: RunningService, model: str) -> None:
    from cupola.client.sdk.connection import Connection

    connection = Connection(service.url)
    for other in connection.loaded():
        if other != model:
            connection.unload(other, force=True)


def _interact(conversation: Conversation, show: AnswerPrinter) -> None:
    with suppress(ImportError):
        import readline  # noqa: F401  (gives input() a history and the arrow keys)
    show.note("\nInteractive Chat. Enter /? or /help for help.")
    show.note("Press Ctrl+C to cancel generation. Type /exit to leave the chat.")
    show.note("\nInteractive mode, please enter your prompt")
    while True:
        try:
            line = input("\n> ")
        except KeyboardInterrupt:
            show.note("\nType /exit to leave the chat.")
            continue
        except EOFError:
            show.note("")
            return
        try:
            if not _obey(conversation, line.strip(), show):
                return
        except ClientError as error:
            print(f"{error}. {error.hint}".rstrip(), file=sys.stderr)


def _obey(conversation: Conversation, line: str, show: AnswerPrinter) -> bool:
    """Act on one line; False when it ends the chat."""
    match line:
        case "":
            pass
        case "/exit" | "/quit" | "/bye":
            return False
        case "/help" | "/?":
            show.note(_HELP)
        case "/clear":
            conversation.clear()
        case _ if line.startswith("/") and " " not in line:
            show.note(f"There is no command {line}. Enter /help for help.")
        case _:
            try:
                show.answer(conversation.say(line))
            except KeyboardInterrupt:
                show.note(" [cancelled]")
    return True


def _default_model() -> str:
    from cupola.service.settings.sources import load

    if model := load().settings.model:
        return model
    raise ClientError("No model was named", "See: cupola model list")
