"""A server under load: where it may be, which models it lists, and what its failures mean."""

from __future__ import annotations

import ipaddress
import re
from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2

from cupola.loadtests.load.reading import error_text

CONNECT_SECONDS = 10
READ_SECONDS = 300  # of silence
TIMEOUT = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
_EMBEDDER = re.compile(r"embed|minilm|bge-|e5-|gte-", re.IGNORECASE)
_SPEECH = re.compile(r"whisper|moonshine|-tts|-asr", re.IGNORECASE)


class Unreachable(Exception):
    """No connection: nothing was asked."""


class Refused(Exception):
    """An answer with a status that is no success."""


@dataclass(frozen=True)
class Models:
    """Empty: the server has none of the kind."""

    chat: str
    embedding: str


def choose_models(listed: Sequence[str], chat: str = "", embedding: str = "") -> Models:
    """The models to ask for: those that are wanted, else the first ones that the server lists."""
    embedders = [name for name in listed if _EMBEDDER.search(name)]
    chats = [name for name in listed if name not in embedders and not _SPEECH.search(name)]
    return Models(chat or next(iter(chats), ""), embedding or next(iter(embedders), ""))


def model_ids(url: str, response: httpx2.Response) -> list[str]:
    """The ids of an answer to ``GET /v1/models``. Raises Unreachable."""
    try:
        raise_for(response)
        return [str(model["id"]) for model in response.json()["data"]]
    except (Refused, ValueError, KeyError, TypeError) as error:
        raise Unreachable(
            f"{url} does not list its models: {why(url, error)}. Give --model, and see "
            "that the address is one of an OpenAI-compatible server."
        ) from None


def raise_for(response: httpx2.Response) -> None:
    """Raises Refused. The body of a stream must have been read before."""
    if response.is_success:
        return
    try:
        said = response.json()
        text = error_text(said.get("error") or said)
    except (ValueError, AttributeError, httpx2.StreamError):
        text = response.reason_phrase
    raise Refused(f"status {response.status_code}: {text}")


def never_connected(error: Exception) -> bool:
    return isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)


def why(url: str, error: Exception) -> str:
    """What went wrong with a request, for people."""
    match error:
        case Refused():
            return str(error)
        case httpx2.ConnectError() | httpx2.ConnectTimeout():
            return f"{url} cannot be reached. Start the server, or give another address."
        case httpx2.TimeoutException():
            return f"the server sent nothing for {READ_SECONDS} s"
        case httpx2.TransportError():
            return f"the connection broke ({type(error).__name__})"
    return f"the answer cannot be read ({type(error).__name__})"


def base_address(url: str) -> str:
    """People copy it as ``127.0.0.1:8080``, or with the ``/v1`` that SDKs want."""
    address = url if "://" in url else f"http://{url}"
    return address.rstrip("/").removesuffix("/v1").rstrip("/")


def loopback(url: str) -> str:
    """The base address, if it is one of this machine: an option's type."""
    address = base_address(url)
    parts = urlsplit(address)
    host = parts.hostname or ""
    try:
        here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = False
    try:
        _ = parts.port
    except ValueError as error:
        raise ArgumentTypeError(f"{url}: {error}") from None
    if not here or parts.scheme not in ("http", "https"):
        raise ArgumentTypeError(f"{url} is not on this machine: load goes to loopback addresses")
    return address
