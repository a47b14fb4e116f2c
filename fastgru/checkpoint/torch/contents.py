"""From the tree of a PyTorch pickle to a ``Checkpoint``: what the zip and the legacy format have in common.

Owns how a whole module and a state dict are told in a Checkpoint. It reads no file: the bytes of a storage come from
the reader of the format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...errors import CheckpointError
from ..contents import Checkpoint
from ..opened import OpenedFile
from .state_dict import find_state_dict
from .tensors import TensorRecord

__all__ = ["MAX_PICKLE", "PICKLE_MEMORY", "torch_checkpoint"]

MAX_PICKLE = 128 << 20
MAX_TENSORS = 100_000
PICKLE_MEMORY = 32 << 20  # what the pickle's values may take beyond once its own and once the file's size


def torch_checkpoint(
    tree: Any,
    opened: OpenedFile,
    format: str,
    made: Callable[[Mapping[str, TensorRecord]], tuple[dict[str, Any], dict[str, str]]],
) -> Checkpoint:
    """The weights in ``tree``; ``made`` gives the tensors of records, and the types of those that are widened.

    ``metadata`` says where they were (``container``), which places may all be meant (``several``), of which class a
    whole module was (``whole_module``), and what else there was (``skipped``); ``config`` is what ``module_tree`` gives
    where there were modules.
    """
    found = find_state_dict(tree, opened.path, opened.part)
    if len(found.tensors) > MAX_TENSORS:
        raise CheckpointError(f"{opened.path}: got {len(found.tensors)} tensors, wanted at most {MAX_TENSORS}")
    tensors, stored = made(found.tensors)
    metadata: dict[str, Any] = {"skipped": found.skipped}
    if found.container:
        metadata["container"] = found.container
    if found.several:
        metadata["several"] = list(found.several)
    if found.whole:
        metadata["whole_module"] = found.whole
    return Checkpoint(opened.path, format, tensors, found.modules, metadata, stored)
