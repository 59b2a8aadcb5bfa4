"""What the model reads of a question."""

from __future__ import annotations

from cupola.scheduler.protocol.tasks import Option, Question, QuestionKind
from cupola.workers.decisions.wording import options_of, worded

PLAIN = (Option("red"), Option("green"), Option("blue"))
TOLD = (Option("red", "stop"), Option("green"))


def choice(options: tuple[Option, ...], labels: tuple[str, ...] | None = None) -> str:
    question = Question(QuestionKind.CHOICE, " Which light? ", options)
    return worded(question, options, labels)


def test_the_options_come_first_and_the_question_ends_the_text() -> None:
    assert choice(PLAIN) == (
        "Answer the question with one option: red, green or blue.\nQuestion: Which light?"
    )
    assert choice(PLAIN[:1]).startswith("Answer the question with one option: red.\n")
    predicate = Question(QuestionKind.PREDICATE, "It is late.")
    assert worded(predicate, options_of(predicate), None) == (
        "Answer the question with one option: Yes or No.\nQuestion: It is late."
    )


def test_descriptions_and_labels_have_lines_of_their_own() -> None:
    assert choice(TOLD).splitlines()[1:] == ["- red: stop", "- green", "Question: Which light?"]
    assert choice(TOLD, ("A", "B")).splitlines()[1:] == [
        "A. red: stop",
        "B. green",
        "Question: Which light?",
    ]
