"""What the kinds of file are told by: their first bytes, and the names in their zips.

``kinds`` recognises a file by these without importing its reader, and the reader looks for the same. Nothing is opened.
"""

from __future__ import annotations

import re

__all__ = [
    "HDF5",
    "KERAS_CONFIG",
    "KERAS_METADATA",
    "KERAS_WEIGHTS",
    "NPY",
    "NPY_SUFFIX",
    "PARTS",
    "RNNOISE",
    "TORCH_LEGACY",
    "begins_as_rtneural",
    "begins_as_shard_map",
    "begins_as_torch_legacy",
    "find_hdf5",
]

KERAS_CONFIG, KERAS_METADATA, KERAS_WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
NPY, NPY_SUFFIX = b"\x93NUMPY", ".npy"
RNNOISE = b"rnnoise-nu model file version"

HDF5 = b"\x89HDF\r\n\x1a\n"
HDF5_PLACES = (0, 512, 1024, 2048)  # after a user block of that size

TORCH_LEGACY = 0x1950A86A20F9469CFC6C
PARTS = re.compile(rb'-\d+-of-\d+\.(safetensors|bin)"')  # as the library transformers names them

_TORCH_BYTES = b"\x8a\x0a" + TORCH_LEGACY.to_bytes(10, "little")
_TORCH_LINE = b"L%dL\n." % TORCH_LEGACY  # pickle protocols 0 and 1


def find_hdf5(head: bytes) -> int | None:
    """Where HDF5 begins in a file that begins with ``head``, or None where it is another kind of file."""
    return next((at for at in HDF5_PLACES if head.startswith(HDF5, at)), None)


def begins_as_torch_legacy(head: bytes) -> bool:
    """Whether the first bytes of a file are the pickle of the magic number, in any protocol."""
    return head.startswith(_TORCH_LINE) or (head[:1] == b"\x80" and _TORCH_BYTES in head[:32])


def begins_as_shard_map(head: bytes) -> bool:
    """Whether it is JSON whose map of weights is near its beginning; Keras writes only their total size before it.

    Those that name parts of safetensors or PyTorch files are somebody else's.
    """
    return head.lstrip().startswith(b"{") and b'"weight_map"' in head and PARTS.search(head) is None


def begins_as_rtneural(head: bytes) -> bool:
    """JSON that begins with the shape of an input, or says before its first weights what type a layer has."""
    if not head.lstrip().startswith(b"{") or b'"modelTopology"' in head:  # TensorFlow.js has layers and weights too
        return False
    return b'"in_shape"' in head or (b'"layers"' in head and b'"weights"' in head)
