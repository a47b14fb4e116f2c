"""``save``: a GRU or a model as one safetensors file that describes itself.

Weights are written under names that say whose they are, in the precision they have, or in one of fewer bits, of which
``narrowing`` knows what it does to each; the layers stand as JSON in the file's metadata. What that JSON says is for
``topology``, and reading it again is for ``importers.whole.native``.
"""

from __future__ import annotations

import json
import os
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ..checkpoint.packed_file import (
    CHECKSUM_KEY,
    NO_DIGITS,
    PACKED_KEY,
    WORDS,
    description_of,
    words_in_file,
    words_to_write,
)
from ..checkpoint.safetensors import FORMAT_KEY, LENGTH_BYTES, MODEL_KEY, VERSION_KEY
from ..checkpoint.text import parse_json
from ..engine.packed import PackedMatrix
from ..errors import CheckpointError, DTypeError, FastGRUError, UnsupportedModelError
from ..gru import GRU
from ..gru_weights import GRUSpec
from ..layers import ModelSpec
from ..options import Precision, check_precision, kernel_table
from ..origin import raised_in
from ..outputs import replacing
from ..weights.from_file import check_is_kept, matrices_of
from ..weights.matrices import Matrix, read_again
from .narrowing import Written, narrowed
from .topology import from_data, names_of_matrices, to_data

if TYPE_CHECKING:
    from ..graph.graph import Graph
    from ..model import Model

__all__ = ["save", "save_model"]

_ALIGNMENT = 8


def save_model(model: GRU | Model, path: str | os.PathLike[str], precision: Precision | None, packed: bool) -> None:
    """``save`` of a model, or of the same in another precision, whose own weights are then packed."""
    if precision is not None:
        check_precision(precision)
    if packed and precision not in (None, model.precision):
        model = model.astype(precision)
    precision = model.precision if packed else precision
    description = model.spec if isinstance(model, GRU) else model.description
    sources = read_again(matrices_of(description), precision, model.precision)  # noqa: F841 - held while they are asked
    save(description, path, precision, packed)


def save(
    spec: GRUSpec | ModelSpec | Graph,
    path: str | os.PathLike[str],
    precision: Precision | None = None,
    packed: bool = False,
) -> None:
    """Write a description and its weights, so that ``fastgru.load`` gives the same results bit for bit.

    With a precision it does so when it loads in this precision, or in ``"stored"``, which then is this one. Packed
    weights are written as the model of the description has them.

    The file appears whole, in the place of one that is there and with its owner and mode, or not at all.

    Raises
    ------
    FastGRUError
        It cannot be written there, or is the file that alone has the weights as they were before rounding.
    UnsupportedModelError
        The model has more layers than a file may describe, there is no such precision, or a weight is beyond it.
    """
    if precision is not None:
        check_precision(precision)
    if not isinstance(path, (str, os.PathLike)):
        raise DTypeError(f"got {type(path).__name__} as a path, wanted a str or an os.PathLike")
    name = os.fsdecode(path)
    if not name:
        raise FastGRUError("got '' as a path, which cannot be written; wanted the name of a file")
    check_is_kept(spec, name, precision)
    header, tensors = _contents(spec, precision, packed)
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


def _contents(spec: GRUSpec | ModelSpec | Graph, precision: str | None, packed: bool) -> tuple[bytes, list[Written]]:
    """The header of the file, and the tensors in the order in which they follow it."""
    from .. import __version__

    data, named = _described(spec)
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    matrices = _packed(data, named, precision) if packed else {}
    others = {name: array for name, array in named.items() if name not in matrices}
    # packed ones come first, and then those of 8 bytes, so that each is aligned
    tensors = {
        name: Written("F32", (words_in_file(each),), partial(words_to_write, each)) for name, each in matrices.items()
    }
    tensors |= dict(sorted(narrowed(data, others, precision).items(), key=lambda item: -item[1].itemsize))
    metadata = {FORMAT_KEY: "3" if "graph" in data else _format(tensors), VERSION_KEY: __version__, MODEL_KEY: text}
    if packed:
        level = kernel_table().name
        metadata |= {FORMAT_KEY: "4", PACKED_KEY: description_of(matrices, level), CHECKSUM_KEY: NO_DIGITS}
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": tensor.kind, "shape": list(tensor.shape), "data_offsets": [start, end]}
    written = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    _check_readable(text, written, named)
    filled = -(LENGTH_BYTES + len(written)) % (4 * WORDS if packed else _ALIGNMENT)
    return written + b" " * filled, list(tensors.values())


def _packed(
    data: dict[str, Any], named: dict[str, np.ndarray | Matrix], precision: str | None
) -> dict[str, PackedMatrix]:
    """The matrices of the GRUs as their model has them packed."""
    from ..graph.saved import names_in_graph

    names = names_in_graph(data)[0] if "graph" in data else names_of_matrices(data)
    made = {name: each.packed for name, each in named.items() if name in names and isinstance(each, Matrix)}
    missing = [name for name in names if made.get(name) is None]
    if missing or not names:
        what = f"{min(missing)} is not" if missing else "there are no GRUs"
        raise UnsupportedModelError(
            f"packed=True: {what} packed in {precision} by the kernels {kernel_table().name!r}; these pack float32 and "
            "the smaller precisions (float16 where it is the faster), with the activations of "
            'fastgru.activations.GATE_ACTIVATIONS and backend="packed"; leave packed out, or take float32 or bfloat16'
        )
    return made


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
    content = len(header).to_bytes(LENGTH_BYTES, "little") + header
    file.write(content)
    made = zlib.crc32(content)
    for each in tensors:
        tensor = each.make()
        plain = np.ascontiguousarray(tensor, dtype=tensor.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data
        file.write(plain)
        made = zlib.crc32(plain, made)
    key = f'"{CHECKSUM_KEY}":"'.encode()
    if key in content:
        file.seek(content.index(key) + len(key))
        file.write(f"{made:08x}".encode())
        file.seek(0, os.SEEK_END)
