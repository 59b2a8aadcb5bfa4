"""What the model reads of a question. Pure.

The options stand before the question, so that questions with the same options share them, and each
question is short. The words were chosen on labelled reviews: two small models told good ones from
bad ones more often than with the options behind the question.
"""

from __future__ import annotations

from collections.abc import Sequence

from cupola.scheduler.protocol.tasks import Option, Question, QuestionKind

YES, NO = "Yes", "No"


def options_of(question: Question) -> tuple[Option, ...]:
    """The options as the model reads them."""
    if question.kind is QuestionKind.PREDICATE:
        return Option(YES), Option(NO)
    return question.options


def worded(question: Question, options: Sequence[Option], labels: Sequence[str] | None) -> str:
    """The question with its options in this order.

    ``labels`` stand for the options; None: the options stand for themselves.
    """
    asked = f"Question: {question.instructions.strip()}"
    if labels is not None:
        lines = [_line(f"{label}. ", option) for label, option in zip(labels, options, strict=True)]
        return "\n".join(["Answer the question with the label of one option:", *lines, asked])
    if any(option.description for option in options):
        lines = [_line("- ", option) for option in options]
        return "\n".join(["Answer the question with one option:", *lines, asked])
    *others, last = (option.text for option in options)
    told = f"{', '.join(others)} or {last}" if others else last
    return f"Answer the question with one option: {told}.\n{asked}"


def _line(mark: str, option: Option) -> str:
    told = f"{mark}{option.text}"
    return f"{told}: {option.description}" if option.description else told


def orders(count: int, permutations: int) -> list[tuple[int, ...]]:
    """Orders of so many options: rotations, so that each option stands in as many places.

    There are no more of them than options.
    """
    wanted = min(count, permutations)
    shifts = [round(number * count / wanted) for number in range(wanted)]
    return [tuple((place + shift) % count for place in range(count)) for shift in shifts]
