"""A Unix socket beside the port. Only programs of the same user can connect to it."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from cupola.service.listener import BACKLOG, PortError

MODE = 0o600  # connecting needs the right to write


def listen_unix(path: Path) -> socket.socket:
    """A listening socket at ``path``. It replaces a socket that a killed service left there.

    Raises PortError.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise PortError("this system's Python has no Unix sockets; leave 'uds' empty")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        remove_dead(path)
        _bind(sock, path)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        reason = error.strerror or str(error)
        raise PortError(f"cannot listen on the Unix socket {path}: {reason}") from None
    return sock


def _bind(sock: socket.socket, path: Path) -> None:
    """Bind under a temporary name, so that ``path`` never has a socket with open permissions."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    sock.bind(str(new))
    try:
        new.chmod(MODE)
        os.link(new, path)  # unlike a rename, it fails if the path exists
    finally:
        new.unlink()


def remove_dead(path: Path) -> None:
    """Delete the socket at ``path`` if no process listens on it. Any other file stays."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(str(path))
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
    except FileNotFoundError:
        return
