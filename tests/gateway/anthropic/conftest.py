"""What the tests of this API share."""

from __future__ import annotations

from pathlib import Path

import pytest

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.home import Home
from tests.gateway.running_gateway import MODEL_ID

QWEN3 = (
    "{% if tools %}<tool_call>{% endif %}{{ message.content.split('</think>') }}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@pytest.fixture
def qwen3(home: Path) -> None:
    """The model is one that knows tools and thinks."""
    folder = Home(home).model_folder(SMOLLM2_135M.publisher, MODEL_ID)
    (folder / "chat_template.jinja").write_text(QWEN3, "utf-8")
