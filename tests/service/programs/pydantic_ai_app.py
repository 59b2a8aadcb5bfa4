"""An app on pydantic-ai: plain and streamed answers, forms by tools and by schemas, a tool.

Arguments: the service's URL, a chat model, an embedding model. Prints what it got as JSON.
"""

import asyncio
import json
import sys
from typing import Any, Literal

from pydantic import BaseModel, Field
from pydantic_ai import Agent, Embedder, NativeOutput
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

url, model, encoder = sys.argv[1:]
short, long = ({"temperature": 0, "max_tokens": count} for count in (8, 200))
question = "How is the weather in Paris?"


class Weather(BaseModel):
    city: Literal["Paris", "Rome"]
    days: int = Field(ge=1, le=9)


async def use(kind: type[Any], provider: OpenAIProvider) -> dict[str, object]:
    chat = kind(model, provider=provider)
    told: dict[str, object] = {}
    answer = await Agent(chat, model_settings=long).run("Hello")
    told["chat"] = answer.output
    told["tokens"] = answer.usage.output_tokens
    async with Agent(chat, model_settings=long).run_stream("Hello") as stream:
        told["stream"] = "".join([text async for text in stream.stream_text(delta=True)])
    by_tool = await Agent(chat, output_type=Weather, model_settings=long).run(question)
    told["form by tool"] = isinstance(by_tool.output, Weather)
    by_schema = Agent(chat, output_type=NativeOutput(Weather), model_settings=long)
    told["form by schema"] = isinstance((await by_schema.run(question)).output, Weather)
    return told


async def with_a_tool(provider: OpenAIProvider) -> dict[str, object]:
    """Its model must call a tool in every turn, until it calls the one that ends the run."""
    called: list[str] = []
    chat = OpenAIChatModel(model, provider=provider)
    agent = Agent(chat, output_type=Weather, model_settings=long)

    @agent.tool_plain
    def look(city: Literal["Paris", "Rome"]) -> str:
        """Looks out of the window."""
        called.append(city)
        return "Sunny"

    turns = 0
    async with agent.iter(question) as run:
        async for node in run:
            turns += Agent.is_model_request_node(node)
            if turns == 3:
                break
    return {"turns": turns, "called": called, "output": run.result is not None}


async def main() -> None:
    async with OpenAIProvider(base_url=f"{url}/v1", api_key="any") as provider:
        told: dict[str, object] = {
            "chat": await use(OpenAIChatModel, provider),
            "responses": await use(OpenAIResponsesModel, provider),
            "tool": await with_a_tool(provider),
        }
        embedder = Embedder(OpenAIEmbeddingModel(encoder, provider=provider))
        made = await embedder.embed_documents(["a", "b"])
        told["vectors"] = [len(vector) for vector in made.embeddings]
    print(json.dumps(told))


asyncio.run(main())
