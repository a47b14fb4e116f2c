"""PyTorch's tensors as a pickle describes them, and the arrays they stand for once every number has been checked.

Owns the table of element types, the calls that make tensors, and the bounds: a tensor never reaches beyond its storage,
and the copies made of views never take more memory than the file warrants. It opens no file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeGuard

import numpy as np

from ...errors import CheckpointError
from ...records.fields import Fields
from ...records.sealed import sealed
from ..pickle.inert import Built, Global
from ..pickle.values import STANDARD, Builder
from ..text import shown

__all__ = ["TORCH_BUILDERS", "Storage", "TensorMaker", "TensorRecord", "element_size", "is_count", "storage_of"]

MAX_DIMENSIONS = 8
MAX_SIZES = 64  # looked at at all
MAX_ELEMENTS = 1 << 48
COPY_SLACK = 32 << 20  # what copies of views may take beyond three times the file

# As NumPy types without byte order. bfloat16 is the upper half of a float32.
_ELEMENTS = {
    "float32": "f4", "float64": "f8", "float16": "f2", "bfloat16": "u2", "int64": "i8", "int32": "i4", "int16": "i2",
    "int8": "i1", "uint8": "u1", "uint16": "u2", "uint32": "u4", "uint64": "u8", "bool": "u1", "complex64": "c8",
    "complex128": "c16", "qint8": "i1", "quint8": "u1", "qint32": "i4", "untyped": "u1",
}  # fmt: skip
_REDUCED = {"float16": "float16", "bfloat16": "bfloat16", "qint8": "int8", "quint8": "uint8", "qint32": "int32"}
_ALIASES = {"float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32",
            "short": "int16", "cfloat": "complex64", "cdouble": "complex128"}  # fmt: skip
_STORAGES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128", "QInt8Storage": "qint8", "QUInt8Storage": "quint8", "QInt32Storage": "qint32",
    "UntypedStorage": "untyped",
}  # fmt: skip


class Storage(Built, Fields):
    """A block of elements in the file, by the key under which its bytes lie."""

    key: str
    element: str
    count: int  # elements; bytes where the element is "untyped"


class TensorRecord(Built, Fields):
    """A view of a storage, with the numbers as the file has them: not checked yet, except that they are integers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    element: str
    scale: float | None = None  # of a tensor quantised as a whole
    zero_point: int = 0
    channels: Channels | None = None  # of a tensor quantised by channel

    @property
    def is_scalar(self) -> bool:
        return not self.shape


class Channels(Fields):
    """What a tensor quantised by channel has in place of one scale and one zero point: one of each along ``axis``."""

    scales: TensorRecord
    zero_points: TensorRecord
    axis: int


def is_count(value: Any) -> TypeGuard[int]:
    """An integer of the file that may be used as a size: not a bool, not negative."""
    return type(value) is int and value >= 0


def storage_of(kind: Any, key: Any, count: Any) -> Storage | None:
    """The storage of a persistent id, or None where the fields are not a class name, a text and a number."""
    if not isinstance(kind, Global) or not isinstance(key, str) or not is_count(count):
        return None
    if kind.module not in ("torch", "torch.cuda", "torch.storage"):
        return None
    return Storage(key, _STORAGES.get(kind.name, kind.name), count)


def element_size(element: str) -> int | None:
    """The bytes of one element in a storage; None of a type that is not known."""
    kind = _ELEMENTS.get(element)
    return None if kind is None else int(kind[1:])


def _tensor(args: tuple[Any, ...]) -> Any:
    """_rebuild_tensor(storage, offset, size, stride) and _v2(..., requires_grad, hooks, metadata)."""
    if len(args) < 4 or not isinstance(args[0], Storage):
        return NotImplemented
    storage, offset, shape, strides = args[:4]
    if len(args) > 6 and args[6]:
        return NotImplemented  # a lazy negation or conjugation
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or len(shape) + len(strides) > MAX_SIZES:
        return NotImplemented
    if not all(type(size) is int for size in (offset, *shape, *strides)):
        return NotImplemented
    return TensorRecord(storage, offset, shape, strides, storage.element)


def _tensor_v3(args: tuple[Any, ...]) -> Any:
    """_rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype[, metadata])."""
    record = _tensor(args[:4])
    if record is NotImplemented or len(args) < 7 or not isinstance(args[6], Global) or args[6].module != "torch":
        return NotImplemented
    return record.replace(element=_ALIASES.get(args[6].name, args[6].name))


def _parameter(args: tuple[Any, ...]) -> Any:
    """_rebuild_parameter(data, requires_grad, hooks[, state]) is its data."""
    return args[0] if args and isinstance(args[0], TensorRecord) else NotImplemented


def _typed(args: tuple[Any, ...]) -> Any:
    """_rebuild_from_type_v2(function, type, args, state): a tensor with Python attributes is the tensor."""
    if len(args) < 3 or not isinstance(args[0], Global) or not isinstance(args[2], tuple):
        return NotImplemented
    builder = _TENSORS.get((args[0].module, args[0].name))
    return builder(args[2]) if builder is not None and builder is not _typed else NotImplemented


def _quantised(args: tuple[Any, ...]) -> Any:
    """_rebuild_qtensor(storage, offset, size, stride, (scheme, scale, zero point), ...).

    By channel the scheme has a tensor of scales, one of zero points, and the axis they lie along.
    """
    record = _tensor(args[:4])
    if record is NotImplemented or not record.element.startswith("q") or len(args) < 5:
        return NotImplemented
    scheme = args[4]
    if not isinstance(scheme, tuple) or len(scheme) not in (3, 4) or not isinstance(scheme[0], Global):
        return NotImplemented
    if (scheme[0].name, len(scheme)) == ("per_tensor_affine", 3):
        scale, zero_point = scheme[1:]
        if type(scale) is not float or type(zero_point) is not int or abs(zero_point) > 1 << 31:
            return NotImplemented
        return record.replace(scale=scale, zero_point=zero_point)
    if (scheme[0].name, len(scheme)) == ("per_channel_affine", 4):
        scales, zero_points, axis = scheme[1:]
        plain = all(isinstance(each, TensorRecord) and each.channels is None for each in (scales, zero_points))
        if plain and is_count(axis) and axis < len(record.shape):
            return record.replace(channels=Channels(scales, zero_points, axis))
    return NotImplemented


def _size(args: tuple[Any, ...]) -> Any:
    """torch.Size((...)) is the tuple."""
    if len(args) != 1 or not isinstance(args[0], (tuple, list)) or not all(type(size) is int for size in args[0]):
        return NotImplemented
    return tuple(args[0])


_TENSORS: dict[tuple[str, str], Builder] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_v3,
    ("torch._utils", "_rebuild_qtensor"): _quantised,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _typed,
    ("torch.nn.parameter", "Parameter"): _parameter,  # as torch 0.1 to 0.3 wrote both
    ("torch.autograd.variable", "Variable"): _parameter,
    ("torch", "Size"): _size,
}
TORCH_BUILDERS: dict[tuple[str, str], Builder] = {**STANDARD, **_TENSORS}


class TensorMaker:
    """Turns records into read-only C-contiguous arrays; tied tensors come out as one array.

    ``stored`` has the type in the file of those that were widened or dequantised, by name.

    Parameters
    ----------
    read_storage : function of (key, bytes wanted) to bytes or a view of them
        Gives exactly the bytes of a storage or raises; called again for a storage that was let go.
    big_endian : bool
        The byte order of the elements.
    file_size : int
        What the memory taken by copies is measured against.
    where : str
        What messages begin with.
    """

    def __init__(
        self, read_storage: Callable[[str, int], bytes | memoryview], *, big_endian: bool, file_size: int, where: str
    ) -> None:
        self._read_storage, self._where = read_storage, where
        self._order = ">" if big_endian else "<"
        self._budget = 3 * file_size + COPY_SLACK
        self._storages: dict[str, bytes | memoryview] = {}
        self._made: dict[str, np.ndarray] = {}
        self.stored: dict[str, str] = {}

    def make(self, name: str, record: TensorRecord) -> np.ndarray:
        """The array of ``record``; float16 and bfloat16 are widened to float32."""
        fields = _identity(record)
        if fields not in self._made:
            place = f"{self._where}: tensor {shown(name)}"
            view = self._view(record, place)
            if record.channels is None:
                array = self._finish(view, record, place)
            else:
                array = self._by_channel(view, record.channels, name, place)
            if array is not view and view.size == record.storage.count:
                # nothing else is left in it: a file of 16-bit floats would take half as much again
                self._storages.pop(record.storage.key, None)
            self._made[fields] = sealed(array)
        if record.element in _REDUCED:
            self.stored[name] = _REDUCED[record.element]
        return self._made[fields]

    def _view(self, record: TensorRecord, place: str) -> np.ndarray:
        """The elements in place, strided over the storage, after every check."""
        storage = record.storage
        element, unit = _ELEMENTS.get(record.element), _ELEMENTS.get(storage.element)
        if element is None or unit is None:
            unknown = record.element if element is None else storage.element
            raise CheckpointError(f"{place}: its type {shown(unknown)} is not supported; save it as float32")
        size, span = int(element[1:]), _span(record, place)
        held = storage.count * int(unit[1:])
        if (record.offset + span) * size > held:
            raise CheckpointError(
                f"{place}: it ends at element {record.offset + span} of a storage of {held // size}; "
                "the file is damaged"
            )
        content = self._storages.get(storage.key)
        if content is None:
            content = self._storages[storage.key] = self._read_storage(storage.key, held)
        if len(content) != held:
            raise CheckpointError(f"{place}: its storage has {len(content)} bytes, wanted {held}; the file is damaged")
        dtype = np.dtype(self._order + element)
        if span == 0:
            return np.empty(record.shape, dtype)
        strides = tuple(
            stride * size if extent > 1 else size for stride, extent in zip(record.strides, record.shape, strict=True)
        )
        view: np.ndarray = np.ndarray(record.shape, dtype, content, record.offset * size, strides)
        return view

    def _finish(self, view: np.ndarray, record: TensorRecord, place: str) -> np.ndarray:
        """Contiguous, in the machine's byte order, widened where the type asks for it, and read-only."""
        wanted = {"float16": "f4", "bfloat16": "f4", "bool": "?"}.get(record.element, _ELEMENTS[record.element])
        dtype = np.dtype("f4" if record.scale is not None else wanted)
        if view.dtype != dtype or not view.flags.c_contiguous or record.scale is not None:
            self._charge(view.size * dtype.itemsize, place)
        if record.scale is not None:
            array = view.astype(np.float32)
            array -= np.float32(record.zero_point)
            array *= np.float32(record.scale)
        elif record.element == "bfloat16":
            bits = view.astype(np.uint32, order="C")
            bits <<= 16
            array = bits.view(np.float32)
        else:
            array = view.astype(dtype, order="C", copy=False)
        return array

    def _by_channel(self, view: np.ndarray, channels: Channels, name: str, place: str) -> np.ndarray:
        """(q - zero point) * scale in float32, as PyTorch dequantises, with one of each along an axis."""
        self._charge(4 * view.size, place)
        scales, zero_points = self.make(name, channels.scales), self.make(name, channels.zero_points)
        shape = [1] * view.ndim
        shape[channels.axis] = view.shape[channels.axis]
        if any(each.shape != (shape[channels.axis],) or each.dtype.kind not in "fi" for each in (scales, zero_points)):
            raise CheckpointError(
                f"{place}: it has {scales.shape} scales and {zero_points.shape} zero points along axis "
                f"{channels.axis} of {view.shape}, wanted one number for each; the file is damaged"
            )
        array = view.astype(np.float32, order="C")
        array -= zero_points.astype(np.float32).reshape(shape)
        array *= scales.astype(np.float32).reshape(shape)
        return array

    def _charge(self, size: int, place: str) -> None:
        self._budget -= size
        if self._budget < 0:
            raise CheckpointError(f"{place}: with it the tensors take far more memory than the file has bytes")


def _identity(record: TensorRecord) -> str:
    """What tells a record from others; text, because a hash of the file's numbers could be made to collide."""
    storage, channels = record.storage, record.channels
    fields = repr((storage.key, storage.element, storage.count, record.offset, record.shape, record.strides,
                   record.element, record.scale, record.zero_point))  # fmt: skip
    if channels is None:
        return fields
    return f"{fields} {_identity(channels.scales)} {_identity(channels.zero_points)} {channels.axis}"


def _span(record: TensorRecord, place: str) -> int:
    """How many elements lie from the first to behind the last: zero for an empty tensor."""
    if len(record.shape) > MAX_DIMENSIONS or len(record.shape) != len(record.strides):
        raise CheckpointError(
            f"{place}: it has {len(record.shape)} sizes and {len(record.strides)} strides, "
            f"wanted the same number, at most {MAX_DIMENSIONS}"
        )
    if min((record.offset, *record.shape, *record.strides)) < 0:
        raise CheckpointError(f"{place}: it has a negative offset, size or stride; the file is damaged")
    if math.prod(max(extent, 1) for extent in record.shape) > MAX_ELEMENTS:
        raise CheckpointError(f"{place}: its sizes multiply to more than {MAX_ELEMENTS} elements; the file is damaged")
    if 0 in record.shape:
        return 0
    return 1 + sum((extent - 1) * stride for extent, stride in zip(record.shape, record.strides, strict=True))
