"""Chats with a model in the terminal, or in a pipe, over the running service."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress

from cupola.cache.home import Home
from cupola.client import api, home
from cupola.client.api import Service
from cupola.client.errors import ClientError
from cupola.client.local_model import ensure

_HELP = """\
/help, /?   show this
/clear      forget what was said
/exit       leave (so does Ctrl+D)
Ctrl+C      cancel the answer"""

Messages = list[dict[str, str]]
Answer = Callable[[Messages], Generator[str]]


class Conversation:
    """What was said so far. ``answer`` gives the pieces of the next reply to it."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.messages: Messages = []

    def say(self, text: str) -> Generator[str]:
        """The pieces of the reply. One that is broken off keeps what there was of it.

        A question that got nothing at all is forgotten, so that it can be asked again.
        """
        asked = [*self.messages, {"role": "user", "content": text}]
        pieces: list[str] = []
        try:
            with closing(self._answer(asked)) as answer:
                for piece in answer:
                    pieces.append(piece)
                    yield piece
        finally:
            if pieces:
                self.messages = [*asked, {"role": "assistant", "content": "".join(pieces)}]

    def clear(self) -> None:
        self.messages = []


def run(name: str | None, prompt: str | None, temperature: float) -> None:
    """Answer ``prompt``, or what is typed. Raises ClientError and the cache's errors."""
    folder = home.current()
    model = ensure(folder, name or _default_model()).variant.id
    _service(folder)
    conversation = Conversation(
        lambda said: api.chat(_service(folder), model, said, temperature=temperature)
    )
    if prompt is not None:
        _print_answer(conversation.say(prompt))
    elif sys.stdin.isatty():
        _interact(conversation, model)
    else:
        for line in sys.stdin:
            if not _obey(conversation, line.strip()):
                return


def _interact(conversation: Conversation, model: str) -> None:
    with suppress(ImportError):
        import readline  # noqa: F401  (gives input() a history and the arrow keys)
    print(f"Interactive chat with {model}. Enter /? or /help for help.")
    print("Press Ctrl+C to cancel generation. Type /exit to leave the chat.")
    while True:
        try:
            line = input("\n> ")
        except KeyboardInterrupt:
            print("\nType /exit to leave the chat.")
            continue
        except EOFError:
            print()
            return
        try:
            if not _obey(conversation, line.strip()):
                return
        except ClientError as error:
            print(f"{error}. {error.hint}".rstrip(), file=sys.stderr)


def _obey(conversation: Conversation, line: str) -> bool:
    """Act on one line; False when it ends the chat."""
    match line:
        case "":
            pass
        case "/exit" | "/quit" | "/bye":
            return False
        case "/help" | "/?":
            print(_HELP)
        case "/clear":
            conversation.clear()
        case _ if line.startswith("/") and " " not in line:
            print(f"There is no command {line}. Enter /help for help.")
        case _:
            try:
                _print_answer(conversation.say(line))
            except KeyboardInterrupt:
                print(" [cancelled]", flush=True)
    return True


def _print_answer(pieces: Iterator[str]) -> None:
    for piece in pieces:
        print(piece, end="", flush=True)
    print(flush=True)


def _default_model() -> str:
    from cupola.gateway.settings import load

    if model := load().settings.model:
        return model
    raise ClientError("No model was named", "See: cupola model list")


def _service(folder: Home) -> Service:
    """The running service, started if there is none."""
    service = api.find(folder)
    if service is None:
        from cupola.client import daemon

        print("Starting the service...", file=sys.stderr, flush=True)
        service, _ = daemon.ensure_running(folder, {})
    return service
