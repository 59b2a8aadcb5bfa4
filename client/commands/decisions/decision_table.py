"""Prints a decision: a table with bars, or a line of JSON."""

from __future__ import annotations

from typing import Any

from cupola.client.commands.decisions.questions import probabilities
from cupola.client.terminal.output import Column, Form, print_json, print_table

WIDTH = 30  # of a bar that stands for certainty
_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(share: float) -> str:
    """A bar for a number from 0 to 1, to an eighth of a character."""
    whole, eighths = divmod(round(share * WIDTH * 8), 8)
    return ("█" * whole + _EIGHTHS[eighths]).rstrip()


def show(decision: dict[str, Any], form: Form, text: str = "") -> None:
    """``text``: what was decided about, where there are several inputs."""
    if form is Form.JSON:
        print_json(decision)
        return
    if text:
        print(text)
    (answer,) = decision["answers"]
    columns = [Column("Answer"), Column("Probability"), Column("")]
    rows = [[option, f"{share:.3f}", bar(share)] for option, share in probabilities(answer)]
    print_table(columns, rows)
    facts = [f"confidence {answer['confidence']:.2f}"] if "confidence" in answer else []
    if "score" in answer:
        facts.insert(0, f"score {answer['score']:.2f}")
    facts.append(f"option mass {answer['option_mass']:.2f}")
    print(", ".join(facts))
