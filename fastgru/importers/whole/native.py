"""Files that fastgru wrote itself: the layers that the metadata describes, with the tensors that it names.

What the description means is for ``topology``; every weight is taken here as from any other file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...checkpoint.contents import Checkpoint
from ...checkpoint.safetensors import FORMAT, FORMAT_KEY, VERSION_KEY
from ...checkpoint.text import shown
from ...errors import CheckpointError, UnsupportedModelError
from ...gru_weights import GRUSpec
from ...layers import ModelSpec
from ...saved.topology import from_data
from ..tensors import UsedTensors, take_matrix

if TYPE_CHECKING:
    from ...graph.graph import Graph

__all__ = ["model_spec"]


def model_spec(checkpoint: Checkpoint, tensors: Mapping[str, np.ndarray]) -> GRUSpec | ModelSpec | Graph:
    """What ``save`` was given.

    Raises
    ------
    CheckpointError
        The description is damaged, or does not fit the tensors.
    UnsupportedModelError
        A newer version of fastgru wrote it, in a format that this one does not know.
    """
    where = checkpoint.path
    number = str(checkpoint.metadata.get(FORMAT_KEY))
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise CheckpointError(f"{where}: {FORMAT_KEY} is {shown(number)}, wanted a number; the file is damaged")
    if int(number) > FORMAT:
        raise UnsupportedModelError(
            f"{where}: fastgru {shown(checkpoint.metadata.get(VERSION_KEY), 20)} wrote it in format {number}; this "
            f"version reads formats to {FORMAT}, so install a newer fastgru"
        )

    def plain_tensor(name: str) -> Any:
        if name not in tensors:
            raise CheckpointError(f"{where}: tensor {shown(name)} is missing")
        if isinstance(tensors, UsedTensors):
            tensors.use(name)
        return tensors[name]

    config = dict(checkpoint.config or {})
    if set(config) == {"graph"}:
        from ...graph.saved import from_data as graph_from_data

        return graph_from_data(config, plain_tensor, where)

    def tensor(name: str) -> Any:
        if name not in tensors:
            raise CheckpointError(f"{where}: tensor {shown(name)} is missing")
        return take_matrix(tensors, name, (None,) * tensors[name].ndim, where)

    return from_data(config, tensor, where)
