"""Keras 3's ``.keras``: a zip of the configuration, the metadata and the weights, each read as plain data.

Owns the layout of that archive. The configuration is parsed and handed on; no class in it is ever looked up here.
"""

from __future__ import annotations

from io import BytesIO

from ...errors import CheckpointError
from ..contents import Checkpoint
from ..hdf5.arrays import read_hdf5_floats
from ..member import STORED
from ..opened import OpenedFile
from ..signatures import HDF5, KERAS_CONFIG, KERAS_METADATA, KERAS_WEIGHTS
from ..span import Span
from ..text import MAX_JSON_BYTES, parse_json
from .paths import with_slashes

__all__ = ["read_keras_zip"]


def read_keras_zip(opened: OpenedFile) -> Checkpoint:
    """Configuration, metadata and weights; tensors are called by their path in the HDF5 file."""
    where, archive = opened.path, opened.archive
    config, metadata = (
        parse_json(archive.read(name, limit=MAX_JSON_BYTES, deflated=True), f"{where}: {name}")
        for name in (KERAS_CONFIG, KERAS_METADATA)
    )
    place = f"{where}: {KERAS_WEIGHTS}"
    span = _weights(opened)
    if not span.holds(HDF5, 0):
        raise CheckpointError(f"{place}: it is not an HDF5 file; the file is damaged")
    tensors, stored, skipped = read_hdf5_floats(span, place, skip=("optimizer",))
    tensors, stored = with_slashes(tensors, place), with_slashes(stored, place)
    return Checkpoint(where, "keras", tensors, config, {**metadata, "skipped": skipped}, stored)


def _weights(opened: OpenedFile) -> Span:
    """The HDF5 file in the archive, whose CRC-32 is right: where it lies, or in memory where it is compressed."""
    member = opened.archive.member(KERAS_WEIGHTS, deflated=True)
    if member.method == STORED:
        member.check(opened.file)
        return Span(opened, member.start, member.size)
    content = member.read(opened.file)
    return Span(opened.replace(file=BytesIO(content), size=len(content), for_model=False), 0, len(content))
