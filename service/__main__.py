"""``python -m cupola.service``: the service in the foreground, set up by environment and file.

Clients wait for its URL. So this file binds the port and writes the URL to ``daemon.json`` before
it imports the rest.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from pathlib import Path

from cupola.service.setting_sources import load
from cupola.service.settings import SettingsError


def main() -> int:
    try:
        settings = load().settings
    except SettingsError as error:
        print(f"cupola: {error}", file=sys.stderr)
        return 1
    # Imported after the settings, so that an error in the settings is reported at once.
    from cupola.cache.home import Home
    from cupola.service import daemon_file, home_lock
    from cupola.service.listener import PortError, listen, listen_ipv6_localhost, url
    from cupola.service.log_file import own_log

    home = Home(settings.home)
    try:
        lock = home_lock.take(home)  # held until this process ends
        listener = listen(settings.host, settings.port)
        more = [listen_ipv6_localhost(settings.host, listener)]
        if settings.ollama_port:
            second = listen(settings.host, settings.ollama_port, "--ollama-port")
            more += [second, listen_ipv6_localhost(settings.host, second)]
        if settings.uds:
            from cupola.service.unix_socket import listen_unix

            more.append(listen_unix(Path(settings.uds)))
    except (PortError, home_lock.HomeTakenError) as error:
        print(f"cupola: {error}", file=sys.stderr)
        return 1
    try:
        daemon_file.write(home.daemon_file, url(listener))
    except OSError as error:
        reason = f"cannot write {home.daemon_file}: {error.strerror or error}"
        if own_log(home.logs) is not None:
            _warn(f"{reason}. In the background nobody would find the service; it ends")
            return 1
        _warn(
            f"{reason}. The service runs, but commands such as 'cupola service status' may not "
            f"find it; it is on {url(listener)}"
        )
    from cupola.service.composition import serve
    from cupola.service.logs import configure
    from cupola.service.supervisor import GaveUpError

    configure(settings.log_level, "supervisor")
    try:
        serve(settings, [listener, *filter(None, more)])
    except GaveUpError as error:
        logging.getLogger(__name__).critical("%s", error)
        return 1
    finally:
        if lock is not None:
            lock.release()
    return 0


def _warn(text: str) -> None:
    with suppress(OSError):  # standard error may be on the same disk
        print(f"cupola: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
