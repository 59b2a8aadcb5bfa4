"""Print an answer while it is written."""

import sys

from openai import OpenAI

from cupola.client import FoundryLocalManager

name = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m"
manager = FoundryLocalManager(name)
client = OpenAI(base_url=manager.endpoint, api_key=manager.api_key)

stream = client.chat.completions.create(
    model=name,
    messages=[{"role": "user", "content": "Tell me about lighthouses in three sentences."}],
    stream=True,
    temperature=0,
    max_tokens=120,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
