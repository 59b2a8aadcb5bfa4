"""What the model reads of a question. Pure.

The words were chosen on labelled questions: see the page on decisions.
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
    instructions = question.instructions.strip()
    if question.kind is QuestionKind.PREDICATE:
        words = " or ".join(option.text for option in options)
        return f"{instructions}\nIs this true? Answer {words}."
    texts = [option.text for option in options] if labels is None else labels
    lines = [
        _line(text, option, named=labels is not None)
        for text, option in zip(texts, options, strict=True)
    ]
    what = "one of these options" if labels is None else "the label of one option"
    return "\n".join([instructions, *lines, f"Answer with {what} and nothing else."])


def _line(text: str, option: Option, *, named: bool) -> str:
    told = f"{text}. {option.text}" if named else f"- {text}"
    return f"{told}: {option.description}" if option.description else told


def orders(count: int, permutations: int) -> list[tuple[int, ...]]:
    """Orders of so many options: rotations, so that each option stands in as many places.

    There are no more of them than options.
    """
    wanted = min(count, permutations)
    shifts = [round(number * count / wanted) for number in range(wanted)]
    return [tuple((place + shift) % count for place in range(count)) for shift in shifts]
