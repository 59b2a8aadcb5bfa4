"""``cupola model calibrate``: makes a model's decisions as certain as they are right."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cupola.client import home
from cupola.client.commands.common.options import CachedName
from cupola.client.errors import ClientError
from cupola.client.terminal.output import Form, Output, print_json

if TYPE_CHECKING:
    from cupola.client.commands.decisions.calibration import Labelled
    from cupola.client.sdk.connection import Connection

FEWEST = 20  # questions


def calibrate(
    name: CachedName,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.jsonl",
            help='Lines of JSON with "input", "question" (as in POST /v1/decisions) and "answer".',
        ),
    ],
    output: Output = Form.TEXT,
) -> None:
    """Fit how certain a model's decisions are to questions with known answers.

    The result is kept beside the model, and used from then on.

    Example: cupola model calibrate smollm2-135m labelled.jsonl
    """
    from msgspec import to_builtins

    from cupola.cache.decision_calibration import (
        PLOT_FILE,
        DecisionCalibration,
        write_calibration,
    )
    from cupola.cache.store import ModelCache
    from cupola.client.commands.common.connection import connected
    from cupola.client.commands.decisions.calibration import expected_error, fit
    from cupola.client.commands.decisions.in_order import AT_ONCE, in_order
    from cupola.client.commands.decisions.reliability_plot import plot

    folder = home.current()
    cached = ModelCache(folder).find(name)
    lines = _lines(file)
    connection = connected(folder, start=True)

    def asked(numbered: tuple[int, dict[str, Any]]) -> Labelled:
        number, line = numbered
        return _asked(connection, cached.variant.id, line, f"{file}, question {number}")

    labelled = []
    for _, answer in in_order(asked, enumerate(lines, 1), AT_ONCE):
        labelled.append(answer)
        if sys.stderr.isatty():
            counted = f"\r{len(labelled)} of {len(lines)} questions"
            print(counted, end="", file=sys.stderr, flush=True)
    found = fit(labelled)
    calibration = DecisionCalibration(
        found.temperature,
        len(labelled),
        found.accuracy,
        expected_error(found.before),
        expected_error(found.after),
    )
    try:
        write_calibration(cached.path, calibration)
        (cached.path / PLOT_FILE).write_text(plot(found.before, found.after), "utf-8")
    except OSError as error:
        raise ClientError(f"{cached.path} cannot be written: {error.strerror or error}") from None
    if output is Form.JSON:
        print_json({"plot": str(cached.path / PLOT_FILE), **to_builtins(calibration)})
        return
    print(f"{calibration.questions} questions, {calibration.accuracy:.1%} answered right")
    before, after = calibration.error_before, calibration.error_after
    print(
        f"Temperature {calibration.temperature:.3f}: calibration error {before:.3f} -> {after:.3f}"
    )
    print(f"The plot is {cached.path / PLOT_FILE}")


def _lines(file: Path) -> list[dict[str, Any]]:
    try:
        texts = [line for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
        lines = [json.loads(text) for text in texts]
    except OSError as error:
        reason = error.strerror or error
        raise ClientError(f"The file {file} cannot be read: {reason}") from None
    except ValueError as error:
        raise ClientError(f"{file} is not JSON lines: {error}") from None
    for number, line in enumerate(lines, 1):
        if not isinstance(line, dict) or not {"input", "question", "answer"} <= line.keys():
            text = f"{file}, question {number} needs 'input', 'question' and 'answer'"
            raise ClientError(text)
    if len(lines) < FEWEST:
        raise ClientError(f"{file} has {len(lines)} questions; a calibration needs {FEWEST}")
    return lines


def _asked(connection: Connection, model: str, line: dict[str, Any], place: str) -> Labelled:
    from cupola.client.commands.decisions.questions import labelled

    body = {"model": model, "input": line["input"], "questions": [line["question"]]}
    decision = connection.post("/v1/decisions", body)
    (answer,) = decision["answers"]
    return labelled(answer, line["answer"], float(decision["temperature"]), place)
