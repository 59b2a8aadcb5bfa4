"""Load as users make it, on any OpenAI-compatible server of this machine.

    make loadtest
    make loadtest SCENARIOS="Chat SlowReader" ARGS="--arrivals poisson --rate 0.2 --shape spike"
    .venv/bin/locust -f loadtests/users/locustfile.py      # the web UI; --processes 2 for more load

Each class below is a scenario; name those that are to run. Locust's tables, CSV and plots have the
rows of ``load/reading.py``: TTFT, ITL, TPOT and E2E in ms, and tokens/s, which is a rate in the
column of times. Locust rounds percentiles; the table at the end is made from all requests, which
are also kept one a line in ``--requests-file``.

``--arrivals closed``: a user asks again when its answer is there. ``--arrivals poisson``: each user
is a Poisson source of ``--rate`` requests a second, whether or not answers come. Latency counts
from the moment at which a request was to be sent, in both.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from cupola.loadtests.load.server import Models
from cupola.loadtests.load.workloads import WORKLOADS
from cupola.loadtests.users.scenario import Scenario


class Chat(Scenario):
    """Short questions, short answers."""

    workload = WORKLOADS["chat"]


class LongPrompt(Scenario):
    """A thousand tokens to read for each answer."""

    workload = WORKLOADS["long prompt"]


class SharedPrompt(Scenario):
    """One long system prompt for all, as in retrieval."""

    workload = WORKLOADS["shared prompt"]


class Agent(Scenario):
    """Four turns with tools, each with all that was said before."""

    workload = WORKLOADS["agent"]


class Structured(Scenario):
    """Answers to a JSON schema; one that ends and is not JSON is an error."""

    workload = WORKLOADS["structured"]


class Embeddings(Scenario):
    """One text a request."""

    workload = WORKLOADS["embeddings"]

    def choose_model(self, models: Models) -> str:
        return models.embedding

    def act(self, began: float | None, chance: Random) -> None:
        body = self.workload.body(self.model, chance)
        self.http.call(self.workload.name, "POST", self.workload.path, body, began=began)


class SteadyTenant(Scenario):
    """A client beside one that floods the server, with another API key."""

    workload = replace(WORKLOADS["chat"], name="steady tenant")
    think_seconds = 2.0
    api_key = "steady"


class FloodTenant(Scenario):
    """A client that asks without a pause. Four come with each steady one."""

    workload = replace(WORKLOADS["chat"], name="flood tenant")
    weight = 4
    think_seconds = 0.0
    api_key = "flood"


class Aborting(Scenario):
    """Clients that hang up within the answer."""

    workload = replace(WORKLOADS["chat"], name="aborting")

    def act(self, began: float | None, chance: Random) -> None:
        body = self.workload.body(self.model, chance)
        lines = chance.randint(1, 40)  # two a piece of text
        self.http.stream(
            self.workload.name, self.workload.path, body, began=began, leave_after=lines
        )


class SlowReader(Scenario):
    """Clients that read a line now and then, into a small buffer."""

    workload = replace(WORKLOADS["chat"], name="slow reader")
    slow = True

    def act(self, began: float | None, chance: Random) -> None:
        body = self.workload.body(self.model, chance)
        self.http.stream(self.workload.name, self.workload.path, body, began=began, pause=0.1)


class FoundryManagement(Scenario):
    """Foundry Local 0.x: what an app asks about models. Only Cupola and Foundry Local know it."""

    paths = (
        "/foundry/list",
        "/openai/status",
        "/openai/models",
        "/openai/loadedmodels",
        "/openai/load/{model}",
    )

    def act(self, began: float | None, chance: Random) -> None:
        path = chance.choice(self.paths)
        self.http.call(path, "GET", path.replace("{model}", self.model), began=began)
