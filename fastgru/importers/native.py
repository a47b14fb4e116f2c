"""Files that fastgru wrote itself: the layers that the metadata describes, with the tensors that it names.

What the description means is for ``topology``; every weight is taken here as from any other file.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..checkpoint.contents import Checkpoint
from ..checkpoint.safetensors_file import FORMAT, FORMAT_KEY, VERSION_KEY
from ..checkpoint.text import shown
from ..errors import CheckpointError, UnsupportedModelError
from ..spec import GRUSpec, ModelSpec
from ..topology import from_data
from .tensors import take

__all__ = ["model_spec"]


def model_spec(checkpoint: Checkpoint, tensors: Mapping[str, np.ndarray]) -> GRUSpec | ModelSpec:
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

    def tensor(name: str) -> np.ndarray:
        if name not in tensors:
            raise CheckpointError(f"{where}: tensor {shown(name)} is missing")
        return take(tensors, name, (None,) * tensors[name].ndim, where)

    return from_data(dict(checkpoint.config or {}), tensor, where)
