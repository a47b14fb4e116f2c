"""Files that are known and not read: how each is recognised, and the refusal that names it.

The content tells what a file is. Its name and its neighbours are asked only where the content cannot tell, and never to
read it. What to do about each is for ``advice``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from ..errors import CheckpointError, FastGRUError, UnsupportedModelError
from ..origin import is_folder, is_there
from ..records.fields import Fields
from . import advice
from .opened import OpenedFile
from .signatures import KERAS_CONFIG, KERAS_METADATA, KERAS_WEIGHTS, NPY, PARTS
from .text import shown

__all__ = ["refusal"]

Recogniser = Callable[[OpenedFile], bool]

MODEL_SUFFIXES = (".pt", ".pth", ".pt2", ".ckpt", ".bin", ".keras", ".h5", ".hdf5", ".safetensors", ".npz")
SSTABLE = (0xDB4775248B80FB57).to_bytes(8, "little")  # the end of an index of TensorFlow's
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"\x04\x22M\x18")
ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
SAVED_MODEL_PARTS = ("saved_model.pb", "keras_metadata.pb", "fingerprint.pb")

# The first fields of protobufs: a tag, a length, and what is in it.
_LENGTH = rb"[\x80-\xff]{0,9}[\x00-\x7f]"
_SAVED_MODEL = re.compile(rb"\x08\x01\x12" + _LENGTH + rb"\n" + _LENGTH + rb"[\n\x12]")
_CORE_ML = re.compile(rb"\x08[\x01-\x1f]\x12" + _LENGTH + rb"\n")
_ONNX = re.compile(rb"\x08[\x01-\x1f](?:\x12(?:\x00|" + _LENGTH + rb"[ -~])|\x1a|:)")
_META_GRAPH = re.compile(rb"\n" + _LENGTH + rb"\x12" + _LENGTH + rb"\n" + _LENGTH + rb"\n")
_GRAPH = re.compile(rb"\n" + _LENGTH + rb"\n" + _LENGTH + rb"[\w.][\w.\\/>-]*\x12" + _LENGTH + rb"[A-Z_]\w*|node ?\{")

# Protocols 2 to 5 say so; what is older begins with a class, a dictionary, a list or an instance.
_PICKLE = re.compile(
    rb"\x80[\x02-\x05]|c[A-Za-z_][\w.]*\r?\n[A-Za-z_]\w*\r?\n|\([dl](?:p\d+\r?\n|[VS(])|\(i[A-Za-z_][\w.]*\r?\n|[}\]](?:q\x00|\()"
)
_PICKLED_DICT = re.compile(
    rb"(?:\x80[\x02-\x05](?:\x95.{8})?)?(?:\}|\(d|ccollections\r?\nOrderedDict|\x8c\x0bcollections)", re.DOTALL
)
_OTHER_UNIT = re.compile(rb'"unit_type"\s*:\s*"(?!GRU")')
_LISTED = re.compile(rb'model_checkpoint_path: "([^"\n]*)"')
_DATA_SUFFIX = re.compile(r"\.data-\d+-of-\d+$")
_CHECKPOINT_SUFFIX = re.compile(r"\.(index|meta|data-\d+-of-\d+)$")


class Unread(Fields):
    """One row: what a file is called, how it is recognised, and what its owner should do instead."""

    name: str
    recognises: Recogniser
    advice: str | Callable[[OpenedFile], str]


def refusal(opened: OpenedFile) -> FastGRUError:
    """The error for a file that no reader takes."""
    for kind in UNREAD:
        if kind.recognises(opened):
            what_to_do = kind.advice if isinstance(kind.advice, str) else kind.advice(opened)
            return UnsupportedModelError(f"{opened.path}: it is {kind.name}, which is not read; {what_to_do}")
    if opened.is_zip:
        return _refusal_of_zip(opened.path, list(opened.archive.names))
    return CheckpointError(
        f"{opened.path}: it is no kind of file fastgru knows (it begins with {_beginning(opened.head)}); wanted a file "
        "of PyTorch, Keras, safetensors, npz, RTNeural or RNNoise"
    )


def _beginning(head: bytes) -> str:
    """The first words of a text, or bytes in hexadecimal."""
    text = head[:32].decode("latin-1")
    return shown(text) if all(" " <= each <= "~" or each in "\r\n\t" for each in text) else head[:8].hex(" ")


def _refusal_of_zip(path: str, names: list[str]) -> CheckpointError:
    listed = ", ".join(shown(name, 40) for name in names[:5]) or "nothing"
    found = f"{path}: it is a zip of {len(names)} files ({listed})"
    models = [name for name in names if name.lower().endswith(MODEL_SUFFIXES)]
    if models:
        return CheckpointError(f"{found}; {_taken_out(path, models[0])}")
    return CheckpointError(
        f"{found}; wanted one folder with a data.pkl (PyTorch) or {KERAS_CONFIG}, {KERAS_METADATA} and {KERAS_WEIGHTS} "
        "(Keras 3)"
    )


def _taken_out(path: str, name: str) -> str:
    return f"take {shown(name)} out of it and name that: zipfile.ZipFile({path!r}).extract({shown(name)})"


def _head(test: Callable[[bytes], bool]) -> Recogniser:
    return lambda opened: test(opened.head)


def _begins(*magic: bytes, at: int = 0) -> Recogniser:
    return lambda opened: any(opened.head.startswith(word, at) for word in magic)


def _matches(pattern: re.Pattern[bytes]) -> Recogniser:
    return lambda opened: pattern.match(opened.head) is not None


def _zip_with(test: Callable[[set[str]], bool]) -> Recogniser:
    return lambda opened: opened.is_zip and test(set(opened.archive.names))


def _pickle_with(word: bytes) -> Recogniser:
    return lambda opened: _PICKLE.match(opened.head) is not None and word in opened.head


def _json_with(*words: bytes) -> Recogniser:
    return lambda opened: opened.head.lstrip()[:1] in (b"{", b"[") and all(word in opened.head for word in words)


def _of_path(words: Callable[[str], str]) -> Callable[[OpenedFile], str]:
    return lambda opened: words(opened.path)


def _is_old_torchscript(names: set[str]) -> bool:
    roots = {name.split("/")[0] for name in names}
    return len(roots) == 1 and f"{min(roots)}/model.json" in names


def _is_zipped_saved_model(names: set[str]) -> bool:
    return any(name.split("/")[-1] == "saved_model.pb" for name in names)


def _is_distributed(opened: OpenedFile) -> bool:
    """A part of it, which is several zips one behind the other, or the pickle that says what lies where."""
    part = opened.is_zip and opened.path.endswith(".distcp")
    return part or (_PICKLE.match(opened.head) is not None and b"torch.distributed.checkpoint" in opened.head)


def _is_unpacked_torch(opened: OpenedFile) -> bool:
    folder, name = os.path.split(os.path.abspath(opened.path))
    return name == "data.pkl" and is_folder(os.path.join(folder, "data"))


def _is_saved_model(opened: OpenedFile) -> bool:
    """The graph by its content; what else belongs to it by its name, in a folder that has one."""
    name = os.path.basename(opened.path)
    belongs = name in SAVED_MODEL_PARTS or name.startswith("variables.")
    found = belongs and is_there(os.path.join(_folder_of_saved_model(opened.path), "saved_model.pb"))
    return found or _SAVED_MODEL.match(opened.head) is not None


def _folder_of_saved_model(path: str) -> str:
    folder = os.path.dirname(os.path.abspath(path))
    return os.path.dirname(folder) if os.path.basename(path).startswith("variables.") else folder


def _is_tensorflow_checkpoint(opened: OpenedFile) -> bool:
    """Its index, its graph, the list of a folder's checkpoints, or data that an index lies beside."""
    if opened.size >= 8 and opened.read(opened.size - 8, 8) == SSTABLE:
        return True
    if _LISTED.match(opened.head) or _META_GRAPH.match(opened.head):
        return True
    return bool(_DATA_SUFFIX.search(opened.path)) and is_there(_DATA_SUFFIX.sub(".index", opened.path))


def _of_checkpoint(opened: OpenedFile) -> str:
    """What to do with one by any of its files: TensorFlow calls it by what their names have in common."""
    folder, name = os.path.split(opened.path)
    listed = _LISTED.match(opened.head)
    prefix = listed[1].decode("utf-8", "replace") if listed else _CHECKPOINT_SUFFIX.sub("", name)
    return advice.tensorflow_checkpoint(os.path.join(folder, prefix))


def _is_torch_tar(opened: OpenedFile) -> bool:
    """A tar whose first file is one of the four that PyTorch 0.1 put into it."""
    first = opened.head[:100].rstrip(b"\0")
    return opened.head.startswith(b"ustar", 257) and first in (b"sys_info", b"pickle", b"tensors", b"storages")


UNREAD: tuple[Unread, ...] = (
    Unread("a part of a distributed checkpoint of PyTorch", _is_distributed,
           _of_path(lambda path: advice.distributed(os.path.dirname(path) or "."))),
    Unread("a TorchScript file of PyTorch 1.3 or older", _zip_with(_is_old_torchscript), advice.SAVE_STATE_DICT),
    Unread("a torch.export file of an older PyTorch",
           _zip_with(lambda names: "serialized_exported_program.json" in names),
           "write it again with torch.export.save of a newer PyTorch"),
    Unread("a Keras file with pickled weights", _zip_with(lambda names: {KERAS_CONFIG, "model.weights.npz"} <= names),
           'open it with the Keras that wrote it and save it with h5py installed: model.save("model.keras")'),
    Unread("a model of Stable-Baselines3", _zip_with(lambda names: "policy.pth" in names),
           _of_path(lambda path: _taken_out(path, "policy.pth"))),
    Unread("a zip of a TensorFlow SavedModel", _zip_with(_is_zipped_saved_model), advice.SAVE_KERAS),
    Unread("a part of a TensorFlow SavedModel", _is_saved_model,
           _of_path(lambda path: advice.saved_model(_folder_of_saved_model(path)))),
    Unread("a part of a TensorFlow checkpoint", _is_tensorflow_checkpoint, _of_checkpoint),
    Unread("a part of an unpacked PyTorch file", _is_unpacked_torch,
           _of_path(lambda path: advice.packed(os.path.dirname(path)))),
    Unread("a pickled Keras model", _pickle_with(b"keras"), advice.SAVE_PICKLED_KERAS),
    Unread("a pickled PyTorch object", _pickle_with(b"torch"), advice.SAVE_STATE_DICT),
    Unread("a pickle of NumPy arrays", _head(lambda head: bool(_PICKLED_DICT.match(head)) and b"numpy" in head),
           advice.SAVE_ARRAYS),
    Unread("a pickle", _matches(_PICKLE), advice.SAVE_PICKLE),
    Unread("the tar container of PyTorch's first versions", _is_torch_tar, advice.SAVE_STATE_DICT),
    Unread("a tar archive", _begins(b"ustar", at=257),
           _of_path(lambda path: f"unpack it and name the model in it: tar -xf {path!r}")),
    Unread("a NumPy .npy file", _begins(NPY), advice.ONE_ARRAY),
    Unread("a frozen TensorFlow graph", _matches(_GRAPH), f"it has operations and no layers; {advice.SAVE_KERAS}"),
    Unread("a TensorFlow Lite file", _begins(b"TFL3", at=4), advice.SAVE_KERAS),
    Unread("a Core ML model", _matches(_CORE_ML), advice.NAME_SOURCE),
    Unread("an OpenVINO model", _head(lambda head: head.startswith(b"<?xml") and b"<net " in head), advice.NAME_SOURCE),
    Unread("an ExecuTorch program", _begins(b"ET12", at=4), advice.NAME_SOURCE),
    Unread("an ONNX file", _matches(_ONNX), advice.NAME_SOURCE),
    Unread("a GGUF file", _begins(b"GGUF"), "it holds no GRU; name the original checkpoint"),
    Unread("a compressed file", _begins(*COMPRESSED), "decompress it and name what comes out"),
    Unread("a compressed pickle, as joblib writes it", _begins(*ZLIB), advice.SAVE_PICKLE),
    Unread("a Git LFS pointer and not the file", _begins(b"version https://git-lfs"), "fetch it: git lfs pull"),
    Unread("a web page and not the file", _begins(b"<!DOCTYPE", b"<!doctype", b"<html"), "download it again"),
    Unread("a list of weights in several files",
           lambda opened: _json_with(b'"weight_map"')(opened) and PARTS.search(opened.head) is not None,
           _of_path(advice.joined)),
    Unread("a GuitarML model of another unit than a GRU",
           lambda opened: _json_with(b'"model_data"')(opened) and _OTHER_UNIT.search(opened.head) is not None,
           "fastgru runs only GRUs"),
    Unread("a GuitarML model", _json_with(b'"unit_type"', b'"model_data"'), _of_path(advice.guitarml)),
    Unread("a TensorFlow.js model", _json_with(b'"modelTopology"'), _of_path(advice.tensorflow_js)),
    Unread("a Keras architecture without weights", _json_with(b'"class_name"', b'"config"'),
           _of_path(advice.architecture)),
    Unread("JSON or similar text", _json_with(), "name the file with the weights"),
)  # fmt: skip
