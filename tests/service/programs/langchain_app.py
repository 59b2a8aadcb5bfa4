"""An app on langchain-openai: chat, stream, tools, forms of answers, embeddings.

Arguments: the service's URL, a chat model, an embedding model. Prints what it got as JSON.
"""

import asyncio
import json
import sys
from typing import Literal

from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

url, model, encoder = sys.argv[1:]
address = {"base_url": f"{url}/v1", "api_key": "any", "max_retries": 0}
given = {**address, "model": model, "temperature": 0}
short, long = ChatOpenAI(**given, max_tokens=8), ChatOpenAI(**given, max_tokens=150)
question = "How is the weather in Paris?"
told = {}


class Weather(BaseModel):
    """The weather."""

    city: Literal["Paris", "Rome"]
    days: int = Field(ge=1, le=9)


@tool
def get_weather(city: Literal["Paris", "Rome"]) -> str:
    """The weather now."""
    return f"Sunny in {city}"


told["chat"] = short.invoke([SystemMessage("Be brief."), HumanMessage(question)]).content
chunks = list(short.stream(question, stream_usage=True))
told["stream"] = "".join(chunk.content for chunk in chunks)
told["stream usage"] = chunks[-1].usage_metadata or chunks[-2].usage_metadata
for method in ("json_schema", "function_calling"):
    answer = long.with_structured_output(Weather, method=method).invoke(question)
    told[f"form by {method}"] = isinstance(answer, Weather)
asked = long.bind_tools([get_weather], tool_choice="any").invoke(question)
call = asked.tool_calls[0]
told["tool"] = call["name"]
result = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
history = [HumanMessage(question), asked, result]
told["after the tool"] = short.bind_tools([get_weather]).invoke(history).content
responses = ChatOpenAI(**given, max_tokens=150, use_responses_api=True)
answer = responses.with_structured_output(Weather).invoke(question)
told["form by responses"] = isinstance(answer, Weather)
told["responses"] = "".join(chunk.text for chunk in responses.stream("Hello"))
told["async"] = asyncio.run(short.ainvoke(question)).content
# Its check of lengths wants a tokenizer from the network.
vectors = OpenAIEmbeddings(**address, model=encoder, check_embedding_ctx_length=False)
told["vectors"] = [len(vector) for vector in vectors.embed_documents(["a", "b"])]
print(json.dumps(told))
