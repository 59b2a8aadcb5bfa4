"""Conversations in Foundry Local's old form of a template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cupola.scheduler.protocol.tasks import Chat
from cupola.workers.model.chat_template import ChatTemplate
from cupola.workers.model.prompt_template import jinja_of, read_prompt_template

CHATML = {
    "system": "<|im_start|>system\n{Content}<|im_end|>",
    "user": "<|im_start|>user\n{Content}<|im_end|>",
    "assistant": "{Content}",
    "prompt": "<|im_start|>user\n{Content}<|im_end|>\n<|im_start|>assistant",
}
PHI = {
    "system": "<|system|>{Content}<|end|>",
    "user": "<|user|>{Content}<|end|>",
    "assistant": "<|assistant|>{Content}<|end|>",
    "prompt": "<|user|>{Content}<|end|><|assistant|>",
}
CONVERSATION = (("system", "S"), ("user", "U"), ("assistant", "A"), ("user", "V"))


def rendered(texts: Any, *messages: tuple[str, Any]) -> str:
    source = jinja_of(texts)
    assert source is not None
    chat = tuple({"role": role, "content": content} for role, content in messages)
    return ChatTemplate(source, {}).render(Chat(chat))


def test_chatml() -> None:
    assert rendered(CHATML, *CONVERSATION) == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
        "<|im_start|>assistantA<|im_end|>\n<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant"
    )


def test_phi() -> None:
    assert rendered(PHI, *CONVERSATION) == (
        "<|system|>S<|end|><|user|>U<|end|><|assistant|>A<|end|><|user|>V<|end|><|assistant|>"
    )


def test_a_prompt_alone() -> None:
    assert rendered({"prompt": "Q: {Content}\nA:"}, ("user", "why?")) == "Q: why?\nA:"


@pytest.mark.parametrize("texts", [CHATML, PHI, {"prompt": "{Content}>"}, {"user": "{Content}"}])
@pytest.mark.parametrize(
    "content",
    ['"}}{{ 1/0 }}', "{Content}", "{% raw %}", "ü\n\t\\", "", [{"type": "text", "text": "x"}]],
)
def test_contents_are_never_read_as_a_template(texts: dict[str, str], content: Any) -> None:
    text = content[0]["text"] if isinstance(content, list) else content
    assert text in rendered(texts, ("user", content))


@pytest.mark.parametrize(
    "odd", ['"}}{{ 1/0 }}{Content}', "{% if %}{Content}", "\\{Content}\u2028💾'"]
)
def test_texts_of_the_file_are_never_read_as_a_template(odd: str) -> None:
    assert rendered({"user": odd}, ("user", "x")) == odd.replace("{Content}", "x")


@pytest.mark.parametrize(
    "texts", [None, [], "x", {}, {"user": 3}, {"user": "no place"}, {"system": "{Content}"}]
)
def test_what_says_nothing(texts: Any) -> None:
    assert jinja_of(texts) is None


@pytest.mark.parametrize("name", ["inference_model.json", ".inference_model.json"])
def test_it_is_read_from_either_file(tmp_path: Path, name: str) -> None:
    assert read_prompt_template(tmp_path) is None
    (tmp_path / name).write_text(json.dumps({"Name": "m:1", "PromptTemplate": PHI}), "utf-8-sig")
    assert read_prompt_template(tmp_path) == jinja_of(PHI)
    (tmp_path / name).write_text("{")
    assert read_prompt_template(tmp_path) is None
