"""Where a question stands in a conversation: templates of several kinds, messages, limits."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cupola.scheduler.protocol.messages import ErrorCode
from cupola.scheduler.protocol.tasks import Chat, Decide, Option, Question, QuestionKind
from cupola.workers.decisions.prompt import DecisionPrompt, read
from cupola.workers.model.backend import RequestError
from cupola.workers.model.render_budget import CancelledError, full_budget
from cupola.workers.model.text import TextCodec
from tests.workers.reference import DATA
from tests.workers.tiny import NAME

# As the models of these families have them, shortened.
MESSAGES = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}"
    "{% for call in m.tool_calls or [] %}{{ call.function.name }}({{ call.function.arguments }})"
    "{% endfor %}{% endfor %}"
)
ANSWER = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
PLAIN = MESSAGES + ANSWER
SWITCHED = PLAIN + "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
ALWAYS = PLAIN + "<think>\n"
MISTRAL = PLAIN + "[THINK]"
HARMONY = MESSAGES + "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
HIDING = "{% for m in messages[:-1] %}{{ m.content }}{% endfor %}"
TWICE = MESSAGES + MESSAGES + ANSWER
STATE: tuple[dict[str, Any], ...] = ({"role": "user", "content": "the parcel is late"},)
QUESTIONS = ("is it late", "is it here")


@pytest.fixture
def codec(tmp_path: Path) -> Callable[[str | None], TextCodec]:
    """A tiny tokenizer with the chat template that a test wants."""

    def make(template: str | None) -> TextCodec:
        shutil.copy(DATA / NAME / "tokenizer.json", tmp_path)
        if template is not None:
            (tmp_path / "chat_template.jinja").write_text(template)
        return TextCodec(tmp_path)

    return make


def asked(
    codec: TextCodec, messages: tuple[dict[str, Any], ...] = STATE, context: int = 100_000
) -> DecisionPrompt:
    """As the gateway asks: without thoughts, where the template has a switch for them."""
    chat = Chat(messages, template_options={"enable_thinking": False, "thinking": False})
    questions = tuple(Question(QuestionKind.PREDICATE, text) for text in QUESTIONS)
    return read(codec, Decide(chat, questions), full_budget(), context, lambda: False)


def texts(codec: TextCodec, prompt: DecisionPrompt) -> list[str]:
    """What the model reads for each question."""
    return [
        codec.decode([*prompt.tokens, *each.tokens], keep_special=True) for each in prompt.asked
    ]


@pytest.mark.parametrize(
    ("template", "ends"),
    [(PLAIN, "<|assistant|>"), (SWITCHED, "<|assistant|><think>\n\n</think>\n\n")],
)
def test_the_answer_is_expected_behind_the_template(
    codec: Callable[[str | None], TextCodec], template: str, ends: str
) -> None:
    made = codec(template)
    for question, text in zip(QUESTIONS, texts(made, asked(made)), strict=True):
        assert text.startswith("<|user|>the parcel is late\n\n")
        assert question in text
        assert text.endswith(ends)


@pytest.mark.parametrize(
    ("template", "param", "says"),
    [
        (ALWAYS, "model", "thinks before it answers"),
        (MISTRAL, "model", "thinks before it answers"),
        (HARMONY, "model", "thinks before it answers"),
        (HIDING, "model", "hides the last message"),
        (TWICE, "model", "hides the last message or repeats it"),
        (None, "prompt", "no chat template"),
    ],
)
def test_a_model_without_a_place_for_answers_is_refused(
    codec: Callable[[str | None], TextCodec], template: str | None, param: str, says: str
) -> None:
    with pytest.raises(RequestError, match=says) as refused:
        asked(codec(template))
    assert (refused.value.code, refused.value.param) == (ErrorCode.INVALID_REQUEST, param)


def test_calls_and_their_outputs_are_read(codec: Callable[[str | None], TextCodec]) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "find", "arguments": {"x": 1}}}
    messages = (
        *STATE,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "it came"},
    )
    made = codec(PLAIN)
    for text in texts(made, asked(made, messages)):
        assert "find({" in text and "<|tool|>it came<|user|>" in text


def test_a_state_of_ten_megabytes_is_refused_before_it_is_tokenized(
    codec: Callable[[str | None], TextCodec],
) -> None:
    state = ({"role": "user", "content": "the parcel is late " * 550_000},)
    with pytest.raises(RequestError, match=r"at least \d+ tokens.*context holds 8192") as refused:
        asked(codec(PLAIN), state, 8192)
    assert refused.value.code is ErrorCode.CONTEXT_LENGTH_EXCEEDED


def test_a_question_of_ten_megabytes_is_refused_before_it_is_tokenized(
    codec: Callable[[str | None], TextCodec], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = codec(PLAIN)
    encode, longest = made.encode, 0

    def counted(text: str, **how: bool) -> list[int]:
        nonlocal longest
        longest = max(longest, len(text))
        return encode(text, **how)

    monkeypatch.setattr(made, "encode", counted)
    long = "the parcel is late " * 550_000
    options = (Option("late"), Option("here", long))
    for large in (predicate(long), Question(QuestionKind.CHOICE, "where is it", options)):
        work = Decide(Chat(STATE), (predicate("is it late"), large))
        with pytest.raises(RequestError, match=r"at least \d+ tokens.*holds 8192") as refused:
            read(made, work, full_budget(), 8192, lambda: False)
        assert refused.value.param == "questions[1]"
    assert longest < 1000


def predicate(instructions: str) -> Question:
    return Question(QuestionKind.PREDICATE, instructions)


def test_what_questions_have_in_common_is_a_part_of_the_prompt(
    codec: Callable[[str | None], TextCodec],
) -> None:
    prompt = asked(codec(PLAIN))
    first, second = (each.tokens for each in prompt.asked)
    assert first and second and first[0] != second[0]
    made = asked(codec(PLAIN)), asked(codec(PLAIN))
    assert made[0].tokens == made[1].tokens


def test_the_options_of_all_questions_are_read_once(
    codec: Callable[[str | None], TextCodec],
) -> None:
    made = codec(PLAIN)
    prompt = asked(made)
    assert "Yes or No" in made.decode(prompt.tokens, keep_special=True)
    assert not any("Yes" in made.decode(each.tokens, keep_special=True) for each in prompt.asked)


def test_who_leaves_while_the_orders_of_a_question_are_read_is_not_read_for(
    codec: Callable[[str | None], TextCodec],
) -> None:
    options = tuple(Option(f"option {number}") for number in range(50))
    work = Decide(Chat(STATE), (Question(QuestionKind.CHOICE, "which", options),), permutations=50)
    looks = iter([False] * 3)  # and then the client is gone
    with pytest.raises(CancelledError):
        read(codec(PLAIN), work, full_budget(), 100_000, lambda: next(looks, True))


def test_the_orders_of_all_questions_together_are_bounded(
    codec: Callable[[str | None], TextCodec], monkeypatch: pytest.MonkeyPatch
) -> None:
    question = Question(QuestionKind.CHOICE, "which", (Option("one"), Option("other")))
    work = Decide(Chat(STATE), (question,) * 4, permutations=2)
    made = codec(PLAIN)
    assert len(read(made, work, full_budget(), 8192, lambda: False).asked) == 8
    monkeypatch.setattr("cupola.workers.decisions.prompt.MOST_TOKENS", 50)
    with pytest.raises(RequestError, match="lower 'permutations'") as refused:
        read(made, work, full_budget(), 8192, lambda: False)
    assert str(refused.value.param).startswith("questions[")
