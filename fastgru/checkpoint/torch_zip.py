"""PyTorch's zip format (torch 1.6 and later): one root folder, a pickle, and one stored record for each storage.

Owns which records these are, and nothing of what a tensor is or which tensors are weights.
"""

from __future__ import annotations

from .contents import Checkpoint
from .opened import OpenedFile
from .torch_archive import TorchArchive
from .torch_contents import torch_checkpoint
from .torch_tensors import TORCH_BUILDERS

__all__ = ["read_torch_zip"]


def read_torch_zip(opened: OpenedFile) -> Checkpoint:
    """The state dict or the whole module of a file that ``torch.save`` wrote."""
    archive = TorchArchive(opened)
    tree = archive.unpickled("data.pkl", "data", TORCH_BUILDERS)
    checkpoint = torch_checkpoint(tree, opened, archive.read_storage, "pytorch-zip", big_endian=archive.big_endian)
    if version := archive.small("version"):
        checkpoint.metadata["torch_format_version"] = version
    return checkpoint
