"""Bodies that come compressed, as ``Content-Encoding`` says (RFC 9110). Pure.

Every decoder gives its output in small pieces, so that whoever counts them can stop.
"""

from __future__ import annotations

import importlib
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

PIECE = 64 * 1024  # bytes of output at once
MAX_CODINGS = 2  # one over the other
_HEAD = 2  # bytes that tell how deflate is wrapped
_WINDOW_LOG = 23  # of zstd: 8 MiB is the most that HTTP allows (RFC 9659)


class CorruptBody(Exception):
    """The body is not what its header says."""


class UnsupportedCoding(Exception):
    """Holds a text for the client."""


class Decoder(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]:
        """What ``data`` decodes to. Raises CorruptBody."""

    def end(self) -> None:
        """Raises CorruptBody where more should have come."""


class _Deflate:
    """gzip, or deflate: in zlib's wrapping, or bare as some clients send it."""

    def __init__(self, bits: int | None = None) -> None:
        self._bits = bits
        self._open: Any = None
        self._begun = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        data = self._begun + data
        self._begun = b""
        while True:
            if self._open is None:
                if len(data) < _HEAD:
                    self._begun = data
                    return
                bits = _wrapping(data) if self._bits is None else self._bits
                self._open = zlib.decompressobj(bits)
            try:
                piece = self._open.decompress(data, PIECE)
            except zlib.error as error:
                raise CorruptBody(str(error)) from None
            if piece:
                yield piece
            if self._open.eof:  # gzip may go on with a further member
                data, self._open = self._open.unused_data, None
            else:
                data = self._open.unconsumed_tail
                if not data and len(piece) < PIECE:
                    return

    def end(self) -> None:
        if self._open is not None or self._begun:
            raise CorruptBody("it is cut off")


def _wrapping(data: bytes) -> int:
    zlibs = data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if zlibs else -zlib.MAX_WBITS


class _Zstd:
    def __init__(self) -> None:
        self._zstd: Any
        if sys.version_info >= (3, 14):
            self._zstd = importlib.import_module("compression.zstd")
        else:
            from backports import zstd

            self._zstd = zstd
        self._open: Any = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        window = {self._zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        while True:
            if self._open is None:
                if not data:
                    return
                self._open = self._zstd.ZstdDecompressor(options=window)
            try:
                piece = self._open.decompress(data, PIECE)
            except self._zstd.ZstdError as error:
                raise CorruptBody(str(error)) from None
            data = b""
            if piece:
                yield piece
            if self._open.eof:  # a further frame may follow
                data, self._open = self._open.unused_data, None
            elif self._open.needs_input:
                return

    def end(self) -> None:
        if self._open is not None:
            raise CorruptBody("it is cut off")


class _Brotli:
    def __init__(self) -> None:
        brotli = importlib.import_module("brotli")  # not in every installation
        self._error: type[Exception] = brotli.error
        self._open: Any = brotli.Decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            try:
                piece = self._open.process(data, output_buffer_limit=PIECE)
            except self._error as error:
                raise CorruptBody(str(error)) from None
            data = b""
            if piece:
                yield piece
            elif self._open.can_accept_more_data() or self._open.is_finished():
                return

    def end(self) -> None:
        if not self._open.is_finished():
            raise CorruptBody("it is cut off")


_DECODERS: Mapping[str, Callable[[], Decoder]] = {
    "gzip": lambda: _Deflate(16 + zlib.MAX_WBITS),
    "x-gzip": lambda: _Deflate(16 + zlib.MAX_WBITS),
    "deflate": _Deflate,
    "zstd": _Zstd,
    "br": _Brotli,
}
# The packages of those that are not in every installation.
_PACKAGES: Mapping[str, str] = {"zstd": "backports.zstd", "br": "brotli"}
SUPPORTED = "gzip, deflate, zstd, br"


def decoders(header: str) -> Sequence[Decoder]:
    """Those for a ``Content-Encoding``, in the order in which they are used.

    Raises UnsupportedCoding.
    """
    names = [name.strip().lower() for name in header.split(",")]
    names = [name for name in names if name not in ("", "identity")]
    if len(names) > MAX_CODINGS:
        raise UnsupportedCoding(f"The body is encoded more than {MAX_CODINGS} times")
    return [_decoder(name) for name in reversed(names)]


def _decoder(name: str) -> Decoder:
    if name not in _DECODERS:
        shown = name if name.isprintable() and len(name) <= 40 else "..."
        text = f"The Content-Encoding '{shown}' is not supported: use one of {SUPPORTED}, or none"
        raise UnsupportedCoding(text)
    try:
        return _DECODERS[name]()
    except ImportError:
        text = (
            f"The Content-Encoding '{name}' needs the Python package '{_PACKAGES[name]}' in the "
            "service's environment: install it there, or send the body as gzip or as it is"
        )
        raise UnsupportedCoding(text) from None


def decoded(chain: Sequence[Decoder], data: bytes) -> Iterator[bytes]:
    """``data`` through all decoders, in pieces."""
    if not chain:
        yield data
        return
    for piece in chain[0].feed(data):
        yield from decoded(chain[1:], piece)
