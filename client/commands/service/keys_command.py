"""``cupola keys``: makes and removes the keys of a service that others can reach."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from cupola.client import home
from cupola.client.errors import ClientError
from cupola.client.terminal.output import (
    Column,
    Form,
    Output,
    print_json,
    print_table,
    report_success,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is: any name.")]


def add(
    holder: Name,
    admin: Annotated[
        bool, typer.Option("--admin", help="It may also load, delete and download models.")
    ] = False,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", help="A model that it may use, or a pattern; can be repeated."),
    ] = None,
    per_minute: Annotated[
        int, typer.Option("--per-minute", min=0, help="Requests in a minute. 0: no limit.")
    ] = 0,
    at_once: Annotated[
        int, typer.Option("--at-once", min=0, help="Requests at the same time. 0: no limit.")
    ] = 0,
    output: Output = Form.TEXT,
) -> None:
    """Make an API key and print it. It is not stored and cannot be shown again.

    A running service accepts it within a second.

    Example: cupola keys add laptop --model 'qwen*' --per-minute 60
    """
    from cupola.cache.system.api_keys import ApiKey, KeyFile, KeyFileError, digest, new_key

    if not holder.strip() or not holder.isprintable():
        raise ClientError("A key needs a name that can be printed")
    key = new_key()
    record = ApiKey(
        holder, digest(key), admin, tuple(models or ()), per_minute, at_once, int(time.time())
    )
    try:
        KeyFile(home.current().api_keys).add(record)
    except KeyFileError as error:
        raise ClientError(str(error), "The keys there are: cupola keys list") from None
    except OSError as error:
        raise ClientError(f"The keys cannot be written: {error.strerror or error}") from None
    if output is Form.JSON:
        print_json({"success": True, "name": holder, "key": key})
    else:
        print(key)


def list_keys(output: Output = Form.TEXT) -> None:
    """List the keys and what each may do. The keys themselves are not stored.

    Example: cupola keys list
    """
    from cupola.cache.system.api_keys import KeyFile, KeyFileError

    try:
        keys = KeyFile(home.current().api_keys).read()
    except KeyFileError as error:
        raise ClientError(str(error)) from None
    if output is Form.JSON:
        print_json([
            {
                "name": key.name,
                "admin": key.admin,
                "models": list(key.models),
                "perMinute": key.per_minute,
                "atOnce": key.at_once,
                "created": key.created,
            }
            for key in keys
        ])  # fmt: skip
        return
    columns = ["Name", "Admin", "Models", "Per minute", "At once", "Created"]
    rows = [
        [
            key.name,
            "yes" if key.admin else "no",
            ", ".join(key.models) or "all",
            str(key.per_minute or "any"),
            str(key.at_once or "any"),
            time.strftime("%Y-%m-%d", time.gmtime(key.created)),
        ]
        for key in keys
    ]
    print_table([Column(title) for title in columns], rows)


def remove(holder: Name, output: Output = Form.TEXT) -> None:
    """Remove a key. A running service refuses it within a second.

    Example: cupola keys remove laptop
    """
    from cupola.cache.system.api_keys import KeyFile, KeyFileError

    try:
        KeyFile(home.current().api_keys).remove(holder)
    except KeyFileError as error:
        raise ClientError(str(error)) from None
    report_success(f"Removed the key '{holder}'", output)
