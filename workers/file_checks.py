"""Whether the files of a model are those that were installed, and read nothing outside."""

from __future__ import annotations

import logging
import time

from cupola.cache.error_text import without_paths
from cupola.cache.model_config import FEW_TOKEN_FILES, FEW_TOKEN_GRAPH
from cupola.cache.system.digests import MANIFEST, DamagedFileError, check_digests
from cupola.workers.graph.external_data import check_graph
from cupola.workers.model.confinement import ConfinementError
from cupola.workers.model.model_folder import ModelFolder, ModelFolderError

logger = logging.getLogger(__name__)


def check_files(folder: ModelFolder) -> None:
    """Raises ModelFolderError if a graph reads files outside, or a file is damaged.

    The graph for few tokens is left to ``few_tokens_are_whole``.
    """
    name = folder.path.name
    began = time.monotonic()
    try:
        if check_digests(folder.path, wanted=lambda each: each not in FEW_TOKEN_FILES):
            logger.info("%s is as it was installed, %.2f s", name, time.monotonic() - began)
        for file in folder.graphs:
            if file == folder.path / FEW_TOKEN_GRAPH:
                continue
            check_graph(file, folder.path)
    except ConfinementError as error:
        raise ModelFolderError(f"{name}: {error}") from error
    except DamagedFileError as error:
        text = (
            f"{name}/{error}; download or import the model again, or delete {MANIFEST} beside it "
            "if you have changed the file on purpose"
        )
        raise ModelFolderError(text) from error


def few_tokens_are_whole(folder: ModelFolder) -> bool:
    """Whether the graph for few tokens can be used. The model does without one that is damaged."""
    try:
        check_digests(folder.path, wanted=lambda each: each in FEW_TOKEN_FILES)
        if (file := folder.few_token_graph) is not None:
            check_graph(file, folder.path)
    except (ConfinementError, DamagedFileError, OSError) as error:
        why, name = without_paths(error, folder.path), folder.path.name
        logger.warning("%s: one answer at a time will be slower: %s", name, why)
        return False
    return True
