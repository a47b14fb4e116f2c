"""What kind of file it is, by its content and never by its suffix, and which reader takes it.

Owns the table of the kinds that are read: a new format is a new row. It reads no further than the first bytes and the
names in a zip. What is known and not read is for ``unread``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from ..records.fields import Fields
from .contents import Checkpoint
from .opened import OpenedFile
from .signatures import (
    KERAS_CONFIG,
    KERAS_METADATA,
    KERAS_WEIGHTS,
    NPY_SUFFIX,
    RNNOISE,
    begins_as_rtneural,
    begins_as_shard_map,
    begins_as_torch_legacy,
    find_hdf5,
)

__all__ = ["kind_of", "reader_of"]


Recogniser = Callable[[OpenedFile], bool]
Reader = Callable[[OpenedFile], Checkpoint]


class Kind(Fields):
    """One row: how a kind of file is recognised, and what reads it; None for one that ``unread`` names."""

    name: str
    recognises: Recogniser
    reader: Reader | None


def reader_of(opened: OpenedFile) -> Reader | None:
    """What reads a file, or None where nothing does."""
    return next((kind.reader for kind in KINDS if kind.recognises(opened)), None)


def kind_of(opened: OpenedFile) -> str | None:
    """What a file is called, with its article; None where it is of no kind that is known."""
    return next((kind.name for kind in KINDS if kind.recognises(opened)), None)


def _reader(place: str) -> Reader:
    """A function of a module of this package, which is imported when it is called: all of them together take 15 ms."""
    module, _, function = place.rpartition(".")

    def read(opened: OpenedFile) -> Checkpoint:
        checkpoint: Checkpoint = getattr(import_module(f".{module}", __package__), function)(opened)
        return checkpoint

    return read


def _head(test: Callable[[bytes], bool]) -> Recogniser:
    """Recognise a file by its first bytes."""
    return lambda opened: test(opened.head)


def _zip_with(test: Callable[[list[str]], bool]) -> Recogniser:
    """Recognise a zip by its names."""
    return lambda opened: opened.is_zip and test(list(opened.archive.names))


def _one_root_with(*inner: str) -> Callable[[list[str]], bool]:
    """All names lie below one folder, and below it each of ``inner`` is a name or the beginning of one."""

    def test(names: list[str]) -> bool:
        root = names[0].split("/")[0] + "/" if names else "/"
        return all(name.startswith(root) for name in names) and all(
            any(name == root + wanted or (wanted.endswith("/") and name.startswith(root + wanted)) for name in names)
            for wanted in inner
        )

    return test


def _is_safetensors(opened: OpenedFile) -> bool:
    """A length that fits a header of at most 100 MB, then the brace that opens it."""
    return opened.head[8:9] == b"{" and int.from_bytes(opened.head[:8], "little") <= 100_000_000


def _has(*wanted: str) -> Callable[[list[str]], bool]:
    return lambda names: set(wanted) <= set(names)


def _is_npy(name: str) -> bool:
    return name.endswith(NPY_SUFFIX)


def _is_distributed(opened: OpenedFile) -> bool:
    """A part of a folder of torch.distributed: by its name, for it is several zips one behind the other."""
    return opened.is_zip and opened.path.endswith(".distcp")


KINDS: tuple[Kind, ...] = (
    Kind("a part of a distributed checkpoint", _is_distributed, None),
    Kind("a TorchScript file", _zip_with(_one_root_with("data.pkl", "code/")),
         _reader("torchscript.file.read_torchscript")),
    Kind("PyTorch's zip format", _zip_with(_one_root_with("data.pkl")), _reader("torch.archive.read_torch_zip")),
    Kind("a torch.export file (.pt2)", _zip_with(_one_root_with("models/")), _reader("torch.export.read_torch_export")),
    Kind("a Keras 3 file", _zip_with(_has(KERAS_CONFIG, KERAS_METADATA, KERAS_WEIGHTS)),
         _reader("keras.archive.read_keras_zip")),
    Kind("a NumPy .npz file", _zip_with(lambda names: bool(names) and all(map(_is_npy, names))),
         _reader("npz.read_npz")),
    Kind("an HDF5 file", _head(lambda head: find_hdf5(head) is not None), _reader("keras.h5.read_keras_h5")),
    Kind("PyTorch's format before version 1.6", _head(begins_as_torch_legacy),
         _reader("torch.legacy.read_torch_legacy")),
    Kind("a safetensors file", _is_safetensors, _reader("safetensors.read_safetensors")),
    Kind("an RNNoise model", _head(lambda head: head.startswith(RNNOISE)), _reader("rnnoise.read_rnnoise")),
    Kind("a map of Keras weights in several files", _head(begins_as_shard_map),
         _reader("keras.shards.read_keras_shards")),
    Kind("an RTNeural model", _head(begins_as_rtneural), _reader("rtneural.read_rtneural")),
)  # fmt: skip
