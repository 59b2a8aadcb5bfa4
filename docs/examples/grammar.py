"""An answer in a form of your own: a Lark grammar, as Foundry Local takes it."""

import sys

from openai import OpenAI

from cupola.client import FoundryLocalManager

name = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m"
manager = FoundryLocalManager(name)
client = OpenAI(base_url=manager.endpoint, api_key=manager.api_key)

grammar = r"""
start: YEAR "-" MONTH
YEAR: /[12][0-9]{3}/
MONTH: /0[1-9]|1[0-2]/
"""
answer = client.chat.completions.create(
    model=name,
    messages=[{"role": "user", "content": "When did people first walk on the moon?"}],
    extra_body={"response_format": {"type": "lark_grammar", "lark_grammar": grammar}},
    temperature=0,
    max_tokens=20,
)
print(answer.choices[0].message.content)
