"""Every route of a running gateway, fuzzed with its own document; the models' side is scripted.

Nothing here fails on the service's side, every status is one that is documented, bodies and headers
are as described, and what the document forbids is refused. ``CUPOLA_TEST_FUZZ`` has how many times
the usual cases are tried.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from schemathesis import Case, GenerationMode

from cupola.cache.install.messages import Installed, InstallProgress, encode
from cupola.cache.install.process import InstallProcess
from cupola.gateway.openapi.described import Section
from cupola.scheduler.protocol.messages import (
    Done,
    LoadModel,
    Outputs,
    Submit,
    UnloadModel,
    decode_work,
)
from cupola.scheduler.protocol.outputs import FinishReason, Output, Scores, Usage
from cupola.scheduler.protocol.tasks import Decide, Decode, Embed, Encode, Transcribe, Work
from tests.fuzzing import NEGATIVE, POSITIVE, Fuzzer
from tests.gateway.conftest import furnished
from tests.gateway.running_gateway import MODEL, MODEL_ID, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler

pytestmark = pytest.mark.slow

TIMES = int(os.environ.get("CUPOLA_TEST_FUZZ", "1"))
NEWLINE = b"\n"
VECTOR = b"\0\0\x80?" * 4
REMOVES = {"/api/delete"}  # asked about models that are not there, or there would be none
HEAVY = {"/tokenize": 2}  # cases, where making them is slow


def able(request: Any) -> Iterable[Any]:
    """Does whatever a worker can be asked to do."""
    match request:
        case Submit(request_id):
            match decode_work(request.work):
                case Work(answers=answers):
                    for index in range(answers):
                        usage = Usage(5, 3 * answers) if index == answers - 1 else None
                        output = Output(request_id, "One two", FinishReason.STOP, usage, index)
                        yield Outputs((output,))
                case Encode():
                    output = Output(request_id, "text", usage=Usage(2, 0), tokens=(1, 2),
                                  pieces=(b"te", b"\xff"))  # fmt: skip
                    yield Outputs((output,))
                case Decode(ids):
                    yield Outputs((Output(request_id, "text", usage=Usage(len(ids), 0)),))
                case Embed(texts):
                    last = len(texts) - 1
                    yield Outputs(
                        tuple(
                            Output(
                                request_id,
                                usage=Usage(9, 0) if index == last else None,
                                index=index,
                                embedding=VECTOR,
                            )
                            for index in range(len(texts))
                        )
                    )
                case Decide(questions=questions):
                    for index in reversed(range(len(questions))):
                        options = len(questions[index].options) or 2  # yes and no
                        scores = Scores((-1.0,) * options, 0.5)
                        usage = None if index else Usage(9, 0)
                        output = Output(request_id, index=index, scores=scores, usage=usage)
                        yield Outputs((output,))
                case Transcribe():
                    yield Outputs((Output(request_id, "text", usage=Usage(2, 1)),))
        case LoadModel(request_id) | UnloadModel(request_id):
            yield Done(request_id)


def spare(case: Case[Any], mode: GenerationMode) -> None:
    if case.path in REMOVES and isinstance(case.body, dict):
        for name in ("model", "name"):
            if case.body.get(name) in (MODEL, MODEL_ID):
                case.body[name] = "nowhere"


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzer]:
    home = furnished(tmp_path_factory.mktemp("home"))
    lines = [encode(InstallProgress("download", 1, 2)), encode(Installed(MODEL_ID, "/models"))]
    script = f"import sys; sys.stdout.buffer.write({b''.join(line + NEWLINE for line in lines)!r})"

    def pretend(job: object) -> InstallProcess:
        command = [sys.executable, "-c", script]
        pipe = subprocess.PIPE
        return InstallProcess(subprocess.Popen(command, stdin=pipe, stdout=pipe))

    with (
        pytest.MonkeyPatch.context() as patch,
        ScriptedScheduler() as scheduler,
        # Longer than any body here: schemathesis takes 413 for no refusal.
        RunningGateway(scheduler.endpoint, home, max_body_bytes=10_000_000) as gateway,
    ):
        # Nothing is downloaded: a process that says so takes the place.
        patch.setattr(InstallProcess, "start", pretend)
        scheduler.script = able
        with gateway.http() as http:
            body = {"model": MODEL, "input": "Hello!"}
            ids = [http.post("/v1/responses", json=body).json()["id"] for _ in range(20)]
        known = {
            "model": [MODEL, MODEL_ID],
            "name": [MODEL, MODEL_ID],
            "id": [MODEL, *ids],
            "after": ids,
            "previous_response_id": ids,
            "BaseUri": ["http://localhost:9/v1"],
        }
        with Fuzzer(gateway.url, known, spare) as running:
            yield running
            print(f"\n{sum(running.statuses.values())} cases: {dict(running.statuses)}")


@pytest.mark.parametrize("section", [each for each in Section if each is not Section.ABSENT])
def test_every_route(fuzzer: Fuzzer, section: Section) -> None:
    operations = [each for each in fuzzer.operations() if section in each.tags]
    assert operations
    for operation in operations:
        bare = not operation.body and not operation.query and not operation.path_parameters
        fuzzer.ask(operation, POSITIVE, 1 if bare else 6 * TIMES)
        if operation.body or operation.query:
            fuzzer.ask(operation, NEGATIVE, HEAVY.get(operation.path, 4) * TIMES)


def test_what_is_not_here(fuzzer: Fuzzer) -> None:
    operations = [each for each in fuzzer.operations() if Section.ABSENT in each.tags]
    assert operations
    for operation in operations:
        fuzzer.ask(operation, POSITIVE, TIMES)
