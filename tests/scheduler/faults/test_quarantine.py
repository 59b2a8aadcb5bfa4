"""How often is too often, for how long, and that neither list grows without bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.faults import model_quarantine, request_quarantine
from cupola.scheduler.faults.model_quarantine import LONGEST_PAUSE, MAX_FAILURES, ModelQuarantine
from cupola.scheduler.faults.request_quarantine import (
    MAX_DEATHS,
    QUARANTINE_SECONDS,
    RequestQuarantine,
    digest,
)
from cupola.scheduler.protocol.messages import Submit, encode_work
from cupola.scheduler.protocol.tasks import Chat, LocalModel, SamplingParams, Text, Work

MODEL = LocalModel("m:1", "/m", ExecutionProvider.CPU)
WHY = "the model 'm:1' could not be loaded: its file is cut off"


def submit(text: str = "hi", model: LocalModel = MODEL, request_id: str = "r") -> Submit:
    return Submit(request_id, model, encode_work(Work(Text(text))))


# -- models ----------------------------------------------------------------------------------------


def failed(times: int, *, ended_worker: bool = False) -> ModelQuarantine:
    """Failures at the times 0, 1000, 2000, ..."""
    models = ModelQuarantine()
    for number in range(times):
        models.failed(MODEL.id, WHY, 1000.0 * number, ended_worker=ended_worker)
    return models


@pytest.mark.parametrize(
    ("failures", "pause"),
    [(0, 0), (1, 0), (2, 0), (3, 30), (4, 60), (5, 120), (7, 480), (8, 600), (9, 600), (5000, 600)],
)
def test_each_failure_doubles_the_pause_up_to_a_bound(failures: int, pause: int) -> None:
    models, last = failed(failures), 1000.0 * (failures - 1)
    assert (models.refusal(MODEL.id, last) is not None) == (pause > 0)
    assert models.refusal(MODEL.id, last + pause) is None
    if pause:
        assert models.refusal(MODEL.id, last + pause - 0.1) is not None


def test_the_refusal_says_why_and_until_when_and_what_to_do() -> None:
    text = failed(MAX_FAILURES).refusal(MODEL.id, 2002.0)
    assert text is not None
    for part in (WHY, "3 times", "28 s", "downloading it again"):
        assert part in text
    assert failed(MAX_FAILURES).refused(2002.0) == {MODEL.id: text}
    assert failed(MAX_FAILURES).refused(2002.0 + LONGEST_PAUSE) == {}


@pytest.mark.parametrize("failures", [1, 3, 9])
def test_a_model_that_is_loaded_begins_anew(failures: int) -> None:
    models = failed(failures, ended_worker=True)
    models.forget([MODEL.id, "unknown"])
    assert not models.is_suspect(MODEL.id)
    models.failed(MODEL.id, WHY, 9000.0, ended_worker=False)
    assert models.refusal(MODEL.id, 9000.0) is None


def test_only_a_load_that_ended_its_worker_makes_a_suspect() -> None:
    assert failed(1, ended_worker=True).is_suspect(MODEL.id)
    assert not failed(1, ended_worker=False).is_suspect(MODEL.id)
    assert not failed(0).is_suspect(MODEL.id)


def test_the_model_that_failed_first_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_quarantine, "MAX_MODELS", 2)
    models = ModelQuarantine()
    for name in ("a", "b", "a", "c"):
        models.failed(name, WHY, 0.0, ended_worker=True)
    assert [name for name in "abc" if models.is_suspect(name)] == ["a", "c"]


# -- requests --------------------------------------------------------------------------------------


def test_a_request_is_known_by_its_content_and_its_model_alone() -> None:
    assert digest(submit()) == digest(submit(request_id="another"))
    other = LocalModel("o:1", "/o", ExecutionProvider.CPU)
    contents = [
        submit(),
        submit("hello"),
        submit(model=other),
        Submit("r", MODEL, encode_work(Work(Text("hi"), SamplingParams(temperature=0.5)))),
        Submit("r", MODEL, encode_work(Work(Chat(({"role": "user", "content": "hi"},))))),
    ]
    assert len({digest(content) for content in contents}) == len(contents)


@pytest.mark.parametrize(
    ("deaths", "now", "refused"),
    [
        ([], 0.0, False),
        ([0.0], 0.0, False),
        ([0.0] * MAX_DEATHS, 0.0, True),
        ([0.0, 500.0], 500.0 + QUARANTINE_SECONDS - 1, True),
        ([0.0, 500.0], 500.0 + QUARANTINE_SECONDS, False),
        ([0.0, QUARANTINE_SECONDS], QUARANTINE_SECONDS, False),  # the first is long past
    ],
)
def test_a_request_is_refused_after_some_deaths_for_a_while(
    deaths: list[float], now: float, refused: bool
) -> None:
    requests = RequestQuarantine()
    for at in deaths:
        requests.ended_worker(submit(), at)
    assert (requests.refusal(submit(request_id="again"), now) is not None) == refused
    assert requests.refusal(submit("innocent"), now) is None


def test_the_refusal_of_a_request_says_what_it_did_and_what_to_do() -> None:
    requests = RequestQuarantine()
    requests.ended_worker(submit(), 0.0)
    requests.ended_worker(submit(), 10.0)
    text = requests.refusal(submit(), 15.0)
    assert text is not None
    for part in ("2 workers", "595 s", "change it", "report it"):
        assert part in text


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 2000)), max_size=60))
def test_what_is_remembered_is_bounded(deaths: list[tuple[int, float]]) -> None:
    requests, now = RequestQuarantine(), 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request_quarantine, "MAX_REQUESTS", 4)
        for number, pause in deaths:
            now += pause
            requests.ended_worker(submit(str(number)), now)
            assert 1 <= len(requests) <= 4
            requests.refusal(submit(str(number)), now)
