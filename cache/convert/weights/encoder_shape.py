"""The shape of an encoder, what tells its layers from BERT's, and where its weights come from."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from cupola.cache.errors import BrokenFileError, UnsupportedError

# RoBERTa's positions begin behind the number of the padding token.
_ROBERTAS = ("roberta", "xlm-roberta")
MODEL_TYPES = ("bert", *_ROBERTAS)
_CLASSIFIERS = (
    "BertForSequenceClassification",
    "RobertaForSequenceClassification",
    "XLMRobertaForSequenceClassification",
)
Values = npt.NDArray[np.float32]


class Positions(enum.Enum):
    """How a layer learns where a token is."""

    LEARNED = enum.auto()  # an embedding for each place
    ROTARY = enum.auto()  # queries and keys are rotated
    ALIBI = enum.auto()  # attention falls with the distance


@dataclass(frozen=True, slots=True)
class EncoderTraits:
    """What a family's layers are. BERT's are the default."""

    positions: Positions = Positions.LEARNED
    first_position: int = 0  # the row of the first token in the embedding of places
    rope_base: float = 10000.0
    gate: str = ""  # the operator of a gated feed-forward layer; empty: there is no gate
    all_biases: bool = True  # False: those that the file has
    # The layers that score a pair. Behind the first one is a tanh. If it has a row for each
    # channel, the second one follows.
    dense: str = "pooler.dense"
    classifier: str = "classifier"


BERT = EncoderTraits()


def _two_labels() -> dict[str, str]:
    """What transformers takes for granted where a config.json names none."""
    return {"0": "LABEL_0", "1": "LABEL_1"}


class EncoderShape(msgspec.Struct, frozen=True):
    """The part of an encoder's config.json that its graph depends on."""

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
    pad_token_id: int = 1
    architectures: tuple[str, ...] = ()
    id2label: dict[str, str] = msgspec.field(default_factory=_two_labels)

    @property
    def ranks(self) -> bool:
        """Whether it is a cross-encoder, which reads a query and a document together."""
        return not set(_CLASSIFIERS).isdisjoint(self.architectures)

    @property
    def tells_texts_apart(self) -> bool:
        """Whether it reads of each token to which text of a pair it belongs."""
        return self.ranks and self.type_vocab_size > 1

    @property
    def context(self) -> int:
        """How many tokens it can read."""
        return self.max_position_embeddings - self.traits.first_position

    @property
    def traits(self) -> EncoderTraits:
        """Those of a model of the hub."""
        if self.model_type not in _ROBERTAS:
            return BERT
        return EncoderTraits(
            first_position=self.pad_token_id + 1,
            dense="classifier.dense",
            classifier="classifier.out_proj",
        )

    def check_epsilon(self, path: object) -> None:
        """Raises BrokenFileError for one with which ONNX Runtime opens no model."""
        if not 0 < np.float32(self.layer_norm_eps) < 1:
            raise BrokenFileError(f"{path}: the epsilon of its norms is {self.layer_norm_eps:g}")

    def check(self) -> None:
        """Raises UnsupportedError for a config.json of another kind of encoder, BrokenFileError."""
        self.check_epsilon("config.json")
        if self.ranks and len(self.id2label) != 1:
            text = f"config.json: a classifier of {len(self.id2label)} labels does not rank"
            raise UnsupportedError(f"{text}; one of a single label does")
        for name, known in (
            ("model_type", MODEL_TYPES),
            ("hidden_act", ("gelu",)),
            ("position_embedding_type", ("absolute",)),
        ):
            if (value := getattr(self, name)) not in known:
                names = "' or '".join(known)
                raise UnsupportedError(f"config.json: {name} is '{value}', not '{names}'")


class EncoderWeights(Protocol):
    """The tensors of an encoder by the names of the hub, in a file of any kind."""

    def __contains__(self, name: str) -> bool: ...

    def tensor(self, name: str, shape: tuple[int, ...]) -> Values:
        """The values of the tensor ``name``. Raises BrokenFileError, UnsupportedError."""
