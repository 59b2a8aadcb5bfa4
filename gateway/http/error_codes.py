"""Every code that an error can have, its status, and what it means. Pure data.

``errors.TABLE`` has those of failures below the gateway, ``OWN`` those of the gateway itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cupola.gateway.http.errors import TABLE


class Own(NamedTuple):
    status: int
    meaning: str


OWN: Mapping[str, Own] = {
    "invalid_json": Own(400, "the body is not JSON"),
    "invalid_form": Own(400, "the body is no form with files"),
    "invalid_encoding": Own(400, "the body is not compressed as its Content-Encoding says"),
    "invalid_type": Own(400, "the body or a parameter has the wrong type"),
    "invalid_value": Own(400, "a parameter has a value that is not allowed"),
    "missing_required_parameter": Own(400, "a parameter is missing"),
    "unknown_parameter": Own(400, "a parameter is misspelled"),
    "unsupported_parameter": Own(
        400, "a parameter asks for something that this service does not do"
    ),
    "model_not_cached": Own(400, "the model must be downloaded first"),
    "too_many_workers": Own(400, "no more workers can be added"),
    "too_many_models": Own(400, "no more models can be registered"),
    "invalid_host": Own(400, "the Host header is missing or malformed"),
    "invalid_api_key": Own(401, "a key is needed, or the key is not known"),
    "forbidden": Own(403, "only a client on the same machine or one with an admin key may do this"),
    "forbidden_host": Own(403, "the service does not have this name, or the URL is not allowed"),
    "forbidden_origin": Own(403, "the request comes from a web page of another site"),
    "unknown_url": Own(404, "there is no such address"),
    "response_not_found": Own(404, "no such response is stored"),
    "previous_response_not_found": Own(404, "the response to continue is not stored"),
    "item_not_found": Own(404, "the list has no such item"),
    "method_not_allowed": Own(405, "the address has no such method"),
    "worker_not_found": Own(404, "there is no such worker"),
    "worker_needed": Own(409, "no other worker runs the same provider"),
    "model_exists": Own(409, "the service already has a model of this name"),
    "model_in_use": Own(409, "the model's files are in use"),
    "request_too_large": Own(
        413, "the body is longer than the setting max_body_bytes, or holds too many values"
    ),
    "unsupported_encoding": Own(415, "the body is compressed in a way that is not supported"),
    "rate_limit_exceeded": Own(429, "the key has sent more requests than it may"),
    "unsupported_media_type": Own(415, "the body is of another type than the endpoint reads"),
    "client_closed_request": Own(499, "the client went away"),
    "download_failed": Own(500, "the model could not be downloaded"),
    "unsupported_endpoint": Own(501, "OpenAI, Anthropic or Ollama has it, this service does not"),
    "provider_unreachable": Own(502, "the server of a registered model does not answer"),
    "proxy_loop": Own(508, "registered servers pass the request around in a circle"),
    "store_unavailable": Own(503, "the stored responses cannot be read"),
}

STATUS: Mapping[str, int] = {
    **{code: own.status for code, own in OWN.items()},
    **{shape.code: shape.status for shape in TABLE.values()},
}

# Codes that endpoints have in common.
EVERYWHERE = (
    "invalid_api_key", "rate_limit_exceeded", "invalid_host", "forbidden_host", "forbidden_origin",
)  # fmt: skip
BODY = (
    "invalid_json", "invalid_type", "invalid_value", "missing_required_parameter",
    "unknown_parameter", "unsupported_parameter", "request_too_large",
    "invalid_encoding", "unsupported_encoding",
)  # fmt: skip
QUERY = ("invalid_value", "unknown_parameter", "unsupported_parameter")
MODEL = ("model_not_found",)
WORK = tuple(shape.code for shape in TABLE.values())
