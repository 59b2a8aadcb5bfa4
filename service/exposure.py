"""Whether others can reach the service, and the keys that they then need.

Keys come from the home's file, which the gateways read, and from two variables. The variables are
taken out of the environment, so no child has them.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress

from cupola.cache.home import Home
from cupola.cache.system.api_keys import (
    SHORTEST,
    ApiKey,
    KeyFile,
    KeyFileError,
    digest,
    new_key,
    write_private,
)
from cupola.cache.system.local_url import is_loopback
from cupola.service.settings.settings import Settings

VARIABLES = {"CUPOLA_API_KEY": False, "CUPOLA_ADMIN_KEY": True}  # whether it is an admin's


class ExposedError(ValueError):
    """The service would be open to others, or its keys cannot be used."""


def demands_keys(settings: Settings) -> bool:
    if settings.api_keys == "always":
        return True
    return settings.insecure == "no" and not is_loopback(settings.host)


def keys(settings: Settings, home: Home) -> list[ApiKey]:
    """Those of the variables. Raises ExposedError where keys are needed and there are none."""
    given = []
    for variable, admin in VARIABLES.items():
        key = os.environ.pop(variable, "").strip()
        if key and len(key) < SHORTEST:
            raise ExposedError(f"{variable} can be guessed: use {SHORTEST} characters or more")
        if key:
            given.append(ApiKey(variable, digest(key), admin))
    try:
        filed = KeyFile(home.api_keys).read()
    except KeyFileError as error:
        raise ExposedError(str(error)) from None
    if demands_keys(settings) and not given and not filed:
        raise ExposedError(
            f"clients need API keys on host {settings.host}, and there is none. Make one with "
            "'cupola keys add NAME'. To let everybody use the service who can reach it: --insecure"
        )
    return given


def local_key(settings: Settings, home: Home, url: str) -> list[ApiKey]:
    """A new admin key for the commands of this user, in a file that nobody else can read."""
    if not demands_keys(settings):
        return []
    key = new_key()
    write_private(home.local_key, json.dumps({"url": url, "key": key}).encode())
    return [ApiKey("commands of this user", digest(key), admin=True)]


def remove_local_key(home: Home) -> None:
    with suppress(OSError):  # where the home cannot be written, there is none
        home.local_key.unlink()


def check_certificate(settings: Settings) -> None:
    """Raises ExposedError where TLS is wanted and cannot be had."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if not certificate and not key:
        return
    if not certificate:
        raise ExposedError("tls_key needs tls_certificate as well")
    import ssl

    def no_password() -> str:
        raise ExposedError("the private key of tls_key has a password; remove it from the file")

    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key or None, no_password)
    except OSError as error:  # also ssl.SSLError
        raise ExposedError(
            f"tls_certificate and tls_key cannot be used: {error.strerror or error}"
        ) from None
