"""Compressed bodies, to a running gateway."""

from __future__ import annotations

import gzip
import importlib
import json
import sys
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest

from cupola.gateway.http.content_coding import PIECE, CorruptBody, decoded, decoders
from tests.gateway.running_gateway import HELLO, RunningGateway, error_of, request, status_of

zstd = importlib.import_module(
    "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
)

CHAT = "/v1/chat/completions"
BODY = json.dumps(HELLO).encode()


def bare(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", bare),
    "zstd": ("zstd", zstd.compress),
    "br": ("br", brotli.compress),
    "identity": ("identity", bytes),
    "twice": ("gzip, zstd", lambda data: zstd.compress(gzip.compress(data))),
}
each_coding = pytest.mark.parametrize("name", CODINGS)
compressing = pytest.mark.parametrize("name", [name for name in CODINGS if name != "identity"])


def send(gateway: RunningGateway, coding: str, body: bytes, path: str = CHAT) -> bytes:
    return gateway.send(request("POST", path, body, f"Content-Encoding: {coding}"))


@each_coding
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/responses", "/api/chat"])
def test_every_coding_at_every_door(shared_gateway: RunningGateway, name: str, path: str) -> None:
    coding, pack = CODINGS[name]
    fields = HELLO | {"prompt": "Hello", "input": "Hello"}
    if path == "/v1/responses":
        del fields["messages"], fields["prompt"]
    answer = send(shared_gateway, coding, pack(json.dumps(fields).encode()), path)
    assert status_of(answer) == 200


@compressing
def test_bomb(shared_gateway: RunningGateway, name: str) -> None:
    coding, pack = CODINGS[name]
    packed = pack(b" " * 50_000_000)
    answer = send(shared_gateway, coding, packed)
    assert (status_of(answer), error_of(answer)["code"]) == (413, "request_too_large")


@pytest.mark.slow
@compressing
def test_output_comes_in_small_pieces(name: str) -> None:
    coding, pack = CODINGS[name]
    chain = decoders(coding)
    sizes = [len(piece) for piece in decoded(chain, pack(b"a" * 20_000_000))]
    assert sum(sizes) == 20_000_000
    assert max(sizes) <= 4 * PIECE  # brotli goes a little beyond its limit


@compressing
@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_input_in_pieces(name: str, cut: int) -> None:
    coding, pack = CODINGS[name]
    data = bytes(range(256)) * 3000
    packed, chain = pack(data), decoders(coding)
    out = b""
    for start in range(0, len(packed), cut):
        out += b"".join(decoded(chain, packed[start : start + cut]))
    for decoder in chain:
        decoder.end()
    assert out == data


@compressing
def test_cut_off(shared_gateway: RunningGateway, name: str) -> None:
    coding, pack = CODINGS[name]
    answer = send(shared_gateway, coding, pack(BODY)[:-3])
    assert (status_of(answer), error_of(answer)["code"]) == (400, "invalid_encoding")


@compressing
def test_not_what_it_says(shared_gateway: RunningGateway, name: str) -> None:
    answer = send(shared_gateway, CODINGS[name][0], BODY)
    assert (status_of(answer), error_of(answer)["code"]) == (400, "invalid_encoding")


@pytest.mark.parametrize("join", [gzip.compress, zstd.compress])
def test_several_members(join: Any) -> None:
    coding = "gzip" if join is gzip.compress else "zstd"
    chain = decoders(coding)
    assert b"".join(decoded(chain, join(b"ab") + join(b"cd"))) == b"abcd"


def test_large_window_is_refused() -> None:
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.checksum_flag: 1}
    packer = zstd.ZstdCompressor(options=options)
    packed = packer.compress(b"a" * 1000) + packer.flush()
    with pytest.raises(CorruptBody, match="memory"):
        list(decoded(decoders("zstd"), packed))


@pytest.mark.parametrize("coding", ["compress", "snappy", "a" * 100, "gzip, gzip, gzip"])
def test_others_are_refused_by_name(shared_gateway: RunningGateway, coding: str) -> None:
    answer = send(shared_gateway, coding, BODY)
    error = error_of(answer)
    assert (status_of(answer), error["code"]) == (415, "unsupported_encoding")
    if len(coding) < 20 and "," not in coding:
        assert f"'{coding}'" in error["message"] and "zstd" in error["message"]


def test_missing_package_is_named(
    shared_gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "brotli", None)
    answer = send(shared_gateway, "br", brotli.compress(BODY))
    assert status_of(answer) == 415 and "'brotli'" in error_of(answer)["message"]


def test_byte_order_mark(shared_gateway: RunningGateway) -> None:
    answer = shared_gateway.send(request("POST", CHAT, b"\xef\xbb\xbf" + BODY))
    assert status_of(answer) == 200
