"""What a conversion needs of a model's tokenizer, wherever it comes from."""

from __future__ import annotations

from typing import Any, Protocol

Json = dict[str, Any]

# Files that are older than the keys "eot" and "eom", and many configurations, name only one of the
# tokens that end an answer.
END_TOKENS = frozenset(
    {"<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<|end|>", "<end_of_turn>"}
)


class ModelTokenizer(Protocol):
    """A tokenizer in Hugging Face's form, and its special tokens."""

    def tokenizer_json(self) -> Json:
        """The content of ``tokenizer.json``, in the form of the ``tokenizers`` library."""

    def tokenizer_config(self) -> Json:
        """The content of Hugging Face's ``tokenizer_config.json``."""

    @property
    def chat_template(self) -> str:
        """The Jinja template. It is empty when the model has none."""

    @property
    def bos(self) -> int | None: ...

    @property
    def pad(self) -> int | None: ...

    @property
    def ends(self) -> list[int]:
        """Every token that ends an answer: end of text, end of turn."""
