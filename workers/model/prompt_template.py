"""Foundry Local's old form of a chat template, for folders that have no other.

``PromptTemplate`` in inference_model.json has a text for each role, with ``{Content}`` where the
message stands. ``prompt`` is the user's text with the beginning of the answer after it. The form
says nothing of conversations; here they are the texts of their messages, one after the other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FILES = ("inference_model.json", ".inference_model.json")  # older programs hide the file
_CONTENT = "{Content}"
_MAX_BYTES = 1 << 20

# The names in capitals become texts; BEFORE and AFTER are those around a message's content.
_TEMPLATE = """\
{%- macro text(message) -%}
  {%- if message.content is string -%}{{ message.content }}
  {%- else -%}
    {%- for part in message.content or [] -%}{{ part.text or '' }}{%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- for message in messages -%}
  {%- if not loop.first -%}{{ BETWEEN }}{%- endif -%}
  {%- if message.role == 'assistant' -%}
    {{ ASSISTANT_BEFORE }}{{ text(message) }}{{ ASSISTANT_AFTER }}
  {%- elif message.role in ('system', 'developer') -%}
    {{ SYSTEM_BEFORE }}{{ text(message) }}{{ SYSTEM_AFTER }}
  {%- else -%}
    {{ USER_BEFORE }}{{ text(message) }}{{ USER_AFTER }}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ ANSWER }}{%- endif -%}
"""


def read_prompt_template(folder: Path) -> str | None:
    """The template of the folder's inference_model.json in Jinja's form; None: it has none."""
    for name in _FILES:
        try:
            with (folder / name).open("rb") as file:
                content = json.loads(file.read(_MAX_BYTES).removeprefix(b"\xef\xbb\xbf"))
        except (OSError, ValueError, RecursionError):
            continue
        texts = content.get("PromptTemplate") if isinstance(content, dict) else None
        if source := jinja_of(texts):
            return source
    return None


def jinja_of(texts: Any) -> str | None:
    """``texts`` by role as a template in Jinja's form; None: they say nothing of the user."""
    if not isinstance(texts, dict):
        return None
    parts = {key: text for key, text in texts.items() if isinstance(text, str) and _CONTENT in text}
    prompt, user = parts.get("prompt", ""), parts.get("user", "")
    if not prompt and not user:
        return None
    if user and prompt.startswith(user):
        answer = prompt.removeprefix(user)
    else:  # the end of the content is where the answer's beginning is
        before, _, after = (prompt or user).partition(_CONTENT)
        user, answer = (before + _CONTENT, after) if prompt else (user, "")
    between = "\n" if answer.startswith("\n") and not user.endswith("\n") else ""
    ends = user.partition(_CONTENT)[2]
    assistant = parts.get("assistant", _CONTENT)
    if assistant == _CONTENT:  # then it is what follows the beginning of an answer
        assistant = f"{answer.removeprefix(between)}{_CONTENT}{ends}"
    system = parts.get("system", f"{_CONTENT}\n")
    names = {"BETWEEN": between, "ANSWER": answer}
    for role, text in (("USER", user), ("ASSISTANT", assistant), ("SYSTEM", system)):
        names[f"{role}_BEFORE"], _, names[f"{role}_AFTER"] = text.partition(_CONTENT)
    source = _TEMPLATE
    for name, text in names.items():
        literal = json.dumps(text, ensure_ascii=False)
        source = source.replace(f"{{{{ {name} }}}}", f"{{{{ {literal} }}}}")
    return source
