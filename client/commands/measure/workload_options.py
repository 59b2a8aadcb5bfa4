"""What the measuring commands have in common: the workload, the objective, where results go."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cupola.client.errors import ClientError

if TYPE_CHECKING:
    from cupola.cache.home import Home
    from cupola.loadtests.load.results import Objective
    from cupola.loadtests.load.workloads import Workload

STORY = "story"

WorkloadName = Annotated[
    str,
    typer.Option(
        "--workload",
        help="What is asked: 'story' (answers of one length), 'chat', 'long prompt', "
        "'shared prompt', 'agent' or 'structured'.",
    ),
]
ObjectiveText = Annotated[
    str,
    typer.Option(
        "--objective", help="What goodput must keep, in ms: TTFT, and the 99th percentile of ITL."
    ),
]
Folder = Annotated[
    Path | None,
    typer.Option("--out", show_default="in the data folder", help="Folder for the results."),
]


def tokens_option(usual: int) -> Any:
    """The option --max-tokens. Without it the value is None, so that a given one is known."""
    return typer.Option(
        "--max-tokens",
        min=1,
        max=10_000_000,
        show_default=f"{usual}",
        help="Tokens of each answer, for 'story'.",
    )


def objective(text: str) -> Objective:
    """Of a text such as "ttft=1000,itl=200". Raises ClientError."""
    from cupola.loadtests.load.results import Objective

    try:
        found = {key: float(value) / 1000 for key, value in (p.split("=") for p in text.split(","))}
        if found.keys() - {"ttft", "itl"} or any(not value > 0 for value in found.values()):
            raise ValueError
    except ValueError:
        raise ClientError(
            f"'{text}' is no objective", "An example is --objective ttft=1000,itl=200"
        ) from None
    return Objective(found.get("ttft", 1.0), found.get("itl", 0.2))


def workload(
    name: str,
    max_tokens: int | None,
    usual_tokens: int,
    shared_prefix: str = "",
    prompt_words: int = 0,
    copy: bool = False,
    agent: bool = False,
) -> Workload:
    """Raises ClientError."""
    from cupola.loadtests.load.workloads import CHAT, WORKLOADS, recorded_agents, story

    if agent and (name != STORY or shared_prefix or prompt_words or copy):
        raise ClientError("--agent is a workload of its own; leave the other ones out")
    if agent:
        return recorded_agents(max_tokens or usual_tokens)
    if name == STORY:
        return story(max_tokens or usual_tokens, shared_prefix or None, prompt_words, copy)
    if shared_prefix or prompt_words or copy:
        raise ClientError(f"--shared-prefix, --prompt-words and --copy are for '{STORY}' only")
    chats = {key: each for key, each in WORKLOADS.items() if each.path == CHAT}
    if name not in chats:
        raise ClientError(
            f"There is no workload '{name}'", f"There are: {', '.join([STORY, *chats])}"
        )
    if max_tokens is not None:
        raise ClientError(
            f"--max-tokens is for '{STORY}' only: '{name}' says itself how long its answers are"
        )
    return chats[name]


def results(home: Home, given: Path | None, kind: str) -> Path:
    """The folder for the results of one run."""
    now = datetime.now().strftime("%Y%m%d-%H%M%S")
    found = given or home.root / "measurements" / f"{kind}-{now}"
    found.mkdir(parents=True, exist_ok=True)
    return found
