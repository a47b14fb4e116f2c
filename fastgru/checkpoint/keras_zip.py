"""Keras 3's ``.keras``: a zip of the configuration, the metadata and the weights, each read as plain data.

Owns the layout of that archive. The configuration is parsed and handed on; no class in it is ever looked up here.
"""

from __future__ import annotations

from ..errors import CheckpointError
from .contents import Checkpoint
from .hdf5 import read_hdf5_floats
from .opened import OpenedFile
from .text import MAX_JSON_BYTES, parse_json

__all__ = ["CONFIG", "METADATA", "WEIGHTS", "read_keras_zip"]

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


def read_keras_zip(opened: OpenedFile) -> Checkpoint:
    """Configuration, metadata and weights; tensors are called by their path in the HDF5 file."""
    where, archive = opened.path, opened.archive
    config, metadata = (
        parse_json(archive.read(name, limit=MAX_JSON_BYTES, deflated=True), f"{where}: {name}")
        for name in (CONFIG, METADATA)
    )
    place = f"{where}: {WEIGHTS}"
    content = archive.read(WEIGHTS, deflated=True)
    if not content.startswith(b"\x89HDF\r\n\x1a\n"):
        raise CheckpointError(f"{place}: it is not an HDF5 file; the file is damaged")
    tensors, stored, skipped = read_hdf5_floats(content, place, skip=("optimizer",))
    return Checkpoint(where, "keras", tensors, config, {**metadata, "skipped": skipped}, stored)
