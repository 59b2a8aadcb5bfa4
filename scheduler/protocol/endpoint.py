"""Where the scheduler's socket is, and what protects it.

On one machine it is a Unix socket in a folder that only its owner may enter. Where ``ipc://`` is
missing (Windows) it is a TCP port on the loopback interface, protected by CURVE: only a process
that got the server's key and the clients' pair of keys when it was started can connect.
"""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from cupola.cache.system.locks import file_lock, try_acquire
from cupola.scheduler.protocol.known_keys import admit_only

if TYPE_CHECKING:
    from filelock import FileLock

MAX_FRAME_BYTES = 64 * 1024 * 1024
_PREFIX, _SOCKET, _LOCK = "cupola-", "scheduler", "owner.lock"  # of the folder and its files
_held: dict[Path, FileLock] = {}  # by folder


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``address`` is a ZeroMQ address. The keys are empty where there is no CURVE.

    ``client_keys``: the pair of those who may connect, public and secret.
    """

    address: str
    public_key: bytes = b""
    secret_key: bytes = b""
    client_keys: tuple[bytes, bytes] = (b"", b"")

    def serve(self, peer: zmq.Socket[bytes]) -> None:
        """Bind ``peer`` here."""
        self._guard(peer)
        if self.secret_key:
            peer.curve_server = True
            peer.curve_secretkey = self.secret_key
            peer.curve_publickey = self.public_key
            admit_only(peer, [self.client_keys[0]])
        peer.bind(self.address)

    def join(self, peer: zmq.Socket[bytes]) -> None:
        """Connect ``peer`` to the scheduler."""
        self._guard(peer)
        if self.public_key:
            peer.curve_serverkey = self.public_key
            peer.curve_publickey, peer.curve_secretkey = self.client_keys
        peer.connect(self.address)

    def without_secret(self) -> Endpoint:
        """The endpoint as a client of the socket gets it."""
        return Endpoint(self.address, self.public_key, client_keys=self.client_keys)

    @staticmethod
    def _guard(peer: zmq.Socket[bytes]) -> None:
        peer.linger = 0  # frames that are not sent yet do not delay the end of the process
        peer.maxmsgsize = MAX_FRAME_BYTES
        peer.sndhwm = peer.rcvhwm = 100_000


def local_endpoint() -> Endpoint:
    """A fresh private endpoint on this machine. ``remove`` deletes what it needs on the disk.

    Raises OSError.
    """
    if zmq.has("ipc"):
        return Endpoint(f"ipc://{_locked_folder() / _SOCKET}")
    return tcp_endpoint()


def tcp_endpoint() -> Endpoint:
    """A fresh port on loopback, with keys."""
    public, secret = zmq.curve_keypair()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Endpoint(f"tcp://127.0.0.1:{port}", public, secret, zmq.curve_keypair())


def remove(endpoint: Endpoint) -> None:
    """Delete a local endpoint's socket and folder."""
    if endpoint.address.startswith("ipc://"):
        folder = Path(endpoint.address.removeprefix("ipc://")).parent
        _delete(folder)
        if lock := _held.pop(folder, None):
            lock.release()


def remove_abandoned() -> None:
    """Delete the folders of this user's services that were killed: nobody holds their locks."""
    if not zmq.has("ipc"):
        return
    for folder in Path(_temporary()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            about = folder.lstat()
            if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and _is_dead(folder):
                _delete(folder)


def _locked_folder() -> Path:
    """A new folder whose lock this process holds to its end."""
    made = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=_temporary()))  # mode 0700
    lock = file_lock(made / _LOCK)
    lock.acquire()
    # It gets the name that ``remove_abandoned`` looks for only now that it is locked.
    folder = made.rename(made.with_name(made.name.removeprefix(".")))
    _held[folder] = lock
    return folder


def _temporary() -> str:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:  # it looks for a disk that is not full, which a socket does not need
        return os.environ.get("TMPDIR") or "/tmp"


def _is_dead(folder: Path) -> bool:
    if (folder / _LOCK).exists():
        lock = file_lock(folder / _LOCK)
        if not try_acquire(lock):
            return False
        lock.release()
        return True
    try:  # an earlier version made no lock
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(str(folder / _SOCKET))
    except ConnectionRefusedError:
        return True
    return False


def _delete(folder: Path) -> None:
    """Only what is known to be there: with anything else the folder stays."""
    for name in (_SOCKET, _LOCK):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
