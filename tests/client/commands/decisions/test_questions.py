"""Questions of a command line, inputs of a file, and what is printed. No service."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cupola.client.commands.decisions.decision_table import WIDTH, bar, show
from cupola.client.commands.decisions.questions import inputs, question
from cupola.client.errors import ClientError
from cupola.client.terminal.output import Form

CHOICE: dict[str, Any] = {
    "answers": [
        {
            "type": "choice",
            "choice": "b",
            "confidence": 0.5,
            "option_mass": 0.25,
            "probabilities": [
                {"value": "a", "probability": 0.25},
                {"value": "b", "probability": 0.75},
            ],
        }
    ]
}


def test_questions() -> None:
    assert question("It rains.", None, None) == {"type": "predicate", "instructions": "It rains."}
    assert question("Which?", "a, b", None)["choices"] == [{"value": "a"}, {"value": "b"}]
    assert question("How?", None, "low,high")["levels"] == [{"label": "low"}, {"label": "high"}]


@pytest.mark.parametrize(("choices", "levels"), [("a", None), ("a,,b", None), ("a,b", "c,d")])
def test_wrong_options_are_refused(choices: str | None, levels: str | None) -> None:
    with pytest.raises(ClientError, match=r"--choices|--levels"):
        question("Which?", choices, levels)


def test_inputs_are_texts_messages_or_objects() -> None:
    messages = [{"role": "user", "content": "a"}]
    lines = ['"one"\n', "\n", '{"input": "two", "id": 3}\n', json.dumps(messages)]
    assert list(inputs(lines, "f")) == ["one", "two", messages]


@pytest.mark.parametrize("line", ["{", "3", "{}", '""'])
def test_a_wrong_line_is_named(line: str) -> None:
    with pytest.raises(ClientError, match="f, line 2"):
        list(inputs(['"fine"', line], "f"))


def test_bars() -> None:
    assert bar(0) == ""
    assert bar(1) == "█" * WIDTH
    assert len(bar(0.5)) == WIDTH // 2


def test_a_table_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    show(CHOICE, Form.TEXT, "an input")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "an input"
    assert [line.split()[:2] for line in lines[3:5]] == [["a", "0.250"], ["b", "0.750"]]
    assert lines[-1] == "confidence 0.50, option mass 0.25"
    show(CHOICE, Form.JSON)
    assert json.loads(capsys.readouterr().out) == CHOICE
