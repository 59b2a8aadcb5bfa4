"""SDK 1.x and 2.x for Python beside a service of another process (`external_url`).

Arguments: the service's URL, the folder of models with its catalog file, a folder for the SDK's own
data, an alias, and what to ask. Only their own machinery is told about the models: both SDKs ask a
catalog of their own, which without a network is the file.
"""

import json
import sys
import urllib.request

from foundry_local_sdk import Configuration, FoundryLocalManager
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

url, models, data, alias, question = sys.argv[1:]


def loaded_in_service() -> object:
    with urllib.request.urlopen(f"{url}/models/loaded") as answer:
        return json.load(answer)


web = Configuration.WebService(external_url=url)
FoundryLocalManager.initialize(
    Configuration(app_name="apps", app_data_dir=data, model_cache_dir=models, web=web)
)
catalog = FoundryLocalManager.instance.catalog
model = catalog.get_model(alias)
told = {
    "catalog": [each.id for each in catalog.list_models()],
    "model": model.id,
    "cached": model.is_cached,
    "loaded before": model.is_loaded,
}
model.load()
told["loaded"] = model.is_loaded
told["loaded in catalog"] = [each.id for each in catalog.get_loaded_models()]
told["loaded in service"] = loaded_in_service()
messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": question}]
with OpenAI(base_url=f"{url}/v1", api_key="any") as client:
    answer = client.chat.completions.create(
        model=model.id, messages=messages, max_tokens=16, temperature=0
    )
told["answer"] = answer.choices[0].message.content
if not told["loaded in service"]:  # then the SDK has loaded it into this process
    chat = model.get_chat_client()
    chat.settings.max_tokens = 16
    reply = chat.complete_chat(messages)
    told["own answer"] = reply.choices[0].message.content
model.unload()
told["loaded after"] = model.is_loaded
told["in service after"] = loaded_in_service()
print(json.dumps(told))
