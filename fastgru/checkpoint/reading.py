"""From a path to a ``Checkpoint``: the file goes to the one reader of its kind, or is refused with what to do.

Owns ``read``. What tells the kinds apart is for ``kinds``; what is said of folders and of files that are known and not
read is for ``folders`` and ``unread``, which are imported when they are needed.
"""

from __future__ import annotations

import os

from ..origin import is_folder
from .contents import Checkpoint
from .kinds import reader_of
from .opened import open_checkpoint
from .parts import check_part, selected

__all__ = ["read", "read_for_model"]


def read(path: str | os.PathLike[str], part: str | None = None) -> Checkpoint:
    """Read the tensors of a checkpoint, whatever it is called.

    Parameters
    ----------
    path : str or os.PathLike
        A PyTorch file (zip, of 1.5 and older, TorchScript or ``torch.export``), a safetensors file, an ``.npz`` file, a
        Keras 3 ``.keras`` file, an HDF5 file of any Keras, or the ``.weights.json`` of one that is split, an RTNeural
        JSON model or an RNNoise model.
    part : str, optional
        The one state dict or module that is read, of a file that holds several: its key, or the dotted names on the way
        to it, as in ``part="ema_state_dict"``. Names of tensors are those within it.

    Returns
    -------
    Checkpoint
        A mapping of name to ndarray, with ``.format``, ``.config`` and ``.metadata``.

    Raises
    ------
    CheckpointError
        There is no such file or no such part, or the file is damaged, hostile or not a checkpoint.
    UnsupportedModelError
        It is a known kind of model file or folder that is not read; the message says what to do.

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
    return _read(path, part, for_model=False)


def read_for_model(path: str | os.PathLike[str], part: str | None = None) -> Checkpoint:
    """The same for an importer: where the format allows it, large matrices are read from the file when they are
    packed, and ``tensors`` has a ``Matrix`` for each."""
    return _read(path, part, for_model=True)


def _read(path: str | os.PathLike[str], part: str | None, for_model: bool) -> Checkpoint:
    if isinstance(path, (str, bytes, os.PathLike)) and is_folder(path):
        from .folders import refusal_of_folder

        raise refusal_of_folder(os.fsdecode(path))
    with open_checkpoint(path) as file:
        opened = file.replace(for_model=for_model)
        reader = reader_of(opened)
        if reader is None:
            from .unread import refusal

            raise refusal(opened)
        if part is None:
            return reader(opened)
        check_part(part, opened.path)
        return selected(reader(opened.replace(part=part)), part)
