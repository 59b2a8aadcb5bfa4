"""``cupola run``, ``chat`` and ``complete``: talking to a model, over the service."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cupola.client.commands.common.completion import catalog_models
from cupola.client.commands.common.options import Name, Ttl, finite
from cupola.client.errors import ClientError
from cupola.client.terminal.output import Form, Output

Model = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]", help="A model. [the settings' default]", autocompletion=catalog_models
    ),
]
System = Annotated[str, typer.Option(help="How the model is to answer: its system prompt.")]
MaxTokens = Annotated[
    int | None, typer.Option(min=1, help="The most tokens of an answer. [as many as fit]")
]
Temperature = Annotated[
    float,
    typer.Option(
        callback=finite, help="How freely words are chosen; small models ramble above 0.5."
    ),
]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same answer again.")]
JsonSchema = Annotated[
    str | None,
    typer.Option(
        metavar="SCHEMA|FILE", help="Answer with JSON of this schema, or of the one in a file."
    ),
]
CALM = 0.2


class Truth(enum.StrEnum):
    """A value for ``--retain``, which is no flag in Foundry Local."""

    TRUE = "true"
    FALSE = "false"


def run(
    name: Model = None,
    words: Annotated[
        str | None, typer.Argument(metavar="[PROMPT]", help="The same as --prompt.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Print the answer to it and leave.")] = None,
    system: System = "",
    max_tokens: MaxTokens = None,
    temperature: Temperature = CALM,
    seed: Seed = None,
    json_schema: JsonSchema = None,
    ttl: Ttl = None,
    retain: Annotated[
        Truth, typer.Option("--retain", help="Keep other models in memory.")
    ] = Truth.TRUE,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print the time to load.")] = False,
    output: Output = Form.TEXT,
) -> None:
    """Chat with a model in the terminal, over the service, which is started if need be.

    What is piped in is a conversation: each line is a message.

    Example: cupola model run smollm2-135m --prompt "What is the capital of France?"
    """
    from cupola.client.commands.conversation import ChatOptions, talk

    sampling = {
        "max_completion_tokens": max_tokens,
        "temperature": temperature,
        "seed": seed,
        "response_format": None if json_schema is None else _schema(json_schema),
    }
    retains = retain is Truth.TRUE
    options = ChatOptions(sampling, system, ttl, retains, verbose, output)
    talk(name, words if prompt is None else prompt, options)


def chat(
    name: Model = None,
    system: System = "",
    max_tokens: MaxTokens = None,
    temperature: Temperature = CALM,
    output: Output = Form.TEXT,
) -> None:
    """Chat with a model in the terminal.

    Example: cupola chat smollm2-135m
    """
    run(name, system=system, max_tokens=max_tokens, temperature=temperature, output=output)


def complete(
    name: Name,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to answer.")],
    system: System = "",
    max_tokens: MaxTokens = None,
    temperature: Temperature = CALM,
    output: Output = Form.TEXT,
) -> None:
    """Print a model's answer to one prompt.

    Example: cupola complete smollm2-135m "What is the capital of France?"
    """
    run(
        name,
        prompt=prompt,
        system=system,
        max_tokens=max_tokens,
        temperature=temperature,
        output=output,
    )


def _schema(given: str) -> dict[str, Any]:
    """OpenAI's response format for a schema, or for the name of a file that holds it."""
    text = given if given.lstrip().startswith("{") else Path(given).read_text("utf-8-sig")
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise ClientError(f"--json-schema is not JSON: {error}") from None
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
