"""``cupola server``: the same service in the words of Foundry Local's newer command line.

Its JSON is that of ``cupola service``; its texts are rows of a name and a value.
"""

from __future__ import annotations

from cupola.client import home
from cupola.client.commands import service
from cupola.client.commands.output import Form, Output
from cupola.client.errors import NoAnswerError


def status(output: Output = Form.TEXT) -> None:
    """Tell whether the server runs, and where.

    Example: cupola server status -o json
    """
    if output is Form.JSON:
        service.status(output)
        return
    from cupola.client.api import is_ready
    from cupola.client.daemon import find_or_await

    try:
        found = find_or_await(home.current())
    except NoAnswerError as error:
        rows = {"State": "not_answering", "Message": str(error)}
    else:
        if found is None:
            rows = {"State": "not_running"}
        else:
            told = service.facts(found)
            rows = {
                "State": "ready" if is_ready(found) else "starting",
                "PID": str(told["pid"]),
                "Web URLs": found.url,
                "Started at": told["startedAt"],
                "Uptime": told["uptime"],
                "Log file": told["logFile"],
            }
    for name, value in rows.items():
        print(f"{name:<13}{value}")


def stop(output: Output = Form.TEXT) -> None:
    """Stop the server; running answers get some seconds to finish.

    Example: cupola server stop
    """
    service.stop(output)
