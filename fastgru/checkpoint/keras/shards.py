"""Weights that Keras 3 split over several files: a ``.weights.json`` that says which group lies in which file.

Owns the reading of that map. Its words are a stranger's, so a file is named by its base name and looked for in the
map's own folder only, and every file is read by the rules of ``h5``. The result is as of one ``.weights.h5``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from ...errors import CheckpointError
from ..contents import Checkpoint
from ..hdf5.arrays import read_arrays
from ..hdf5.attributes import Attributes
from ..opened import OpenedFile, open_checkpoint
from ..signatures import find_hdf5
from ..text import MAX_JSON_BYTES, parse_json, shown
from .h5 import OPTIMIZER, find_variables, open_structure

__all__ = ["read_keras_shards"]

MAX_SHARDS = 1000  # of 10 GB each unless the writer asked for less


def read_keras_shards(opened: OpenedFile) -> Checkpoint:
    """The weights in all the files of a map, in the order of the map."""
    where = opened.path
    if opened.size > MAX_JSON_BYTES:
        raise CheckpointError(f"{where}: got {opened.size} bytes of JSON, wanted at most {MAX_JSON_BYTES}")
    shards = _shards(parse_json(opened.read_all(), where).get("weight_map"), where)
    tensors: dict[str, np.ndarray] = {}
    stored: dict[str, str] = {}
    names: dict[str, str] = {}
    skipped: dict[str, None] = {}  # an ordered set: every file may have a part of the optimizer
    for shard, groups in shards.items():
        with open_checkpoint(os.path.join(os.path.dirname(where), shard)) as file:
            arrays, reduced = _read_shard(file.replace(for_model=opened.for_model), groups, names, skipped)
        again = tensors.keys() & arrays.keys()
        if again:
            raise CheckpointError(f"{where}: {shown(min(again))} is in several files, among them {shown(shard)}")
        tensors.update(arrays)
        stored.update(reduced)
    if not tensors:
        raise CheckpointError(f"{where}: its weight_map names no weights")
    return Checkpoint(where, "keras-weights", tensors, None, {"names": names, "skipped": list(skipped)}, stored)


def _read_shard(
    file: OpenedFile, groups: set[str], names: dict[str, str], skipped: dict[str, None]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """What ``read_arrays`` gives of one file; all must be in the groups that the map puts there.

    Adds to the two last arguments.
    """
    if find_hdf5(file.head) is None:
        raise CheckpointError(f"{file.path}: it is not an HDF5 file; wanted a part of Keras weights in every file")
    structure = open_structure(file)
    found = find_variables(structure, Attributes(structure))
    for group in groups:
        if structure.find(group) is None:
            raise CheckpointError(f"{file.path}: it has no {shown(group)}, which the map says is there")
    for node in found.arrays:
        if node.path.rpartition("/")[0] not in groups:
            raise CheckpointError(f"{file.path}: it has {shown(node.path)}, which the map does not say is there")
    names.update(found.names)
    skipped.update(dict.fromkeys(found.skipped))
    return read_arrays(structure, found.arrays)


def _shards(weight_map: object, where: str) -> dict[str, set[str]]:
    """The groups in each file, but for those of the optimizer."""
    if not isinstance(weight_map, dict):
        raise CheckpointError(f"{where}: its weight_map is not an object of group names to file names")
    shards: dict[str, set[str]] = {}
    for group, files in weight_map.items():
        path = group.removeprefix("/")
        if path.split("/")[0] == OPTIMIZER:
            continue
        for shard in _file_names(files, where):
            shards.setdefault(shard, set()).add(path)
    if len(shards) > MAX_SHARDS:
        raise CheckpointError(f"{where}: its weight_map names {len(shards)} files, wanted at most {MAX_SHARDS}")
    return shards


def _file_names(files: object, where: str) -> Iterator[str]:
    """One name or a list of them, each a base name on every system."""
    for name in files if isinstance(files, list) else [files]:
        if (
            not isinstance(name, str)
            or not name.isprintable()
            or name in ("", ".", "..")
            or any(mark in name for mark in "/\\:")
        ):
            raise CheckpointError(
                f"{where}: its weight_map names the file {shown(name)}, wanted the name of a file in the same folder"
            )
        yield name
