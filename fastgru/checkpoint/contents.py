"""What every reader hands on: the tensors of a file by name, and what the file says of itself.

Owns the ``Checkpoint`` mapping and nothing else; it opens no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..records.fields import Fields

__all__ = ["Checkpoint"]


class Checkpoint(Mapping[str, np.ndarray], Fields):
    """The tensors of a file, by name, in the file's order.

    Attributes
    ----------
    path : str
        Where it was read from.
    format : str
        ``"pytorch-zip"``, ``"pytorch-legacy"``, ``"torchscript"``, ``"torch-export"``, ``"safetensors"``, ``"npz"``,
        ``"fastgru"``, ``"keras"``, ``"keras-h5"``, ``"keras-weights"``, ``"rtneural"`` or ``"rnnoise"``.
    tensors : dict of str to ndarray
        float16 and bfloat16 are widened to float32, what was quantised is multiplied by its steps; every other type is
        as in the file.
    config : dict or None
        The file's own description of its layers, as plain data. None where it holds only weights.
    metadata : dict
        What else the file says of itself: versions, who wrote it, and ``"skipped"``, the names of objects in it
        that are not tensors.
    stored : dict of str to str
        The type that a tensor has in the file, by its name, where ``tensors`` has it widened or dequantised:
        ``"float16"``, ``"bfloat16"``, ``"int8"``, ``"uint8"`` or ``"int32"``.
    """

    path: str
    format: str
    tensors: dict[str, np.ndarray]
    config: dict[str, Any] | None
    metadata: dict[str, Any]
    stored: dict[str, str]

    def __init__(
        self,
        path: str,
        format: str,
        tensors: dict[str, np.ndarray],
        config: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        stored: dict[str, str] | None = None,
    ) -> None:
        super().__init__(path, format, tensors, config, {} if metadata is None else metadata, stored or {})

    def __getitem__(self, name: str) -> np.ndarray:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __repr__(self) -> str:
        total = sum(tensor.size for tensor in self.tensors.values())
        return f"Checkpoint({self.path!r}, format={self.format!r}, {len(self)} tensors, {total:,} numbers)"
