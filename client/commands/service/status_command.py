"""``cupola status``, ``report`` and ``zip-logs``: help when something is wrong.

Nothing is sent anywhere. A report is text that its owner may paste into an issue.
"""

from __future__ import annotations

import platform
import sys
import zipfile
from pathlib import Path
from typing import Annotated, Any

import typer

from cupola.client import home
from cupola.client.errors import ClientError, NoAnswerError
from cupola.client.terminal.output import Form, Output, print_json, report_success

_PROBING_SECONDS = 90.0


def status(output: Output = Form.TEXT) -> None:
    """Show the state of the machine, the service, the models and the connection.

    Example: cupola status
    """
    found = _look()
    if output is Form.JSON:
        print_json(found)
        return
    for title, rows in found.items():
        print(_words(title).capitalize())
        for name, value in rows.items():
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            print(f"  {_words(name):<17} {'none' if shown in ('', None) else shown}")


def report(output: Output = Form.TEXT) -> None:
    """Print a problem report to fill in: versions and state, no prompts. Nothing is sent.

    Example: cupola report > report.md
    """
    found = _look()
    if output is Form.JSON:
        print_json(found)
        return
    print("## What happened\n\n(what you did, what you expected, what came instead)\n")
    print("## State\n")
    for title, rows in found.items():
        print(f"- {_words(title)}: " + "; ".join(f"{_words(name)} {rows[name]}" for name in rows))
    print("\n## Log\n\n(the lines of `cupola service logs` around it)")


def zip_logs(
    target: Annotated[Path, typer.Argument(metavar="[FILE]", help="The archive to write.")] = Path(
        "cupola-logs.zip"
    ),
    output: Output = Form.TEXT,
) -> None:
    """Put the service's logs into one archive.

    Example: cupola zip-logs logs.zip
    """
    logs = sorted(home.current().logs.glob("*.log"))
    if not logs:
        raise ClientError(f"There is no log in {home.current().logs}")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for log in logs:
            archive.write(log, log.name)
    report_success(f"{len(logs)} logs are in {target}", output, path=str(target))


def _look() -> dict[str, dict[str, Any]]:
    from importlib.metadata import version

    from cupola.cache.store import ModelCache
    from cupola.client import models_folder
    from cupola.client.running_service import find, is_ready
    from cupola.client.sdk.connection import Connection

    folder = home.current()
    try:
        service, silent = find(folder), ""
    except NoAnswerError as error:
        service, silent = None, str(error)
    loaded: list[str] = []
    providers: dict[str, str] = {}
    problem = silent
    if service is not None:
        try:
            loaded = Connection(service.url, 5.0).loaded()
            providers = _providers(service.url)
        except ClientError as error:
            problem = str(error)
    return {
        "system": {
            "cupola": version("cupola"),
            "python": sys.version.split()[0],
            "platform": platform.platform(),
            "home": str(folder.root),
        },
        "service": {
            "running": service is not None,
            "ready": service is not None and is_ready(service),
            "webUrls": [service.url] if service else [],
            "pid": service.pid if service else None,
        },
        "models": {
            "cacheDirectory": str(models_folder.location(folder)),
            "cached": [model.variant.id for model in ModelCache(folder).scan()],
            "loaded": loaded,
        },
        "executionProviders": providers,
        "connectivity": {"service": problem or ("ok" if service else "not running")},
    }


def _providers(url: str) -> dict[str, str]:
    """The runtime's providers, and whether they work or why not. The first request is slow."""
    from cupola.client.sdk.connection import Connection

    providers = Connection(url, _PROBING_SECONDS).get("/openai/providers") or []
    return {each["name"]: each["problem"] or "works" for each in providers}


def _words(name: str) -> str:
    """A key as words; names that begin with a capital letter are names and stay."""
    if name[:1].isupper():
        return name
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
