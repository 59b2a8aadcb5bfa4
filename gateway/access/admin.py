"""What changes the service or the models on its disk: who may do it, and from where.

An operator's endpoint is open to clients of this machine, as with Foundry Local, and to those with
an admin key. Where keys are demanded, only an admin key or the Unix socket will do.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from cupola.gateway.access.client import current_client, is_on_this_machine
from cupola.gateway.http.cors import Origins
from cupola.gateway.http.errors import ApiError
from cupola.gateway.http.headers import headers_of

_ACCESS = "access"  # attribute of the application's state


class AdminRules:
    """``demanded``: keys are. ``origins``: pages that may use the service."""

    def __init__(self, demanded: bool, origins: Origins) -> None:
        self._demanded = demanded
        self._origins = origins

    def check(self, scope: Scope) -> None:
        """Raises ApiError."""
        if not (current_client().admin or (not self._demanded and is_on_this_machine(scope))):
            if self._demanded:
                text = "This needs a key that was made with: cupola keys add NAME --admin"
            else:
                text = "Only a client on the same machine may do this, or one with an admin key"
            raise ApiError(403, "forbidden", text)
        if scope["method"] == "GET":
            self._check_page(headers_of(scope))

    def _check_page(self, headers: Headers) -> None:
        """A page of another site must not change anything by a link, a frame or an image.

        Foundry Local loads and unloads by GET. Browsers send no Origin with it.
        """
        site = headers.get("sec-fetch-site", "none")
        page = headers.get("origin") or headers.get("referer")
        foreign = site == "cross-site" or (site == "same-site" and not self._origins.local)
        if foreign or (page and not self._origins.allows(_origin(page), headers.get("host", ""))):
            text = "A link or a page of another site cannot do this"
            raise ApiError(403, "forbidden_origin", text)


def _origin(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return "null"
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else "null"


def note_rules(state: object, rules: AdminRules) -> None:
    setattr(state, _ACCESS, rules)


def check_admin(scope: Scope) -> None:
    """Raises ApiError where the client of ``scope`` is no operator."""
    rules: AdminRules = getattr(scope["app"].state, _ACCESS)
    rules.check(scope)
