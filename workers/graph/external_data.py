"""The files in which a graph's weights lie: none of them may be outside the model's folder.

onnxruntime refuses such files itself when it starts a session. This check also covers what is read
without a session, and its errors are shorter and show no paths of the machine.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from cupola.cache.convert.formats.external_data import external_locations
from cupola.cache.system.confined_names import leads_out
from cupola.workers.model.confinement import ConfinementError


def check_graph(file: Path, folder: Path) -> None:
    """The graph's weights lie in files of the folder. Raises ConfinementError, OSError.

    A file that is no graph is left to the runtime, which refuses it.
    """
    try:
        model = onnx.load(str(file), load_external_data=False)
    except DecodeError:
        return
    for location in sorted(set(external_locations(model))):
        if leads_out(location):
            raise ConfinementError(
                f"{file.name} has its weights in a file outside the model's folder; a model may "
                "only use its own files"
            )
        if not any((each / location).is_file() for each in (file.parent, folder)):
            raise ConfinementError(
                f"{file.name} has its weights in {location}, which is not in the model's folder; "
                "download the model again"
            )
