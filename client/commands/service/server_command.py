"""``cupola server``: the same service in the words of Foundry Local's newer command line.

Its JSON is that of ``cupola service``; its texts are rows of a name and a value.
"""

from __future__ import annotations

from cupola.client import home
from cupola.client.commands.service import service_command
from cupola.client.errors import NoAnswerError
from cupola.client.terminal.output import Form, Output


def status(output: Output = Form.TEXT) -> None:
    """Show whether the server runs, and where.

    Example: cupola server status -o json
    """
    if output is Form.JSON:
        service_command.status(output)
        return
    from cupola.client.daemon import find_or_await
    from cupola.client.running_service import is_ready

    try:
        found = find_or_await(home.current())
    except NoAnswerError as error:
        rows = {"State": "not_answering", "Message": str(error)}
    else:
        if found is None:
            rows = {"State": "not_running"}
        else:
            facts = service_command.facts(found)
            rows = {
                "State": "ready" if is_ready(found) else "starting",
                "PID": str(facts["pid"]),
                "Web URLs": found.url,
                "Started at": facts["startedAt"],
                "Uptime": facts["uptime"],
                "Log file": facts["logFile"],
            }
    for name, value in rows.items():
        print(f"{name:<13}{value}")


def stop(output: Output = Form.TEXT) -> None:
    """Stop the server; running answers get some seconds to finish.

    Example: cupola server stop
    """
    service_command.stop(output)
