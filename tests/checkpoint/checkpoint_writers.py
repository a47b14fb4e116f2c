"""Checkpoint files written by hand, byte for byte as PyTorch writes them, or wrong in one chosen way.

Owns the writers that the tests of reading and of attacks share. It never imports a framework and never reads a file.
"""

from __future__ import annotations

import struct
import zlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

STORAGE_NAMES = {
    "f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage", "i8": "LongStorage", "i4": "IntStorage",
    "i2": "ShortStorage", "i1": "CharStorage", "u1": "ByteStorage", "b1": "BoolStorage", "c8": "ComplexFloatStorage",
}  # fmt: skip


@dataclass(eq=False)
class Raw:
    """Pickle opcodes put in as they are."""

    opcodes: bytes


@dataclass(eq=False)
class Name:
    """A class or function by name, as the GLOBAL opcode has it."""

    module: str
    name: str


@dataclass(eq=False)
class Call:
    """REDUCE of a name, with BUILD where there is a state."""

    name: Name
    args: tuple[Any, ...]
    state: Any = None


@dataclass(eq=False)
class Storage:
    """A storage: the bytes of ``content``, described by whatever the other fields say."""

    content: bytes
    kind: str
    count: int
    key: str | None = None
    view: Any = None  # in legacy files: (key, offset, count) of a part


@dataclass(eq=False)
class Tensor:
    """A tensor over a storage; every number may lie."""

    storage: Storage
    offset: Any
    shape: Any
    strides: Any
    function: str = "_rebuild_tensor_v2"
    more: tuple[Any, ...] = field(default_factory=lambda: (False, OrderedDict()))


def tensor(array: np.ndarray, kind: str | None = None) -> Tensor:
    """A contiguous tensor with a storage of its own."""
    array = np.asarray(array)
    kind = kind or STORAGE_NAMES[array.dtype.str[1:]]
    strides = tuple(stride // array.itemsize for stride in np.empty(array.shape, array.dtype).strides)
    return Tensor(Storage(array.tobytes(), kind, array.size), 0, array.shape, strides)


class TorchPickle:
    """Protocol 2 as C pickle writes it for torch.save: memoised in the same places, storages as persistent ids."""

    def __init__(self) -> None:
        self.out = bytearray(b"\x80\x02")
        self.memo: dict[Any, int] = {}
        self.kept: list[Any] = []  # so that no identity is used twice
        self.storages: dict[str, bytes] = {}
        self.keys: dict[int, str] = {}

    def dump(self, value: Any) -> bytes:
        self.save(value)
        return bytes(self.out) + b"."

    def remember(self, key: Any) -> None:
        index = self.memo[key] = len(self.memo)
        self.out += b"q" + bytes([index]) if index < 256 else b"r" + struct.pack("<I", index)

    def save(self, value: Any) -> None:
        known = value if isinstance(value, str) else id(value)
        if isinstance(value, Name):
            known = (value.module, value.name)
        if known in self.memo and value != ():
            index = self.memo[known]
            self.out += b"h" + bytes([index]) if index < 256 else b"j" + struct.pack("<I", index)
            return
        self.kept.append(value)
        getattr(self, "save_" + type(value).__name__)(value)
        if isinstance(value, (str, Name, tuple)) and value != ():
            self.remember(known)

    def save_Raw(self, value: Raw) -> None:
        self.out += value.opcodes

    def save_NoneType(self, value: None) -> None:
        self.out += b"N"

    def save_bool(self, value: bool) -> None:
        self.out += b"\x88" if value else b"\x89"

    def save_int(self, value: int) -> None:
        if 0 <= value < 256:
            self.out += b"K" + bytes([value])
        elif 0 <= value < 65536:
            self.out += b"M" + struct.pack("<H", value)
        elif -(2**31) <= value < 2**31:
            self.out += b"J" + struct.pack("<i", value)
        else:
            raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            self.out += b"\x8a" + bytes([len(raw)]) + raw

    def save_float(self, value: float) -> None:
        self.out += b"G" + struct.pack(">d", value)

    def save_str(self, value: str) -> None:
        raw = value.encode()
        self.out += b"X" + struct.pack("<I", len(raw)) + raw

    def save_tuple(self, value: tuple[Any, ...]) -> None:
        if not value:
            self.out += b")"
            return
        self.out += b"(" if len(value) > 3 else b""
        for item in value:
            self.save(item)
        self.out += b"t" if len(value) > 3 else bytes([0x84 + len(value)])

    def save_list(self, value: list[Any]) -> None:
        self.out += b"]"
        self.remember(id(value))
        self.out += b"(" if value else b""
        for item in value:
            self.save(item)
        self.out += b"e" if value else b""

    def save_dict(self, value: dict[Any, Any]) -> None:
        self.out += b"}"
        self.remember(id(value))
        self.save_items(value)

    def save_OrderedDict(self, value: OrderedDict[Any, Any]) -> None:
        self.save(Name("collections", "OrderedDict"))
        self.out += b")R"
        self.remember(id(value))
        self.save_items(value)

    def save_items(self, value: dict[Any, Any]) -> None:
        self.out += b"(" if len(value) > 1 else b""
        for key, item in value.items():
            self.save(key)
            self.save(item)
        self.out += b"" if not value else b"u" if len(value) > 1 else b"s"

    def save_Name(self, value: Name) -> None:
        self.out += b"c" + value.module.encode() + b"\n" + value.name.encode() + b"\n"

    def save_Call(self, value: Call) -> None:
        self.save(value.name)
        self.save(value.args)
        self.out += b"R"
        self.remember(id(value))
        if value.state is not None:
            self.save(value.state)
            self.out += b"b"

    def save_Storage(self, value: Storage) -> None:
        key = value.key if value.key is not None else self.keys.setdefault(id(value), str(len(self.keys)))
        self.storages[key] = value.content
        module = "torch.storage" if value.kind == "UntypedStorage" else "torch"
        self.save(("storage", Name(module, value.kind), key, "cpu", value.count))
        self.out += b"Q"

    def save_Tensor(self, value: Tensor) -> None:
        self.save(Call(Name("torch._utils", value.function),
                       (value.storage, value.offset, value.shape, value.strides, *value.more)))  # fmt: skip


class LegacyPickle(TorchPickle):
    """The object's pickle as torch <= 1.5 has it: persistent ids of six fields, the last a view or None."""

    def __init__(self, protocol: bytes = b"\x80\x02") -> None:
        super().__init__()
        self.out = bytearray(protocol)
        self.counts: dict[str, int] = {}

    def save_Storage(self, value: Storage) -> None:
        key = value.key if value.key is not None else self.keys.setdefault(id(value), str(1000 - len(self.keys)))
        self.storages[key], self.counts[key] = value.content, value.count
        self.save(("storage", Name("torch", value.kind), key, "cpu", value.count, value.view))
        self.out += b"Q"


def legacy_parts(value: Any, *, keys: list[str] | None = None, counts: dict[str, int] | None = None) -> list[bytes]:
    """The five pickles, then each storage with its length; ``keys`` and ``counts`` may lie."""
    pickler = LegacyPickle()
    body = pickler.dump(value)
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    keys = sorted(pickler.storages) if keys is None else keys
    parts = [TorchPickle().dump(each) for each in (0x1950A86A20F9469CFC6C, 1001, system)]
    parts += [body, TorchPickle().dump(keys)]
    for key in keys:
        count = {**pickler.counts, **(counts or {})}.get(key, 0)
        parts.append(struct.pack("<Q", count % (1 << 64)) + pickler.storages.get(key, b""))
    return parts


def legacy_bytes(value: Any, **options: Any) -> bytes:
    """A whole file of torch <= 1.5 that holds ``value``."""
    return b"".join(legacy_parts(value, **options))


def module(
    name: str,
    parameters: dict[str, Any] | None = None,
    buffers: dict[str, Any] | None = None,
    modules: Any = None,
    **options: Any,
) -> Call:
    """A whole module of the class ``name``, as torch.save(model) pickles it."""
    package, _, short = name.rpartition(".")
    state = {"training": True, "_parameters": OrderedDict(parameters or {}), "_buffers": OrderedDict(buffers or {}),
             "_backward_hooks": OrderedDict(), "_forward_hooks": OrderedDict(), "_forward_pre_hooks": OrderedDict(),
             "_modules": OrderedDict() if modules is None else modules, **options}  # fmt: skip
    return Call(Name(package, short), (), state)


@dataclass
class ZipRecord:
    """One record; what is None is told truly."""

    name: str
    content: bytes
    method: int = 0
    flags: int = 0x0808
    local_name: str | None = None
    local_flags: int | None = None
    crc: int | None = None
    size: int | None = None
    packed_size: int | None = None
    header: int | None = None


def zip_bytes(records: list[ZipRecord]) -> bytes:
    """A zip as PyTorch's writer makes it: data aligned to 64 bytes, sizes after the data, zip64 end record."""
    out, central = bytearray(), bytearray()
    for record in records:
        name, local_name = record.name.encode(), (record.local_name or record.name).encode()
        content, crc = record.content, zlib.crc32(record.content)
        if record.method == 8:
            deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
            content = deflater.compress(content) + deflater.flush()
        crc = crc if record.crc is None else record.crc
        size = len(record.content) if record.size is None else record.size
        packed = len(content) if record.packed_size is None else record.packed_size
        header = len(out) if record.header is None else record.header
        local_flags = record.flags if record.local_flags is None else record.local_flags
        padding = -(len(out) + 34 + len(local_name)) % 64
        out += struct.pack("<4s5H3I2H", b"PK\x03\x04", 0, local_flags, record.method, 0, 0, 0, 0, 0, len(local_name),
                           padding + 4) + local_name + b"FB" + struct.pack("<H", padding) + b"Z" * padding  # fmt: skip
        out += content + struct.pack("<4s3I", b"PK\x07\x08", crc, packed, size)
        central += struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 0, 0, record.flags, record.method, 0, 0, crc, packed, size,
                               len(name), 0, 0, 0, 0, 0, header) + name  # fmt: skip
    at, count = len(out), len(records)
    out += central
    out += struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 0x31E, 0x2D, 0, 0, count, count, len(central), at)
    out += struct.pack("<4sIQI", b"PK\x06\x07", 0, at + len(central), 1)
    return bytes(out + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(central), at, 0))


def torch_records(value: Any, *, byteorder: str | None = "little", root: str = "archive") -> list[ZipRecord]:
    """The records torch.save would write of ``value``."""
    pickler = TorchPickle()
    records = [ZipRecord(f"{root}/data.pkl", pickler.dump(value)), ZipRecord(f"{root}/.format_version", b"1")]
    if byteorder is not None:
        records.append(ZipRecord(f"{root}/byteorder", byteorder.encode()))
    records += [ZipRecord(f"{root}/data/{key}", content) for key, content in pickler.storages.items()]
    return [*records, ZipRecord(f"{root}/version", b"3\n")]


def torch_bytes(value: Any, **options: Any) -> bytes:
    """A whole file that holds ``value``."""
    return zip_bytes(torch_records(value, **options))


def pickle_file(opcodes: bytes) -> bytes:
    """A file of PyTorch whose pickle is ``opcodes``, with one storage of 4 floats under the key 0."""
    content = np.arange(4, dtype="<f4").tobytes()
    return zip_bytes([ZipRecord("archive/data.pkl", opcodes), ZipRecord("archive/data/0", content)])


# The opcodes that leave a tensor of 4 floats, for pickles written by hand.
TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
    b"X\x03\x00\x00\x00cpuK\x04tQK\x00K\x04\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR"
)


def beside_weights(opcodes: bytes) -> bytes:
    """A sound state dict {"w": 4 floats} whose entry "x" is made by ``opcodes``."""
    return pickle_file(b"\x80\x02}(X\x01\x00\x00\x00w" + TENSOR + b"X\x01\x00\x00\x00x" + opcodes + b"u.")
