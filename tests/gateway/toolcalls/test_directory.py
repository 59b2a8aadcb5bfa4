"""In which format the model of a folder answers."""

from __future__ import annotations

import asyncio
import json
import os
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from cupola.gateway.toolcalls import directory
from cupola.gateway.toolcalls.directory import LOOK_SECONDS, FormatDirectory, read_format
from cupola.gateway.toolcalls.formats import Markers
from cupola.gateway.toolcalls.known import THINK, format_of_template

CHATML = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
QWEN3 = (
    "{% if tools %}<tool_call>{% endif %}{{ message.content.split('</think>') }}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"
)
QWQ = (
    "{% if tools %}<tool_call>{% endif %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "name", "takes_tools"),
    [
        (CHATML, "generic", False),
        ("", "generic", False),
        (CHATML + "named SmolLM, trained by", "smollm2", False),
        (QWEN3, "hermes", True),
        ("{{ tools }}<|python_tag|>", "llama3", True),
        ("<|start_header_id|>ipython<|end_header_id|>{{ tools }}", "llama3", True),
        ("{{ tools }}<|python_start|>", "llama4", True),
        ("{{ tools }}[TOOL_CALLS]", "mistral", True),
        ("<|tool|>{{ tools }}<|/tool|>", "phi4-mini", True),
        ("<\uff5ctool\u2581calls\u2581begin\uff5c>", "deepseek", False),
        ("<|start_of_role|>{{ tools }}<tool_call>", "granite", True),
        ("<|channel|>{{ tools }}", "harmony", True),
        ("{{ tools }}<tool_call><function=a><parameter=b>", "qwen3-coder", True),
    ],
)
def test_template(template: str, name: str, takes_tools: bool) -> None:
    answer_format = format_of_template(template)
    assert (answer_format.name, answer_format.template_takes_tools) == (name, takes_tools)
    assert answer_format.tools is not None


@pytest.mark.parametrize(
    ("template", "reasoning", "begun"),
    [(CHATML, (), False), (QWEN3, (THINK,), False), (QWQ, (THINK,), True)],
)
def test_reasoning(template: str, reasoning: Any, begun: bool) -> None:
    answer_format = format_of_template(template)
    assert (answer_format.reasoning, answer_format.starts_in_reasoning) == (reasoning, begun)


def write(folder: Path, name: str, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text, "utf-8")


def test_where_the_template_is(tmp_path: Path) -> None:
    write(tmp_path, "tokenizer_config.json", {"chat_template": "[TOOL_CALLS]"})
    assert read_format(tmp_path).name == "mistral"
    named = [{"name": "default", "template": CHATML}, {"name": "tool_use", "template": QWEN3}]
    write(tmp_path, "tokenizer_config.json", {"chat_template": named})
    assert read_format(tmp_path).name == "hermes"
    write(tmp_path, "chat_template.jinja", "<|python_tag|>")
    assert read_format(tmp_path).name == "llama3"


@pytest.mark.parametrize("special", [True, False])
def test_special_markers(tmp_path: Path, special: bool) -> None:
    write(tmp_path, "chat_template.jinja", QWEN3)
    token = {"content": "<tool_call>", "special": special}
    others = {"content": "<|im_end|>", "special": True}
    tokens = {"added_tokens_decoder": {"1": token, "2": others}}
    write(tmp_path, "tokenizer_config.json", tokens)
    assert read_format(tmp_path).special is special


def test_special_markers_of_a_tokenizer_that_lists_none(tmp_path: Path) -> None:
    write(tmp_path, "chat_template.jinja", "<|python_tag|>")
    assert read_format(tmp_path).special


def test_own_file(tmp_path: Path) -> None:
    write(tmp_path, "chat_template.jinja", CHATML)
    write(tmp_path, "cupola.json", {"tool_format": "mistral", "starts_in_reasoning": True})
    answer_format = read_format(tmp_path)
    assert (answer_format.name, answer_format.starts_in_reasoning) == ("mistral", True)
    own = {"markers": [{"start": "@@", "end": "!!"}], "payload": "python"}
    write(tmp_path, "cupola.json", {"tool_format": own, "reasoning": [{"start": "(", "end": ")"}]})
    answer_format = read_format(tmp_path)
    assert answer_format.tools is not None and answer_format.tools.markers == (Markers("@@", "!!"),)
    assert answer_format.reasoning == (Markers("(", ")"),)


@pytest.mark.parametrize("content", ["{", "[]", '{"tool_format": 3}', '{"tool_format": "klingon"}'])
def test_a_bad_file_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    write(tmp_path, "cupola.json", content)
    assert read_format(tmp_path).name == "generic"
    assert "cupola.json" in caplog.text


def test_read_again_when_changed(tmp_path: Path) -> None:
    seconds = count()
    directory = FormatDirectory(lambda: LOOK_SECONDS * next(seconds))

    def name() -> str:
        return asyncio.run(directory.of(str(tmp_path))).name

    assert name() == "generic"
    write(tmp_path, "chat_template.jinja", QWEN3)
    assert name() == "hermes"
    write(tmp_path, "chat_template.jinja", "[TOOL_CALLS]")
    os.utime(tmp_path / "chat_template.jinja", ns=(1, 1))
    assert name() == "mistral"
    assert asyncio.run(directory.of(str(tmp_path))) is asyncio.run(directory.of(str(tmp_path)))


def test_not_looked_at_for_each_request(tmp_path: Path) -> None:
    directory = FormatDirectory(lambda: 0.0)
    first = asyncio.run(directory.of(str(tmp_path)))
    write(tmp_path, "chat_template.jinja", QWEN3)
    assert asyncio.run(directory.of(str(tmp_path))) is first


def test_a_folder_that_has_not_changed_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "tokenizer_config.json", {"chat_template": QWEN3})
    reads: list[Path] = []

    def read(folder: Path) -> Any:
        reads.append(folder)
        return read_format(folder)

    monkeypatch.setattr(directory, "read_format", read)

    async def ask_often() -> None:
        clock = count(step=LOOK_SECONDS)
        formats = FormatDirectory(clock=lambda: float(next(clock)))
        for _ in range(5):
            assert (await formats.of(str(tmp_path))).name == "hermes"
        assert len(reads) == 1
        write(tmp_path, "tokenizer_config.json", {"chat_template": CHATML})
        assert (await formats.of(str(tmp_path))).name == "generic"
        assert len(reads) == 2

    asyncio.run(ask_often())
