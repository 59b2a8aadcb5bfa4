"""Requests for a model's work that end in the gateway: which are counted, and as what."""

from __future__ import annotations

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.core.counting import Counting, counted_below
from cupola.gateway.http.served import Finished, begin_serving
from cupola.scheduler.protocol.messages import Outcome


async def work(request: Request) -> Response:
    return Response()


def counted(
    status: int,
    *,
    method: str = "POST",
    path: str = "/v1/jobs/7",
    whole: bool = True,
    below: bool = False,
) -> list[Outcome]:
    """How a request is counted that ends so."""
    found: list[Outcome] = []
    counting = Counting([Route("/v1/jobs/{id}", work, methods=["POST"])], found.append)
    served = begin_serving(0.0)
    if below:
        counted_below()
    counting.tell(Finished("id", method, path, status, served, 1.0, whole=whole))
    return found


@pytest.mark.parametrize(
    ("status", "whole", "outcome"),
    [
        (200, True, Outcome.ANSWERED),
        (200, False, Outcome.ABORTED),  # the client left in the middle
        (400, True, Outcome.REFUSED),
        (400, False, Outcome.ABORTED),
        (499, True, Outcome.ABORTED),
        (499, False, Outcome.ABORTED),  # there was no answer
        (500, True, Outcome.FAILED),
        (503, False, Outcome.FAILED),
    ],
)
def test_the_answer_decides(status: int, whole: bool, outcome: Outcome) -> None:
    assert counted(status, whole=whole) == [outcome]


def test_what_the_scheduler_counts_is_not_counted_twice() -> None:
    assert counted(200, below=True) == []
    assert counted(503, whole=False, below=True) == []
    assert counted(200) == [Outcome.ANSWERED]  # the next request is another one


def test_only_work_for_a_model_is_counted() -> None:
    assert counted(200, path="/v1/models") == []
    assert counted(405, method="GET") == []
