"""``cupola service``: the service in the background, with Foundry Local's texts.

Other programs read these texts: they look for the URL on standard output, and take a status that
is not 0 for a broken installation. So the status command succeeds whatever it finds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cupola.client import home
from cupola.client.commands.service import setting_flags
from cupola.client.errors import ClientError, NoAnswerError
from cupola.client.terminal.output import Form, Output, print_json, report_success

if TYPE_CHECKING:
    from cupola.client.running_service import RunningService

Port = Annotated[
    int | None, typer.Option("--port", "-p", help="Port to listen on; 0 takes any free one.")
]
Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Idle = Annotated[
    float | None,
    typer.Option("--idle-timeout", help="The same as --model-ttl, in minutes."),
]


def start(context: typer.Context, idle_timeout: Idle = None, output: Output = Form.TEXT) -> None:
    """Start the service in the background.

    Every setting is a flag, a variable (CUPOLA_PORT) and a key of cupola.toml.

    Example: cupola service start --port 8080
    """
    _start(_flags(context, idle_timeout), output)


def stop(output: Output = Form.TEXT) -> None:
    """Stop the service; running answers get some seconds to finish.

    Example: cupola service stop
    """
    stopped = _stop()
    if output is Form.JSON:
        print_json({"success": True, "message": "Server stopped."})
    else:
        print("🔴 Service is stopped." if stopped else "🔴 Service is not running.")


def restart(context: typer.Context, idle_timeout: Idle = None, output: Output = Form.TEXT) -> None:
    """Stop the service and start it again.

    Example: cupola service restart --model smollm2-135m
    """
    _restart(_flags(context, idle_timeout), output)


def _restart(flags: dict[str, Any], output: Form) -> None:
    if output is Form.TEXT:
        print("Restarting service...", flush=True)
    if _stop() and output is Form.TEXT:
        print("🔴 Service is stopped.", flush=True)
    _start(flags, output)


def restart_running(quietly: bool = False) -> bool:
    """Restart the service if one runs, for settings to take effect; False when none does."""
    from cupola.client.running_service import find

    running = find(home.current()) is not None
    if running and quietly:
        from cupola.client import daemon

        _stop()
        daemon.ensure_running(home.current(), {})
    elif running:
        _restart({}, Form.TEXT)
    return running


def status(output: Output = Form.TEXT) -> None:
    """Show whether the service runs, and where. The service itself is asked.

    Example: cupola service status -o json
    """
    from cupola.client.daemon import find_or_await
    from cupola.client.running_service import is_ready

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
        print_json({"running": True, "state": state, **facts(service)})
    elif service is None:
        print("🔴 Model management service is not running!")
        print("To start the service, run the following command: foundry service start")
    else:
        print(f"🟢 Model management service is running on {service.url}/openai/status")
        if providers := _providers(service):
            print(f"EP autoregistration status: {providers}")


def change(
    port: Port = None,
    host: Host = None,
    cachedir: Annotated[Path | None, typer.Option(help="Folder of the models.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the settings.")] = False,
    output: Output = Form.TEXT,
) -> None:
    """Change where the service listens and where its models are; it is restarted if it runs.

    Example: cupola service set --port 8080
    """
    from cupola.client import models_folder
    from cupola.client.commands.service import config_command

    changes = {"port": port, "host": host}
    for key, value in changes.items():
        if value is not None:
            config_command.store(key, str(value))
    if cachedir is not None:
        models_folder.choose(home.current(), cachedir)
    is_change = any(value is not None for value in (port, host, cachedir))
    message = "Saving new settings" if is_change else "No settings changed"
    if output is Form.TEXT:
        print(message, flush=True)
    if is_change:
        restart_running(quietly=output is Form.JSON)
    if output is Form.JSON:
        report_success(message, output, **(_shown() if show else {}))
    elif show:
        print_json(_shown())


def facts(service: RunningService) -> dict[str, Any]:
    """What is shown of a running service besides its state."""
    begun = service.started_at
    uptime = max(0, round((datetime.now(UTC) - begun).total_seconds())) if begun else 0
    return {
        "pid": service.pid,
        "webUrls": [service.url],
        "startedAt": begun.isoformat() if begun else "",
        "uptime": duration(uptime),
        "logFile": str(_log()),
    }


def duration(seconds: int) -> str:
    """E.g. ``1h 2m 3s``."""
    hours, minutes = seconds // 3600, seconds // 60 % 60
    parts = [f"{hours}h"] * (hours > 0) + [f"{minutes}m"] * (seconds >= 60)
    return " ".join([*parts, f"{seconds % 60}s"])


def _flags(context: typer.Context, idle_minutes: float | None) -> dict[str, Any]:
    """The settings on the command line, by key."""
    flags = setting_flags.given(context)
    return flags if idle_minutes is None else flags | {"model_ttl": idle_minutes * 60}


def _start(flags: dict[str, Any], output: Form) -> None:
    from cupola.client import daemon
    from cupola.service.settings.sources import environment, load

    folder = home.current()
    try:
        service, is_new = daemon.ensure_running(folder, environment(flags))
    except ClientError:
        load(flags)  # so that an error in the settings is reported as such
        raise
    if output is Form.JSON:
        idle = load(flags).settings.model_ttl / 60
        record = {"running": True, "webUrls": [service.url], "port": service.port}
        print_json(record | {"idleTimeoutMinutes": idle if idle % 1 else int(idle)})
    elif is_new:
        print(f"🟢 Service is Started on {service.url}/, PID {service.pid}!")
    else:
        print(f"🟢 Service is already running on {service.url}/.")


def _providers(service: RunningService) -> str:
    """What the service says of the execution providers; nothing while it starts."""
    from cupola.client.sdk.connection import Connection

    try:
        status = Connection(service.url, 5.0).get("/openai/status")
    except (ClientError, ValueError):
        return ""
    return str(status.get("autoRegistrationStatus") or "") if isinstance(status, dict) else ""


def _shown() -> dict[str, Any]:
    """The settings as Foundry Local's first generation prints them."""
    from cupola.client import models_folder
    from cupola.service.settings.sources import load

    settings = load().settings
    levels = {"debug": 1, "info": 2, "warning": 3, "error": 4}
    return {
        "defaultLogLevel": levels[settings.log_level],
        "serviceSettings": {
            "host": settings.host,
            "port": settings.port,
            "cacheDirectoryPath": str(models_folder.location(home.current())),
            "schema": "http",
            "pipeName": None,
            "defaultSecondsForModelTTL": round(settings.model_ttl),
            "initialConnectionTimeoutInSeconds": 6,
        },
    }


def _stop() -> bool:
    """Stop the service; False when none runs."""
    from cupola.client import daemon
    from cupola.client.running_service import find

    service = find(home.current())
    if service is not None:
        daemon.stop(service)
    return service is not None


def _log() -> Path:
    from cupola.client.daemon import latest_log

    return latest_log(home.current())
