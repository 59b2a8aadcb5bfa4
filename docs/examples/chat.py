"""Ask one question. With Foundry Local's SDK only the import is another."""

import sys

from openai import OpenAI

from cupola.client import FoundryLocalManager

name = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m"
manager = FoundryLocalManager(name)
client = OpenAI(base_url=manager.endpoint, api_key=manager.api_key)

answer = client.chat.completions.create(
    model=name,
    messages=[{"role": "user", "content": "How many days are in a week?"}],
    temperature=0,
)
print(answer.choices[0].message.content)
