"""Which importer a checkpoint is for, and whether what it makes fits together.

Owns ``spec_of``. What tensors and configs mean is for the importers it calls, and a file that describes itself is read
without the import of those for weights.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, cast

from ..checkpoint.contents import Checkpoint
from ..errors import CheckpointError, DTypeError, ShapeError, UnsupportedModelError
from ..gru_weights import GRUSpec
from ..layers import ModelSpec, validate
from .tensors import UsedTensors, listed

if TYPE_CHECKING:
    from ..graph.graph import Graph
    from .weights.chain import Layers

__all__ = ["examined", "spec_of"]

# The module of this package that knows each format.
_IMPORTERS = {
    "fastgru": "whole.native",
    "keras": "keras.model",
    "keras-h5": "keras.model",
    "keras-weights": "keras.model",
    "npz": "weights.npz",
    "pytorch-legacy": "weights.model",
    "pytorch-live": "weights.model",
    "pytorch-zip": "weights.model",
    "rnnoise": "whole.rnnoise",
    "rtneural": "whole.rtneural",
    "safetensors": "weights.model",
    "torch-export": "torch.program_file",
    "torchscript": "torch.script",
}
_WHOLE_MODELS = ("fastgru", "rnnoise", "rtneural")  # files that always say what their layers are


def spec_of(
    checkpoint: Checkpoint, layers: Layers | None = None, strict: bool = True
) -> GRUSpec | ModelSpec | Graph:
    """What the checkpoint holds, as a specification whose sizes all fit.

    Parameters
    ----------
    checkpoint : Checkpoint
        From ``fastgru.read``.
    layers : sequence of str or layer, or str, optional
        The chain of a file that holds only weights: prefixes of modules, and objects such as ``Last()``. One name and
        no list is that GRU.
    strict : bool, optional
        Whether a tensor that no layer uses is an error; otherwise it is a ``UserWarning``.

    Returns
    -------
    GRUSpec or ModelSpec
        A ModelSpec where the file describes its own layers or ``layers`` lists them, a GRUSpec where it holds one
        GRU stack or ``layers`` is the name of one.

    Raises
    ------
    CheckpointError
        A tensor is missing, unused or misshapen, or the file holds more than a GRU and no description.
    UnsupportedModelError
        A layer or an option is not supported.
    """
    spec, unused = examined(checkpoint, layers, strict)
    if unused:
        message = f"{checkpoint.path}: no layer uses the tensors {listed(unused)}"
        if strict:
            raise CheckpointError(f"{message}; name their layers too, or pass strict=False to leave them out")
        warnings.warn(message, UserWarning, stacklevel=3)  # at the caller of load()
    return spec


def examined(
    checkpoint: Checkpoint, layers: Layers | None = None, strict: bool = True
) -> tuple[GRUSpec | ModelSpec | Graph, list[str]]:
    """What ``spec_of`` gives, and the names of the tensors that no layer of it uses."""
    where = checkpoint.path
    try:
        importer = import_module(f".{_IMPORTERS[checkpoint.format]}", __package__)
        found: tuple[GRUSpec | ModelSpec | Graph, list[str]]
        if checkpoint.format in _WHOLE_MODELS:
            if layers is not None:
                raise CheckpointError(f"{where}: the file describes its own layers; leave layers= out")
            tensors = UsedTensors(checkpoint.tensors)
            found = importer.model_spec(checkpoint, tensors), tensors.unused()
        else:
            from .weights.lone_gru import gru_of
            from .weights.named import Named

            name = layers if isinstance(layers, (str, Named)) else None
            found = importer.spec_from(checkpoint, layers if name is None else [name], strict)
            if name is not None:
                found = gru_of(cast("GRUSpec | ModelSpec", found[0]), name, where), found[1]
        if isinstance(found[0], (GRUSpec, ModelSpec)):
            validate(found[0])
    except (ShapeError, DTypeError) as error:
        if layers is not None and isinstance(error, DTypeError):
            raise
        raise CheckpointError(f"{where}: {str(error).removeprefix(f'{where}: ')}") from error
    except UnsupportedModelError as error:
        if str(error).startswith(where):
            raise
        raise UnsupportedModelError(f"{where}: {error}") from error
    return found
