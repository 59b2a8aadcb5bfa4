"""The files in which a graph's weights lie: none of them may be outside the model's folder.

onnxruntime refuses such files itself when it starts a session. This check also covers what is read
without a session, and its errors are shorter and show no paths of the machine.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

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


def stored_array(tensor: TensorProto, folder: Path) -> NDArray[np.generic]:
    """The values of an initializer, mapped where they lie in a file of ``folder``.

    ``onnx`` itself refuses a file that has a second hard link, and copies of a model's folder may
    consist of such. The graph must have been checked. Raises OSError, ValueError.
    """
    stored = {entry.key: entry.value for entry in tensor.external_data}
    if "location" not in stored:
        return numpy_helper.to_array(tensor)
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    offset, shape = int(stored.get("offset", 0)), tuple(tensor.dims)
    return np.memmap(folder / stored["location"], dtype, "r", offset, shape)
