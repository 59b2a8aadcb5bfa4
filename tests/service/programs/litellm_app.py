"""An app on litellm, through every API: chat, stream, forms of answers, tools, embeddings.

Arguments: the service's URL, a chat model, an embedding model. Prints what it got as JSON.
"""

import json
import os
import sys
from typing import Any, Literal

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it looks for prices in the network

import litellm
from pydantic import BaseModel, Field

url, model, encoder = sys.argv[1:]
litellm.suppress_debug_info = True
question = [{"role": "user", "content": "How is the weather in Paris?"}]


class Weather(BaseModel):
    city: Literal["Paris", "Rome"]
    days: int = Field(ge=1, le=9)


parameters = Weather.model_json_schema()
tool = {"type": "function", "function": {"name": "get_weather", "parameters": parameters}}


def use(provider: str, base: str, calls: bool = True) -> dict[str, object]:
    given: dict[str, Any] = {
        "model": f"{provider}/{model}",
        "api_base": base,
        "api_key": "any",
        "messages": question,
        "temperature": 0,
    }
    told: dict[str, object] = {}
    told["chat"] = litellm.completion(**given, max_tokens=8).choices[0].message.content
    stream = litellm.completion(**given, max_tokens=8, stream=True)
    told["stream"] = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    form = litellm.completion(**given, max_tokens=150, response_format=Weather)
    told["form"] = bool(Weather.model_validate_json(form.choices[0].message.content))
    if not calls:  # Ollama's API cannot require them
        return told
    given["tools"] = [tool]
    answer = litellm.completion(**given, max_tokens=150, tool_choice="required").choices[0].message
    call = answer.tool_calls[0]
    told["tool"] = bool(Weather.model_validate_json(call.function.arguments))
    result = {"role": "tool", "tool_call_id": call.id, "content": "Sunny"}
    history = given | {"messages": [*question, answer, result]}
    told["after the tool"] = bool(litellm.completion(**history, max_tokens=8).choices)
    return told


vectors = {"input": ["a", "b"], "api_base": f"{url}/v1", "api_key": "any"}
made = litellm.embedding(model=f"openai/{encoder}", **vectors)
told = {
    "openai": use("openai", f"{url}/v1"),
    "anthropic": use("anthropic", url),
    "ollama_chat": use("ollama_chat", url, calls=False),
    "vectors": [len(entry["embedding"]) for entry in made.data],
}
print(json.dumps(told))
