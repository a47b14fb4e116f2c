"""``save``: a GRU or a model as one safetensors file that describes itself.

Weights are written under names that say whose they are, in the precision they have, or in one of fewer bits, of which
``narrowing`` knows what it does to each; the layers stand as JSON in the file's metadata. What that JSON says is for
``topology``, and reading it again is for ``importers.whole.native``.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ..checkpoint.safetensors import FORMAT_KEY, MODEL_KEY, VERSION_KEY
from ..checkpoint.text import parse_json
from ..errors import CheckpointError, DTypeError, FastGRUError, UnsupportedModelError
from ..gru_weights import GRUSpec
from ..layers import ModelSpec
from ..matrices import Matrix
from ..options import Precision, check_precision
from ..origin import raised_in
from ..outputs import replacing
from .narrowing import Written, narrowed
from .topology import from_data, to_data

if TYPE_CHECKING:
    from ..graph.graph import Graph

__all__ = ["save"]

_ALIGNMENT = 8


def save(spec: GRUSpec | ModelSpec | Graph, path: str | os.PathLike[str], precision: Precision | None = None) -> None:
    """Write a description and its weights, so that ``fastgru.load`` gives the same results bit for bit.

    With a precision it does so when it loads in this precision, or in ``"stored"``, which then is this one.

    The file appears whole, in the place of one that is there and with its owner and mode, or not at all.

    Raises
    ------
    FastGRUError
        It cannot be written there; the message says why.
    UnsupportedModelError
        The model has more layers than a file may describe, there is no such precision, or a weight is beyond it.
    """
    if precision is not None:
        check_precision(precision)
    if not isinstance(path, (str, os.PathLike)):
        raise DTypeError(f"got {type(path).__name__} as a path, wanted a str or an os.PathLike")
    name = os.fsdecode(path)
    header, tensors = _contents(spec, precision)
    try:
        with replacing(name) as file:
            _write(file, header, tensors)
    except OSError as error:
        if not raised_in(error, "fastgru", "pathlib"):
            raise
        raise FastGRUError(f"{name}: cannot be written: {error.strerror or error}") from error
    except ValueError as error:  # a path with a null character
        if not raised_in(error, "fastgru", "pathlib", "posixpath", "ntpath", "genericpath"):
            raise
        raise FastGRUError(f"{name!a}: cannot be written: {error}") from error


def _contents(spec: GRUSpec | ModelSpec | Graph, precision: str | None) -> tuple[bytes, list[Written]]:
    """The header of the file, and the tensors in the order in which they follow it."""
    from .. import __version__

    data, named = _described(spec)
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    # those of 8 bytes come first, so that each is aligned
    tensors = dict(sorted(narrowed(data, named, precision).items(), key=lambda item: -item[1].itemsize))
    metadata = {FORMAT_KEY: "3" if "graph" in data else _format(tensors), VERSION_KEY: __version__, MODEL_KEY: text}
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": tensor.kind, "shape": list(tensor.shape), "data_offsets": [start, end]}
    written = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    _check_readable(text, written, named)
    return written + b" " * (-len(written) % _ALIGNMENT), list(tensors.values())


def _described(spec: GRUSpec | ModelSpec | Graph) -> tuple[dict[str, Any], dict[str, np.ndarray | Matrix]]:
    """The layers, or the operations, as data, and their arrays by name."""
    if isinstance(spec, (GRUSpec, ModelSpec)):
        return to_data(spec)
    from ..graph.saved import to_data as graph_to_data

    return graph_to_data(spec)


def _format(tensors: dict[str, Written]) -> str:
    """The first format in which all of this could be written."""
    return "2" if any(tensor.kind == "I8" for tensor in tensors.values()) else "1"


def _check_readable(text: str, header: bytes, tensors: dict[str, np.ndarray | Matrix]) -> None:
    """Raise where ``load`` would refuse the file for its size or its nesting."""
    try:
        parse_json(header, "its header")
        data = parse_json(text.encode(), "its description")
        if "graph" in data:
            from ..graph.saved import from_data as graph_from_data

            graph_from_data(data, tensors.__getitem__, "its description")
        else:
            from_data(data, tensors.__getitem__, "its description")
    except (CheckpointError, UnsupportedModelError) as error:
        raise UnsupportedModelError(f"this model cannot be saved: {error}") from error


def _write(file: BinaryIO, header: bytes, tensors: list[Written]) -> None:
    file.write(len(header).to_bytes(8, "little"))
    file.write(header)
    for each in tensors:
        tensor = each.make()
        plain = np.ascontiguousarray(tensor, dtype=tensor.dtype.newbyteorder("<"))
        file.write(plain.reshape(-1).view(np.uint8).data)
