"""Models that are converted here, and one with an adapter, as a service runs them.

Their weights are random and have 16 bits, so that each answer is known: it is that of a forward
pass in NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator

import jinja2
import numpy as np
import pytest

from cupola.cache.home import Home
from cupola.cache.install.import_adapter import import_adapter
from cupola.cache.install.import_path import import_path
from cupola.cache.precision import Precision
from tests.cache.convert.family_reference import FamilyReference
from tests.cache.convert.tiny_family import FAMILIES, tiny_tokenizer
from tests.cache.convert.tiny_gguf import CHAT_TEMPLATE
from tests.cache.tiny_adapter import write_adapter
from tests.service.running_service import Service

pytestmark = pytest.mark.slow

LENGTH = 12
MESSAGES = [{"role": "user", "content": "How are you?"}]
LETTERS: list[int] = [
    tiny_tokenizer().encode(letter).ids[0] for letter in "abcdefghijklmnopqrstuvwxyz"
]
NAMES = ("qwen3", "gemma3", "pirate")


@pytest.fixture(scope="module")
def references() -> dict[str, FamilyReference]:
    return {name: FamilyReference(FAMILIES[name].full_config, FAMILIES[name].tensors())
            for name in ("qwen3", "gemma3")}  # fmt: skip


@pytest.fixture(scope="module")
def service(
    references: dict[str, FamilyReference], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("converted")
    home = Home(folder / "home")
    import_path(
        FAMILIES["qwen3"].write_gguf(folder / "q.gguf"), home, "qwen3", precision=Precision.FP16
    )
    gemma = FAMILIES["gemma3"].write_folder(folder / "gemma").parent
    import_path(gemma, home, "gemma3", precision=Precision.FP16)
    llama = FAMILIES["llama"]
    base = llama.write_gguf(folder / "llama.gguf")
    merged = write_adapter(folder / "adapter", llama.tensors())
    import_adapter(folder / "adapter", str(base), home, "pirate", precision=Precision.FP16)
    references["pirate"] = FamilyReference(llama.full_config, merged)
    with Service(home.root, lean=False, warm_up="no", model="qwen3") as running:
        yield running.ready()


def expected(reference: FamilyReference) -> str:
    """The best letters, one after the other."""
    prompt = jinja2.Template(CHAT_TEMPLATE).render(messages=MESSAGES, add_generation_prompt=True)
    ids: list[int] = tiny_tokenizer().encode(prompt).ids
    begin = len(ids)
    for _ in range(LENGTH):
        ids.append(LETTERS[int(np.argmax(reference.logits(ids)[-1][LETTERS]))])
    return tiny_tokenizer().decode(ids[begin:])


@pytest.mark.parametrize("name", NAMES)
def test_a_chat_says_what_the_forward_pass_says(
    name: str, service: Service, references: dict[str, FamilyReference]
) -> None:
    answer = service.openai().chat.completions.create(
        model=name,
        messages=MESSAGES,  # type: ignore[arg-type]
        temperature=0,
        max_tokens=LENGTH,
        logit_bias={str(token): 100 for token in LETTERS},
    )
    assert answer.choices[0].message.content == expected(references[name])


def test_all_of_them_are_listed(service: Service) -> None:
    listed = {model.id for model in service.openai().models.list()}
    assert listed >= {f"{name}-fp16-cpu:1" for name in NAMES}
