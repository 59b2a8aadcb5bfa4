"""``cupola service``: the service in the background, with Foundry Local's texts.

Other programs read these texts: they look for the URL on standard output, and take a status that
is not 0 for a broken installation. So the status command succeeds whatever it finds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cupola.client import home
from cupola.client.errors import ClientError, NoAnswerError
from cupola.client.output import Form, Output, print_json

Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any free one.")]
Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Model = Annotated[str | None, typer.Option(help="Model to load at the start.")]


def start(
    port: Port = None, host: Host = None, model: Model = None, output: Output = Form.TEXT
) -> None:
    """Start the service in the background.

    Example: cupola service start --port 8080
    """
    _start({"port": port, "host": host, "model": model}, output)


def stop(output: Output = Form.TEXT) -> None:
    """Stop the service; running answers get some seconds to finish.

    Example: cupola service stop
    """
    stopped = _stop()
    if output is Form.JSON:
        print_json({"success": True, "message": "Server stopped."})
    else:
        print("🔴 Service is stopped." if stopped else "🔴 Service is not running.")


def restart(
    port: Port = None, host: Host = None, model: Model = None, output: Output = Form.TEXT
) -> None:
    """Stop the service and start it again.

    Example: cupola service restart --model smollm2-135m
    """
    if output is Form.TEXT:
        print("Restarting service...", flush=True)
    if _stop() and output is Form.TEXT:
        print("🔴 Service is stopped.", flush=True)
    _start({"port": port, "host": host, "model": model}, output)


def status(output: Output = Form.TEXT) -> None:
    """Tell whether the service runs, and where. Asks the service itself, not a file.

    Example: cupola service status -o json
    """
    from cupola.client.api import is_ready
    from cupola.client.daemon import find_or_await

    try:
        service = find_or_await(home.current())
    except NoAnswerError as error:
        if output is Form.JSON:
            print_json({"running": False, "state": "not_answering", "message": str(error)})
        else:
            print(f"🟠 Model management service does not answer. {error}.\n{error.hint}")
        return
    if output is Form.JSON:
        if service is None:
            print_json({"running": False, "state": "not_running"})
            return
        state = "ready" if is_ready(service) else "starting"
        about = {"pid": service.pid, "webUrls": [service.url], "logFile": str(_log())}
        print_json({"running": True, "state": state, **about})
    elif service is None:
        print("🔴 Model management service is not running!")
        print("To start the service, run the following command: foundry service start")
    else:
        print(f"🟢 Model management service is running on {service.url}/openai/status")


def logs(
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many lines.")] = 50,
) -> None:
    """Print the end of the background service's log.

    Example: cupola service logs -n 100
    """
    log = _log()
    if not log.exists():
        raise ClientError(f"There is no log in {home.current().logs}", "See: cupola service start")
    text = log.read_text("utf-8", "replace")
    print("\n".join(text.splitlines()[-lines:]))


def _start(flags: dict[str, Any], output: Form) -> None:
    from cupola.client import daemon

    folder = home.current()
    given = {f"CUPOLA_{key.upper()}": str(v) for key, v in flags.items() if v is not None}
    try:
        service, is_new = daemon.ensure_running(folder, given)
    except ClientError:
        from cupola.gateway.settings import load

        load(flags)  # so that what is wrong with the settings is told as such
        raise
    if output is Form.JSON:
        print_json({"running": True, "webUrls": [service.url], "port": service.port})
    elif is_new:
        print(f"🟢 Service is Started on {service.url}/, PID {service.pid}!")
    else:
        print(f"🟢 Service is already running on {service.url}/.")


def _stop() -> bool:
    """Stop the service; False when none runs."""
    from cupola.client import daemon
    from cupola.client.api import find

    service = find(home.current())
    if service is not None:
        daemon.stop(service)
    return service is not None


def _log() -> Path:
    from cupola.client.daemon import latest_log

    return latest_log(home.current())
