"""What the model reads of a question. Pure.

The words were chosen on labelled reviews: with other forms, a small model often gave all of them
the same answer, or had little probability for any of the options.
"""

from __future__ import annotations

from collections.abc import Sequence

from cupola.scheduler.protocol.messages import Option, Question, QuestionKind

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
        return "\n".join([asked, *lines, "Answer with the label of one option."])
    if any(option.description for option in options):
        lines = ["Options:", *(_line("- ", option) for option in options)]
        return "\n".join([asked, *lines, "Answer with one option."])
    texts = ", ".join(option.text for option in options)
    return f"{asked}\nOptions: {texts}\nAnswer with one option."


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
