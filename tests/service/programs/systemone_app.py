"""Three packages, unmodified: System One's own client, another one, and an app on the first.

They are `typesafe-sdk`, `deqio-client` and `hev-rerank`.
"""

from __future__ import annotations

import json
import sys

from deqio_client import DeqioClient
from hev_rerank import rerank
from typesafe_sdk import Choice, Noul, RetryPolicy, Score, TypeSafeClient, TypeSafeError

url, model = sys.argv[1:]
told: dict[str, object] = {}
with TypeSafeClient(
    api_key="none", base_url=url, model=model, timeout=120, retry=RetryPolicy(max_retries=0)
) as client:
    made = client.system_one(
        state={"message": "The parcel came two weeks late.", "customer": {"since": 2019}},
        questions={
            "late": Noul(instructions="Was the parcel late?"),
            "about": Choice(
                instructions="What is it about?",
                criteria={"delivery": "parcels and their time", "price": None, "weather": None},
            ),
            "anger": Score(instructions="How angry is the customer?", criteria=["calm", "angry"]),
        },
    )
    told["model"] = made.model
    told["tokens"] = made.usage.input_tokens
    told["late"] = made.nouls["late"].noul
    told["about"] = made.choices["about"].probabilities
    told["anger"] = (made.scores["anger"].score, made.scores["anger"].legend)
    try:
        client.system_one(state="a", questions={"q": Choice(instructions="", criteria={"a": None})})
    except TypeSafeError as error:
        told["refused"] = (getattr(error, "status", None), str(error))
    documents = ["Bread is baked in an oven.", "Paris is the capital of France."]
    ranked = rerank("Where is Paris?", documents, client=client, model=model)
    told["ranked"] = [(each.index, each.score) for each in ranked]
questions = {"late": {"type": "noul", "instructions": "Was the parcel late?"}}
answer = DeqioClient(url).systemone({"message": "The parcel came two weeks late."}, questions)
told["deqio"] = answer["answers"]["late"]["noul"]
print(json.dumps(told))
