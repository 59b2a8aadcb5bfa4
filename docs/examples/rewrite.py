"""Say the same in another tone."""

import sys

from openai import OpenAI

from cupola.client import FoundryLocalManager

name = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m"
manager = FoundryLocalManager(name)
client = OpenAI(base_url=manager.endpoint, api_key=manager.api_key)

answer = client.chat.completions.create(
    model=name,
    messages=[
        {"role": "system", "content": "Rewrite the user's message politely. Only the new message."},
        {"role": "user", "content": "send me the report now, you are late again"},
    ],
    temperature=0,
    max_tokens=80,
)
print(answer.choices[0].message.content)
