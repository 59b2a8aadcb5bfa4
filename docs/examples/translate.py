"""Translate a sentence. A model of this size knows few languages well: try a larger one."""

import sys

from openai import OpenAI

from cupola.client import FoundryLocalManager

name = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m"
manager = FoundryLocalManager(name)
client = OpenAI(base_url=manager.endpoint, api_key=manager.api_key)

answer = client.chat.completions.create(
    model=name,
    messages=[
        {"role": "system", "content": "Translate the user's sentence into French."},
        {"role": "user", "content": "Good morning, where is the train station?"},
    ],
    temperature=0,
    max_tokens=60,
)
print(answer.choices[0].message.content)
