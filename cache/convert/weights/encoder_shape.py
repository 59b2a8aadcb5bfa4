"""The shape of a BERT encoder, and where its weights come from."""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from cupola.cache.errors import UnsupportedError

_CLASSIFIER = "BertForSequenceClassification"
Values = npt.NDArray[np.float32]


def _two_labels() -> dict[str, str]:
    """What transformers takes for granted where a config.json names none."""
    return {"0": "LABEL_0", "1": "LABEL_1"}


class EncoderShape(msgspec.Struct, frozen=True):
    """The part of a BERT model's config.json that its graph depends on."""

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    layer_norm_eps: float
    type_vocab_size: int = 2
    hidden_act: str = "gelu"
    position_embedding_type: str = "absolute"
    architectures: tuple[str, ...] = ()
    id2label: dict[str, str] = msgspec.field(default_factory=_two_labels)

    @property
    def ranks(self) -> bool:
        """Whether it is a cross-encoder, which reads a query and a document together."""
        return _CLASSIFIER in self.architectures

    def check(self) -> None:
        """Raises UnsupportedError for a model that is not a plain BERT."""
        if self.ranks and len(self.id2label) != 1:
            text = f"config.json: a classifier of {len(self.id2label)} labels does not rank"
            raise UnsupportedError(f"{text}; one of a single label does")
        for name, known in (
            ("model_type", "bert"),
            ("hidden_act", "gelu"),
            ("position_embedding_type", "absolute"),
        ):
            if (value := getattr(self, name)) != known:
                raise UnsupportedError(f"config.json: {name} is '{value}', not '{known}'")


class EncoderWeights(Protocol):
    """The tensors of an encoder by the names of the hub, in a file of any kind."""

    def __contains__(self, name: str) -> bool: ...

    def tensor(self, name: str, shape: tuple[int, ...]) -> Values:
        """The values of the tensor ``name``. Raises BrokenFileError, UnsupportedError."""
