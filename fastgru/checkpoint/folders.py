"""A folder in place of a file: what it is, and the way on, or the files in it that are read.

Owns the refusal of folders. It looks at names, and at the first bytes of files whose kind is asked for.
"""

from __future__ import annotations

import os
import re

from ..errors import CheckpointError, FastGRUError, UnsupportedModelError
from ..origin import is_folder, is_there
from . import advice
from .opened import open_checkpoint
from .signatures import KERAS_CONFIG, KERAS_METADATA, KERAS_WEIGHTS
from .text import shown

__all__ = ["refusal_of_folder"]

MAX_FILES = 200  # looked into; a folder may have millions
MAX_NAMED = 5


def refusal_of_folder(path: str) -> FastGRUError:
    """The error for a folder."""
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        return CheckpointError(f"{path}: got a folder that cannot be listed ({error.strerror}); name a file")
    found = _models_in(path, names)
    for place in ("", *(() if found else _folders_in(path, names))):
        folder = os.path.join(path, place) if place else path
        known = _known(folder, sorted(os.listdir(folder)), found)
        if known is not None:
            return UnsupportedModelError(f"{folder}: it is a folder with {known[0]}, which is not read; {known[1]}")
    if found:
        more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
        listed = ", ".join(shown(name, 100) for name in found[:MAX_NAMED])
        return CheckpointError(f"{path}: got a folder, wanted one file; name one that is read: {listed}{more}")
    listed = ", ".join(shown(name, 40) for name in names[:MAX_NAMED]) or "nothing"
    return CheckpointError(f"{path}: got a folder, in which no file is read (it holds {listed}); name a model file")


def _known(path: str, names: list[str], models: list[str]) -> tuple[str, str] | None:
    """What a folder is by the names in it, and what to do with it; ``models`` are the files that are read."""
    for folder in (path, os.path.dirname(os.path.abspath(path))):
        inside = folder == path or os.path.basename(os.path.abspath(path)) == "variables"
        if inside and any(is_there(os.path.join(folder, name)) for name in ("saved_model.pb", "saved_model.pbtxt")):
            return "a TensorFlow SavedModel", advice.saved_model(folder)
    if any(name.endswith(".distcp") for name in names):
        return "a distributed checkpoint of PyTorch", advice.distributed(path)
    if "data.pkl" in names and "data" in names:
        return "an unpacked PyTorch file", advice.packed(path)
    if {KERAS_CONFIG, KERAS_METADATA, KERAS_WEIGHTS} <= set(names):
        return "an unpacked Keras file", f'pack it again, as model.zip: shutil.make_archive("model", "zip", {path!r})'
    if {"Manifest.json", "Data"} <= set(names):
        return "a Core ML model", advice.NAME_SOURCE
    tables = [name for name in names if _DATA_SUFFIX.search(name)]
    if tables and not models:
        prefix = os.path.join(path, _DATA_SUFFIX.sub("", tables[-1]))
        return "a TensorFlow checkpoint", advice.tensorflow_checkpoint(prefix)
    lists = [name for name in names if name.endswith((".safetensors.index.json", ".bin.index.json"))]
    if lists:
        return "weights in several files", advice.joined(os.path.join(path, lists[0]))
    return None


_DATA_SUFFIX = re.compile(r"\.data-\d+-of-\d+$")


def _folders_in(path: str, names: list[str]) -> list[str]:
    return [
        name
        for name in names[:MAX_FILES]
        if is_folder(inner := os.path.join(path, name)) and not os.path.islink(inner) and os.access(inner, os.R_OK)
    ]


def _models_in(path: str, names: list[str]) -> list[str]:
    """The files of a folder that are read, and those of the folders in it."""
    from .kinds import reader_of

    places = list(names)
    for name in _folders_in(path, names):
        places += [os.path.join(name, each) for each in sorted(os.listdir(os.path.join(path, name)))]
    found = []
    for name in places[:MAX_FILES]:
        try:
            with open_checkpoint(os.path.join(path, name)) as opened:
                if reader_of(opened) is not None:
                    found.append(name)
        except CheckpointError:  # another folder, an empty file, a damaged zip
            continue
    return found
