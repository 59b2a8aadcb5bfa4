"""A model's folder for a worker: ``genai_config.json`` and the files that it names."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cupola.cache.model_config import FEW_TOKEN_GRAPH
from cupola.scheduler.protocol.tasks import SamplingParams
from cupola.workers.model.advice import advice_of_folder
from cupola.workers.model.confinement import (
    ConfinementError,
    check_config,
    check_links,
    parse_config,
)


class ModelFolderError(ValueError):
    """The folder does not hold a model that can be loaded; the text names the file."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """What a worker must know about a model."""

    path: Path
    decoder: Path  # its graph
    context: int  # tokens of prompt and answer together
    end_tokens: frozenset[int]
    head_size: int  # of keys and values; 0: the graph has it
    # The most memory for a token in onnxruntime-genai; 0: the folder does not say.
    cache_bytes_per_token: int = 0
    window: int = 0  # tokens that onnxruntime-genai remembers; 0: all
    # Temperature, top_p, top_k and repetition penalty that the makers advise.
    advised: SamplingParams = field(default_factory=SamplingParams)
    few_tokens: bool = True  # whether its graph for few tokens is used, if it has one

    @classmethod
    def read(cls, path: Path, context_limit: int = 0) -> ModelFolder:
        """Read the folder.

        ``context_limit``: a cap on the model's context; 0: none. Raises ModelFolderError, also for
        a folder that names a library or a file outside.
        """
        config = _read(path / "genai_config.json")
        model = config["model"]
        context = model.get("context_length")
        if not isinstance(context, int) or context < 1:
            raise ModelFolderError(
                f"{path.name}/genai_config.json: model.context_length is missing"
            )
        end = model.get("eos_token_id", [])
        ends = frozenset(end if isinstance(end, list) else [end])
        decoder = model.get("decoder", {})
        filename = decoder.get("filename", "model.onnx")
        if not isinstance(filename, str) or not filename:
            raise ModelFolderError(
                f"{path.name}/genai_config.json: model.decoder.filename is not the name of a file"
            )
        graph = path / filename
        limit = min(context, context_limit or context)
        head_size = decoder.get("head_size", 0)
        cache = _cache_bytes(decoder)
        window = decoder.get("sliding_window", {}).get("window_size", 0)
        advised = advice_of_folder(config.get("search"))
        return cls(path, graph, limit, ends, head_size, cache, window, advised)

    @property
    def graphs(self) -> list[Path]:
        """All graphs in the folder, whichever of them a runtime reads."""
        found = {self.decoder, *self.path.rglob("*.onnx")}
        return sorted(file for file in found if file.is_file())

    @property
    def few_token_graph(self) -> Path | None:
        """The decoder with fewer bits, for few tokens. None: there is none, or it is not used."""
        file = self.path / FEW_TOKEN_GRAPH
        return file if self.few_tokens and file.is_file() else None

    @property
    def decoder_bytes(self) -> int:
        """Size of the decoder's graph and of the weights beside it."""
        return graph_bytes(self.decoder)


def graph_bytes(graph: Path) -> int:
    """Size of a graph and of the weights beside it."""
    return sum(file.stat().st_size for file in graph.parent.glob(f"{graph.name}*"))


def _cache_bytes(decoder: dict[str, Any]) -> int:
    """Bytes of one token's keys and values in float32."""
    names = ("num_hidden_layers", "num_key_value_heads", "head_size")
    layers, heads, size = (int(decoder.get(name, 0)) for name in names)
    return 2 * 4 * layers * heads * size


def _read(file: Path) -> dict[str, Any]:
    name = f"{file.parent.name}/{file.name}"
    try:
        config = parse_config(file.read_text("utf-8"))
    except OSError as error:
        raise ModelFolderError(f"{name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ModelFolderError(f"{name} cannot be read: {error}") from error
    try:
        check_config(config)
        check_links(file.parent)
    except ConfinementError as error:
        raise ModelFolderError(f"{file.parent.name}: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise ModelFolderError(f"{name}: 'model' is missing")
    return config
