"""Summarise a file: python summarise.py FILE [MODEL]."""

import sys
from pathlib import Path

from openai import OpenAI

from cupola.client import FoundryLocalManager

text = Path(sys.argv[1]).read_text("utf-8")
name = sys.argv[2] if len(sys.argv) > 2 else "smollm2-135m"
manager = FoundryLocalManager(name)
client = OpenAI(base_url=manager.endpoint, api_key=manager.api_key)

answer = client.chat.completions.create(
    model=name,
    messages=[
        {"role": "system", "content": "Summarise the user's text in two sentences."},
        {"role": "user", "content": text},
    ],
    temperature=0,
    max_tokens=120,
)
print(answer.choices[0].message.content)
