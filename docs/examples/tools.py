"""Let the model call a function: it has to, and a grammar keeps the arguments valid."""

import json
import sys

from openai import OpenAI

from cupola.client import FoundryLocalManager

name = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m"
manager = FoundryLocalManager(name)
client = OpenAI(base_url=manager.endpoint, api_key=manager.api_key)

weather = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 20},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
answer = client.chat.completions.create(
    model=name,
    messages=[{"role": "user", "content": "How warm is it in Paris, in celsius?"}],
    tools=[weather],
    tool_choice="required",
    temperature=0,
    max_tokens=80,
)
call = (answer.choices[0].message.tool_calls or [])[0]
arguments = json.loads(call.function.arguments)
print(call.function.name, arguments["city"], arguments["unit"])
