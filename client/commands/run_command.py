"""``cupola run``, ``chat`` and ``complete``: talking to a model, over the service."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from cupola.client.commands.options import Name, Ttl

Model = Annotated[
    str | None, typer.Argument(metavar="[MODEL]", help="A model. [the settings' default]")
]
Temperature = Annotated[
    float, typer.Option(help="How freely words are chosen; small models ramble above 0.5.")
]
CALM = 0.2


class Truth(enum.StrEnum):
    """A value for ``--retain``, which is no flag in Foundry Local."""

    TRUE = "true"
    FALSE = "false"


def run(
    name: Model = None,
    prompt: Annotated[str | None, typer.Option(help="Print the answer to it and leave.")] = None,
    temperature: Temperature = CALM,
    ttl: Ttl = None,
    retain: Annotated[
        Truth, typer.Option("--retain", help="Keep other models in memory.")
    ] = Truth.TRUE,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print the time to load.")] = False,
) -> None:
    """Chat with a model in the terminal, over the service, which is started if need be.

    Example: cupola model run smollm2-135m --prompt "What is the capital of France?"
    """
    from cupola.client.commands.conversation import ChatOptions, talk

    talk(name, prompt, ChatOptions(temperature, ttl, retain is Truth.TRUE, verbose))


def chat(name: Model = None, temperature: Temperature = CALM) -> None:
    """Chat with a model in the terminal.

    Example: cupola chat smollm2-135m
    """
    run(name, temperature=temperature)


def complete(
    name: Name,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to answer.")],
    temperature: Temperature = CALM,
) -> None:
    """Print a model's answer to one prompt.

    Example: cupola complete smollm2-135m "What is the capital of France?"
    """
    run(name, prompt, temperature)
