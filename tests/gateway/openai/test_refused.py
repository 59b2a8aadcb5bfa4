"""Endpoints that are not there say what is."""

from __future__ import annotations

import openai
import pytest

from cupola.gateway.openai.refused import REFUSED
from tests.gateway.running_gateway import RunningGateway

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", [name for name, _, _ in REFUSED])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_openai_shaped(gateway: RunningGateway, name: str, method: str) -> None:
    with gateway.http() as http:
        for path in (f"/v1/{name}", f"/v1/{name}/some/thing"):
            answer = http.request(method, path)
            assert answer.status_code == 501
            assert answer.headers["x-should-retry"] == "false"
            assert answer.headers["x-request-id"]
            error = answer.json()["error"]
            assert set(error) == {"message", "type", "param", "code"}
            assert error["code"] == "unsupported_endpoint" and "Instead:" in error["message"]


def test_official_client(gateway: RunningGateway) -> None:
    with gateway.openai() as client:
        with pytest.raises(openai.InternalServerError, match=r"no such endpoint.*images"):
            client.images.generate(prompt="a cupola")
        with pytest.raises(openai.InternalServerError, match="moderations"):
            client.moderations.create(input="x")
