"""The whole bootstrap with `foundry_local` 0.x: runs in an environment that has only that SDK.

Arguments: the module of FoundryLocalManager, an alias, and what to ask. Cupola's own SDK takes the
same calls.
"""

import importlib
import json
import sys

from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

module, alias, question = sys.argv[1:]
manager_of = importlib.import_module(module).FoundryLocalManager

told = {"running before": manager_of(bootstrap=False).is_service_running()}
manager = manager_of(alias)  # starts the service, downloads and loads the model
told["endpoint"] = manager.endpoint
told["catalog"] = [model.id for model in manager.list_catalog_models()]
told["cached"] = [model.id for model in manager.list_cached_models()]
told["loaded"] = [model.id for model in manager.list_loaded_models()]
told["location"] = manager.get_cache_location()
model = manager.get_model_info(alias)
told["model"] = model.id
told["by id"] = manager.get_model_info(model.id).alias
told["unknown"] = manager.get_model_info("nobody-has-this")
# Theirs asks and is told that it is there; ours would really fetch it again.
told["downloaded again"] = manager.download_model(alias, force=module == "foundry_local").id
client = OpenAI(base_url=manager.endpoint, api_key=manager.api_key)
messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": question}]
answer = client.chat.completions.create(
    model=model.id, messages=messages, max_tokens=16, temperature=0
)
told["answer"] = answer.choices[0].message.content
stream = client.chat.completions.create(
    model=model.id, messages=messages, max_tokens=16, temperature=0, stream=True
)
told["streamed"] = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
client.close()
if hasattr(manager, "is_model_upgradeable"):
    told["upgradeable"] = manager.is_model_upgradeable(alias)
manager.refresh_catalog()
manager.unload_model(alias)
told["loaded after unload"] = [each.id for each in manager.list_loaded_models()]
manager.unload_model(alias, force=True)
told["loaded after force"] = [each.id for each in manager.list_loaded_models()]
print(json.dumps(told))
