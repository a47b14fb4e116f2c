"""What kind of file it is, by its content and never by its suffix; then one reader, or a refusal that says what to do.

Owns the table of kinds: a new format is a new row. It reads no further than the first bytes and the names in a zip.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module

from ..errors import CheckpointError, UnsupportedModelError
from ..fields import Fields
from .contents import Checkpoint
from .opened import OpenedFile, open_checkpoint
from .signatures import (
    KERAS_CONFIG,
    KERAS_METADATA,
    KERAS_WEIGHTS,
    NPY,
    NPY_SUFFIX,
    RNNOISE,
    begins_as_rtneural,
    begins_as_shard_map,
    begins_as_torch_legacy,
    find_hdf5,
)
from .text import shown

__all__ = ["read"]


Recogniser = Callable[[OpenedFile], bool]
Reader = Callable[[OpenedFile], Checkpoint]


class Kind(Fields):
    """One row: how a kind of file is recognised, and what reads it or what its owner should do instead."""

    name: str
    recognises: Recogniser
    reader: Reader | None = None
    advice: str = ""


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """Read the tensors of a checkpoint, whatever it is called.

    Parameters
    ----------
    path : str or os.PathLike
        A PyTorch file (zip, of 1.5 and older, TorchScript or ``torch.export``), a safetensors file, an ``.npz`` file, a
        Keras 3 ``.keras`` file, an HDF5 file of any Keras, or the ``.weights.json`` of one that is split, an RTNeural
        JSON model or an RNNoise model.

    Returns
    -------
    Checkpoint
        A mapping of name to ndarray, with ``.format``, ``.config`` and ``.metadata``.

    Raises
    ------
    CheckpointError
        There is no such file, or it is damaged, hostile or not a checkpoint.
    UnsupportedModelError
        It is a known kind of model file that is not read; the message says what to do.
    MissingDependencyError
        A library that this format needs is not installed.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     np.savez(file, weight=np.zeros((3, 2), np.float32))
    ...     file.flush()
    ...     checkpoint = read(file.name)
    >>> checkpoint.format, checkpoint["weight"].shape
    ('npz', (3, 2))
    """
    with open_checkpoint(path) as opened:
        for kind in KINDS:
            if kind.recognises(opened):
                break
        else:
            raise CheckpointError(
                f"{opened.path}: it is no kind of file fastgru knows (it begins with "
                f"{opened.head[:8].hex(' ')}); wanted a file of PyTorch, Keras, safetensors, npz, RTNeural or RNNoise"
            )
        if kind.reader is None:
            raise UnsupportedModelError(f"{opened.path}: it is {kind.name}, which is not read; {kind.advice}")
        return kind.reader(opened)


def _reader(place: str) -> Reader:
    """A function of a module of this package, which is imported when it is called: all of them together take 15 ms."""
    module, function = place.split(".")

    def read(opened: OpenedFile) -> Checkpoint:
        checkpoint: Checkpoint = getattr(import_module(f".{module}", __package__), function)(opened)
        return checkpoint

    return read


def _head(test: Callable[[bytes], bool]) -> Recogniser:
    """Recognise a file by its first bytes."""
    return lambda opened: test(opened.head)


def _begins(*magic: bytes, at: int = 0) -> Recogniser:
    return lambda opened: any(opened.head[at : at + len(word)] == word for word in magic)


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


def _is_torch_tar(opened: OpenedFile) -> bool:
    """A tar whose first file is one of the four that PyTorch 0.1 put into it."""
    first = opened.head[:100].rstrip(b"\0")
    return opened.head[257:262] == b"ustar" and first in (b"sys_info", b"pickle", b"tensors", b"storages")


def _is_onnx(opened: OpenedFile) -> bool:
    """A protobuf whose first field is a small ir_version, followed by the producer or the graph."""
    head = opened.head
    return len(head) > 3 and head[0] == 0x08 and 0 < head[1] < 32 and head[2] in (0x12, 0x1A, 0x3A)


def _is_pickled_keras(opened: OpenedFile) -> bool:
    """A pickle that calls what Keras 2 or Keras 3 unpickles its models by, also within another object."""
    if not opened.head.startswith(b"\x80"):
        return False
    calls = (b"deserialize_model_from_bytecode", b"_unpickle_model")
    return any(call in opened.head for call in calls) or (
        b"keras" in opened.head and any(call in opened.read_all() for call in calls)
    )


def _has(*wanted: str) -> Callable[[list[str]], bool]:
    return lambda names: set(wanted) <= set(names)


def _is_npy(name: str) -> bool:
    return name.endswith(NPY_SUFFIX)


def _refuse_zip(opened: OpenedFile) -> Checkpoint:
    names = list(opened.archive.names)
    listed = ", ".join(shown(name, 40) for name in names[:5]) or "nothing"
    raise CheckpointError(
        f"{opened.path}: it is a zip of {len(names)} files ({listed}); wanted one folder with a "
        f"data.pkl (PyTorch) or {KERAS_CONFIG}, {KERAS_METADATA} and {KERAS_WEIGHTS} (Keras 3)"
    )


_SAVE_STATE_DICT = "load it where it was made and save the weights: torch.save(model.state_dict(), path)"
_SAVE_PICKLED_KERAS = "load it where it was made and save it by Keras itself: model.save('model.keras')"
_SAVE_KERAS = "open it with the Keras that wrote it and save it as a .keras file of Keras 3"

KINDS: tuple[Kind, ...] = (
    Kind("a TorchScript file", _zip_with(_one_root_with("data.pkl", "code/")), _reader("torchscript.read_torchscript")),
    Kind("a TorchScript file of PyTorch 1.3 or older", _zip_with(_one_root_with("model.json", "code/")),
         advice=_SAVE_STATE_DICT),
    Kind("PyTorch's zip format", _zip_with(_one_root_with("data.pkl")), _reader("torch_zip.read_torch_zip")),
    Kind("a torch.export file (.pt2)", _zip_with(_one_root_with("models/")), _reader("torch_export.read_torch_export")),
    Kind("a torch.export file of an older PyTorch", _zip_with(_has("serialized_exported_program.json")),
         advice="write it again with torch.export.save of a newer PyTorch"),
    Kind("a Keras 3 file", _zip_with(_has(KERAS_CONFIG, KERAS_METADATA, KERAS_WEIGHTS)),
         _reader("keras_zip.read_keras_zip")),
    Kind("a Keras file with pickled weights", _zip_with(_has(KERAS_CONFIG, "model.weights.npz")), advice=_SAVE_KERAS),
    Kind("a NumPy .npz file", _zip_with(lambda names: bool(names) and all(map(_is_npy, names))),
         _reader("npz_file.read_npz")),
    Kind("another zip", lambda opened: opened.is_zip, _refuse_zip),
    Kind("an HDF5 file", _head(lambda head: find_hdf5(head) is not None), _reader("keras_h5.read_keras_h5")),
    Kind("PyTorch's format before version 1.6", _head(begins_as_torch_legacy),
         _reader("torch_legacy.read_torch_legacy")),
    # Before a pickle, because the length that it begins with may look like one.
    Kind("a safetensors file", _is_safetensors, _reader("safetensors_file.read_safetensors")),
    Kind("a pickled Keras model", _is_pickled_keras, advice=_SAVE_PICKLED_KERAS),
    Kind("a pickle", _begins(*(bytes([0x80, protocol]) for protocol in range(2, 6))), advice=_SAVE_STATE_DICT),
    Kind("the tar container of PyTorch's first versions", _is_torch_tar, advice=_SAVE_STATE_DICT),
    Kind("a tar archive", _begins(b"ustar", at=257), advice="unpack it first"),
    Kind("a NumPy .npy file", _begins(NPY),
         advice="one array has no name; save them all by name with np.savez(path, **arrays)"),
    Kind("a TensorFlow Lite file", _begins(b"TFL3", at=4), advice="save the Keras model it was made from as .keras"),
    Kind("a GGUF file", _begins(b"GGUF"), advice="it holds no GRU; name the original checkpoint"),
    Kind("an ONNX file", _is_onnx, advice="name the PyTorch or Keras file it was exported from"),
    Kind("an RNNoise model", _begins(RNNOISE), _reader("rnnoise.read_rnnoise")),
    Kind("a compressed file", _begins(b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf"),
         advice="decompress it first"),
    Kind("a Git LFS pointer and not the file", _begins(b"version https://git-lfs"), advice="fetch it: git lfs pull"),
    Kind("a web page and not the file", _begins(b"<!DOCTYPE", b"<!doctype", b"<html"), advice="download it again"),
    Kind("a map of Keras weights in several files", _head(begins_as_shard_map),
         _reader("keras_shards.read_keras_shards")),
    Kind("an RTNeural model", _head(begins_as_rtneural), _reader("rtneural_json.read_rtneural")),
    Kind("JSON or similar text", _begins(b"{", b"["), advice="name the file with the weights"),
)  # fmt: skip
