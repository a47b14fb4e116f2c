"""``.npz`` files: arrays that a person named, brought to PyTorch's names where they are like these.

Owns that likeness. The layout is taken for PyTorch's, because the names are: one row an output, gates r, z, n.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from ...checkpoint.contents import Checkpoint
from ...errors import CheckpointError
from ...gru_weights import GRUSpec
from ...layers import ModelSpec
from . import chain
from .model import spec_from as spec_from_weights

__all__ = ["spec_from", "torch_names"]

# enc_w_ih, encoder.weight_ih_l0, gru/b_hh_l1_reverse: a module, what joins it, the kind, the side, the layer.
_RECURRENT = re.compile(
    r"(?:(?P<module>.*?)[._/])??(?P<kind>weight|bias|w|b)_(?P<side>ih|hh)(?P<layer>_l[0-9]{1,4})?(?P<way>_reverse)?",
    re.DOTALL,
)
_PLAIN = re.compile(r"(?P<module>.+)[._/](?P<kind>weight|bias|w|b)", re.DOTALL)
_WORDS = {"w": "weight", "b": "bias"}


def spec_from(
    checkpoint: Checkpoint, layers: Sequence[chain.LayerItem] | None, strict: bool
) -> tuple[GRUSpec | ModelSpec, list[str]]:
    """What is made of the checkpoint, and the arrays of the file that it does not use."""
    names = torch_names(checkpoint.tensors, checkpoint.path)
    renamed = checkpoint.replace(tensors={names[name]: array for name, array in checkpoint.items()})
    spec, unused = spec_from_weights(renamed, layers, strict)
    left = set(unused)
    return spec, [name for name in checkpoint if names[name] in left]


def torch_names(tensors: Mapping[str, np.ndarray], where: str) -> dict[str, str]:
    """PyTorch's name for each array: the module's prefix, a dot, and the parameter.

    * ``enc_w_ih``, ``enc_w_hh``, ``enc_b_ih``, ``enc_b_hh`` are those of a GRU called ``enc``; ``weight`` and ``bias``
      may be written out, ``_l0`` and ``_reverse`` may follow, and a dot or a slash may stand for the underscore.
    * ``fc_w`` and ``fc_b`` are the weight and the bias of ``fc``.
    * A matrix under any other name, such as ``enc_emb``, is the weight of a module of that name.

    A name that is PyTorch's already stays as it is.

    Raises
    ------
    CheckpointError
        Two arrays would have one name.
    """
    names = {name: _torch_name(name, array) for name, array in tensors.items()}
    if len(set(names.values())) != len(names):
        seen: dict[str, str] = {}
        for name, made in names.items():
            if made in seen:
                raise CheckpointError(
                    f"{where}: the arrays {seen[made]!r} and {name!r} would both be {made!r}; rename one of them"
                )
            seen[made] = name
    return names


def _torch_name(name: str, array: np.ndarray) -> str:
    found = _RECURRENT.fullmatch(name)
    if found is not None:
        kind = _WORDS.get(found["kind"], found["kind"])
        leaf = f"{kind}_{found['side']}{found['layer'] or ''}{found['way'] or ''}"
        return f"{found['module']}.{leaf}" if found["module"] else leaf
    found = _PLAIN.fullmatch(name)
    if found is not None:
        return f"{found['module']}.{_WORDS.get(found['kind'], found['kind'])}"
    known = name.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked")
    return f"{name}.weight" if array.ndim == 2 and not known else name
