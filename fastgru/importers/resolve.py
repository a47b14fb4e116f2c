"""Which importer a checkpoint is for, and whether what it makes fits together.

Owns ``spec_of`` and the errors that tell a person what to ask for instead. What tensors and configs mean is for the
importers it calls.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from ..checkpoint.contents import Checkpoint
from ..errors import CheckpointError, DTypeError, ShapeError, UnsupportedModelError
from ..spec import GRUSpec, ModelSpec, validate
from . import chain, keras, pytorch
from .folded import fold
from .tensors import UsedTensors, listed

__all__ = ["spec_of"]


def spec_of(
    checkpoint: Checkpoint, layers: Sequence[chain.LayerItem] | None = None, strict: bool = True
) -> GRUSpec | ModelSpec:
    """What the checkpoint holds, as a specification whose sizes all fit.

    Parameters
    ----------
    checkpoint : Checkpoint
        From ``fastgru.read``.
    layers : sequence of str or layer, optional
        The chain of a file that holds only weights: prefixes of modules, and objects such as ``Last()``.
    strict : bool, optional
        Whether a tensor that no layer uses is an error; otherwise it is a ``UserWarning``.

    Returns
    -------
    GRUSpec or ModelSpec
        A ModelSpec where the file describes its own layers or ``layers`` names them, a GRUSpec where it holds one
        GRU stack.

    Raises
    ------
    CheckpointError
        A tensor is missing, unused or misshapen, or the file holds more than one GRU stack and no description.
    UnsupportedModelError
        A layer or an option is not supported.
    """
    where = checkpoint.path
    try:
        if checkpoint.config is not None:
            spec, unused = _self_described(checkpoint, layers)
        else:
            spec, unused = _weights_only(checkpoint, layers, strict)
        validate(spec)
    except (ShapeError, DTypeError) as error:
        if layers is not None and isinstance(error, DTypeError):
            raise
        raise CheckpointError(f"{where}: {error}") from error
    except UnsupportedModelError as error:
        if str(error).startswith(where):
            raise
        raise UnsupportedModelError(f"{where}: {error}") from error
    if unused:
        message = f"{where}: no layer uses the tensors {listed(unused)}"
        if strict:
            raise CheckpointError(f"{message}; name their layers too, or pass strict=False to leave them out")
        warnings.warn(message, UserWarning, stacklevel=3)  # at the caller of load()
    return spec


def _self_described(
    checkpoint: Checkpoint, layers: Sequence[chain.LayerItem] | None
) -> tuple[GRUSpec | ModelSpec, list[str]]:
    """The model of a file that says what its layers are, and the tensors that it does not use."""
    where = checkpoint.path
    if checkpoint.format != "keras" or checkpoint.config is None:
        raise UnsupportedModelError(f"{where}: {checkpoint.format} files that describe their layers are not supported")
    if layers is not None:
        raise CheckpointError(f"{where}: the file describes its own layers; leave layers= out")
    tensors = UsedTensors({name: tensor for name, tensor in checkpoint.items() if not keras.is_beside(name)})
    version = str(checkpoint.metadata.get("keras_version", ""))
    return keras.model_spec(checkpoint.config, tensors, where, version), tensors.unused()


def _weights_only(
    checkpoint: Checkpoint, layers: Sequence[chain.LayerItem] | None, strict: bool
) -> tuple[GRUSpec | ModelSpec, list[str]]:
    """The GRU or the chain in a file of PyTorch names, and the tensors that it does not use."""
    where = checkpoint.path
    if checkpoint.format == "keras":
        raise UnsupportedModelError(
            f"{where}: Keras weights without a description of their layers are not supported; save the whole model as "
            "a .keras file"
        )
    folded, sources = fold(checkpoint.tensors)
    tensors = UsedTensors(folded)
    if layers is not None:
        spec: GRUSpec | ModelSpec = chain.model_spec(tensors, layers, where)
    else:
        spec = pytorch.gru_from_tensors(tensors, _only_gru(folded, where, strict), where)
    return spec, [part for name in tensors.unused() for part in sources.get(name, (name,))]


def _only_gru(tensors: Mapping[str, np.ndarray], where: str, strict: bool) -> str:
    """The prefix of the one GRU stack; anything else is an error that shows what could be asked for."""
    modules = pytorch.modules_of(tensors)
    stacks = [module.prefix for module in modules.values() if module.kind == "gru"]
    if len(stacks) == 1 and (len(modules) == 1 or not strict):
        return stacks[0]
    if not modules:
        raise CheckpointError(f"{where}: holds no tensors, wanted the weights of a GRU")
    found = chain.contents(tensors)
    others = [module for module in modules.values() if module.kind in ("lstm", "rnn")]
    if not stacks and others:
        raise UnsupportedModelError(
            f"{where}: holds an {others[0].looks_like} and no GRU; fastgru runs only GRUs. It holds:\n{found}"
        )
    if not stacks:
        raise CheckpointError(
            f"{where}: holds no GRU, whose tensors are called like 'weight_hh_l0'. It holds:\n{found}"
        )
    raise CheckpointError(
        f"{where}: holds weights and not the order of its layers, and more than one GRU stack. It holds:\n{found}\n"
        f"Name the layers in the order in which they run, for example\n  {chain.suggest(tensors)}\n"
        "and add those without weights, such as fastgru.Last() or fastgru.Activation('relu'), which are not in the file"
    )
