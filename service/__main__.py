"""``python -m cupola.service``: the service in the foreground, set up by environment and file.

With ``--json`` it tells that it is ready, or why it ends, in JSON.

Clients wait for its URL. So this file binds the port and writes the URL to ``daemon.json`` before
it imports the rest.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from cupola.cache.system import standard_streams
from cupola.service.output.told import Told
from cupola.service.settings.settings import SettingsError
from cupola.service.settings.sources import load


def main() -> int:
    standard_streams.use_utf8()
    told = Told("--json" in sys.argv[1:])
    try:
        settings = load().settings
    except SettingsError as error:
        told.failed(str(error))
        return 1
    # Imported after the settings, so that an error in the settings is reported at once.
    from cupola.cache.home import Home
    from cupola.service import daemon_file, exposure, home_lock
    from cupola.service.listener import PortError, listen
    from cupola.service.output.log_file import own_log

    home = Home(settings.home)
    try:
        exposure.check_certificate(settings)
        keys = exposure.keys(settings, home)
        lock = home_lock.take(home)  # held until this process ends
        found = [listen(settings.host, settings.port)]
        if settings.ollama_port:
            found.append(listen(settings.host, settings.ollama_port, "--ollama-port"))
        listeners = [sock for each in found for sock in each.sockets]
        if settings.uds:
            from cupola.service.unix_socket import listen_unix

            listeners.append(listen_unix(Path(settings.uds)))
    except (PortError, home_lock.HomeTakenError, exposure.ExposedError) as error:
        told.failed(str(error))
        return 1
    for problem in filter(None, (each.problem for each in found)):
        told.warn(problem)
    address = found[0].url(settings.tls_certificate)
    try:
        daemon_file.write(home.daemon_file, address, settings.tls_certificate)
        keys += exposure.local_key(settings, home, address)
    except OSError as error:
        reason = f"cannot write {home.daemon_file}: {error.strerror or error}"
        if own_log(home.logs) is not None:
            told.failed(f"{reason}. In the background nobody would find the service; it ends")
            return 1
        told.warn(
            f"{reason}. The service runs, but commands such as 'cupola service status' may not "
            f"find it; it is on {address}"
        )
    from cupola.service.composition import serve
    from cupola.service.output.log_writer import never_wait_for_readers
    from cupola.service.output.logs import LogOptions, configure
    from cupola.service.supervisor import GaveUpError

    never_wait_for_readers()
    configure(LogOptions(settings.log_level, settings.log_format), "supervisor")
    try:
        serve(settings, listeners, told, keys)
    except GaveUpError as error:
        logging.getLogger(__name__).critical("%s", error)
        if told.as_json:
            told.failed(str(error))
        return 1
    finally:
        if lock is not None:
            lock.release()
    return 0


if __name__ == "__main__":
    sys.exit(main())
