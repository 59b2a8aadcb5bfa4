"""``cupola decide``: what a model thinks of the possible answers to a question."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from cupola.client import home
from cupola.client.commands.common.options import Name
from cupola.client.errors import ClientError
from cupola.client.terminal.output import Form, Output

_SHOWN = 72  # characters of an input above its answer


def decide(
    name: Name,
    question: Annotated[str, typer.Option(help="What to decide: a statement or a question.")],
    choices: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="The answers to choose from.")
    ] = None,
    levels: Annotated[
        str | None, typer.Option(metavar="LOW,...,HIGH", help="The levels of a score, in order.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="The input. [standard input]")] = None,
    file: Annotated[
        Path | None, typer.Option(help="Many inputs: a file with a line of JSON for each.")
    ] = None,
    permutations: Annotated[
        int | None, typer.Option(min=1, max=255, help="Ask in this many orders, and average.")
    ] = None,
    output: Output = Form.TEXT,
) -> None:
    """Print how probable a model finds each answer to a question about a text.

    Without --choices and --levels, the answer is yes or no.

    Example: cupola decide smollm2-135m --question "Is it about food?" --text "Eat bread."
    """
    from cupola.client.commands.common.connection import connected
    from cupola.client.commands.common.local_model import ensure
    from cupola.client.commands.decisions.decision_table import show
    from cupola.client.commands.decisions.in_order import AT_ONCE, in_order
    from cupola.client.commands.decisions.questions import question as asked

    body = {"questions": [asked(question, choices, levels)], "permutations": permutations}
    given_inputs = _inputs(text, file)  # before a model is fetched or a service is started
    folder = home.current()
    model = ensure(folder, name).variant.id
    connection = connected(folder, start=True)

    def decided(given: Any) -> Any:
        return connection.post("/v1/decisions", {"model": model, "input": given, **body})

    progress = file is not None and sys.stderr.isatty()
    total = _lines(file) if file is not None and progress else 0
    found = in_order(decided, given_inputs, AT_ONCE)
    for number, (given, decision) in enumerate(found, 1):
        show(decision, output, _shortened(given) if file is not None else "")
        if progress:
            print(f"\r{number} of {total} inputs", end="", file=sys.stderr, flush=True)
    if progress:
        print(file=sys.stderr)


def _lines(file: Path) -> int:
    """How many inputs a file seems to have; 0 where it cannot be read, which is told later."""
    try:
        with file.open("rb") as lines:
            return sum(1 for line in lines if line.strip())
    except OSError:
        return 0


def _inputs(text: str | None, file: Path | None) -> Iterator[Any]:
    """What is asked about. Raises ClientError at once where there is nothing."""
    if file is not None:
        if text is not None:
            raise ClientError("--text and --file exclude each other")
        try:
            return _of_lines(file.open(encoding="utf-8-sig"), str(file))
        except OSError as error:
            reason = error.strerror or error
            raise ClientError(f"The file {file} cannot be read: {reason}") from None
    given = sys.stdin.read().strip() if text is None else text
    if not given:
        raise ClientError("There is no input", "Give it with --text, or pipe it in")
    return iter([given])


def _of_lines(lines: TextIO, name: str) -> Iterator[Any]:
    from cupola.client.commands.decisions.questions import inputs

    with lines:
        yield from inputs(lines, name)


def _shortened(given: Any) -> str:
    text = " ".join(str(given).split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
