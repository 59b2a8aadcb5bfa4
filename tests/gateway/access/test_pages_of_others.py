"""What a page of another site can do to the service by a link, a frame, an image: nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.running_gateway import MODEL, RunningGateway, error_of, request, status_of
from tests.gateway.scripted_scheduler import ScriptedScheduler

pytestmark = pytest.mark.slow

CHANGING = [
    f"/openai/load/{MODEL}",
    f"/openai/unload/{MODEL}",
    "/openai/unloadall",
    "/openai/setgpudevice/0",
    f"/models/load/{MODEL}",
    f"/models/unload/{MODEL}",
]
FOREIGN = [
    ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"),
    ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"),
    ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"),
    ("Origin: https://evil.example",),
    ("Origin: null",),
    ("Referer: https://evil.example/page",),
    ("Referer: http://[",),
]
OWN = [
    (),  # Foundry Local's clients
    ("Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"),  # typed in by a person
    ("Sec-Fetch-Site: same-origin",),
    ("Sec-Fetch-Site: same-site", "Origin: http://localhost:3000"),
    ("Referer: http://localhost:3000/page",),
]


@pytest.mark.parametrize("path", CHANGING)
@pytest.mark.parametrize("headers", FOREIGN, ids=" ".join)
def test_a_page_of_another_site_changes_nothing(
    shared_gateway: RunningGateway,
    shared_scheduler: ScriptedScheduler,
    path: str,
    headers: tuple[str, ...],
) -> None:
    answer = shared_gateway.send(request("GET", path, b"", *headers))
    assert (status_of(answer), error_of(answer)["code"]) == (403, "forbidden_origin")
    assert shared_scheduler.seen.empty()


@pytest.mark.parametrize("headers", OWN, ids=" ".join)
def test_clients_and_people_load_as_ever(gateway: RunningGateway, headers: tuple[str, ...]) -> None:
    assert status_of(gateway.send(request("GET", f"/openai/load/{MODEL}", b"", *headers))) == 200


def test_a_site_beside_a_public_service_changes_nothing(
    scheduler: ScriptedScheduler, home: Path
) -> None:
    with RunningGateway(scheduler.endpoint, home, host="0.0.0.0") as gateway:
        sent = request("GET", "/openai/unloadall", b"", "Sec-Fetch-Site: same-site")
        assert status_of(gateway.send(sent)) == 403


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 200), ("GET", "/docs", 200), ("GET", "/nothing", 404), ("PUT", "/health", 405),
     ("POST", "/v1/chat/completions", 400)],
)  # fmt: skip
def test_no_answer_can_be_framed_or_guessed(
    shared_gateway: RunningGateway, method: str, path: str, status: int
) -> None:
    answer = shared_gateway.send(request(method, path))
    assert status_of(answer) == status
    for line in (
        b"content-security-policy: frame-ancestors 'none'\r\n",
        b"x-frame-options: DENY\r\n",
        b"x-content-type-options: nosniff\r\n",
        b"referrer-policy: no-referrer\r\n",
    ):
        assert line in answer


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("10.1.2.3:80", 200), ("[fe80::1]", 200), ("evil.example", 403),
     ("api.example.org:443", 200), ("API.EXAMPLE.ORG.", 200), ("example.org", 403),
     ("api.example.org.evil.example", 403), ("127.0.0.1.nip.io", 403)],
)  # fmt: skip
def test_a_public_service_answers_to_its_names_only(
    scheduler: ScriptedScheduler, home: Path, host: str, status: int
) -> None:
    with RunningGateway(
        scheduler.endpoint, home, host="0.0.0.0", hosts=("*.example.org",)
    ) as gateway:
        origin = f"Origin: http://{host}"  # as a page has it whose name leads here now
        assert status_of(gateway.send(request("GET", "/health", b"", origin, host=host))) == status
