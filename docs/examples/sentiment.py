"""Judge a text: a JSON schema leaves the model no other words than the two wanted ones."""

import json
import sys

from openai import OpenAI

from cupola.client import FoundryLocalManager

name = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m"
manager = FoundryLocalManager(name)
client = OpenAI(base_url=manager.endpoint, api_key=manager.api_key)

schema = {
    "type": "object",
    "properties": {"sentiment": {"type": "string", "enum": ["positive", "negative"]}},
    "required": ["sentiment"],
    "additionalProperties": False,
}
answer = client.chat.completions.create(
    model=name,
    messages=[
        {"role": "system", "content": "Is the user's review positive or negative?"},
        {"role": "user", "content": "Wonderful! The best coffee I have had in years."},
    ],
    response_format={
        "type": "json_schema",
        "json_schema": {"name": "judgement", "schema": schema, "strict": True},
    },
    temperature=0,
    max_tokens=40,
)
print(json.loads(answer.choices[0].message.content)["sentiment"])
