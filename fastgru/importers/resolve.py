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
        A tensor is missing, unused or misshapen, or the file holds more than a GRU and no description.
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
    """The prefix of the one GRU stack; anything else is an error, whose first line says what is wrong by itself."""
    modules = pytorch.modules_of(tensors)
    stacks = [module.prefix for module in modules.values() if module.kind == "gru"]
    if len(stacks) == 1 and (len(modules) == 1 or not strict):
        return stacks[0]
    if not modules:
        raise CheckpointError(f"{where}: holds no tensors, wanted the weights of a GRU")
    found = f"It holds:\n{chain.contents(tensors)}"
    others = [module for module in modules.values() if module.kind in ("lstm", "rnn")]
    if not stacks and others:
        raise UnsupportedModelError(
            f"{where}: holds an {others[0].looks_like} and no GRU; fastgru runs only GRUs\n{found}"
        )
    if not stacks:
        raise CheckpointError(f"{where}: holds no GRU, whose tensors are called like 'weight_hh_l0'\n{found}")
    several = len(stacks) > 1
    named = listed([prefix for prefix in modules if several or prefix != stacks[0]], 8)
    more = "more than one GRU" if several else "more than a GRU"
    reason = f"{where}: holds weights and not the order of its layers, and {more}: {named}"
    raise _unordered(tensors, reason, found)


def _unordered(tensors: Mapping[str, np.ndarray], reason: str, found: str) -> CheckpointError | UnsupportedModelError:
    """The error for a file of several modules: a line that loads it, or what keeps every line from that."""
    blocking = chain.in_the_way(tensors)
    if blocking:
        named = ", ".join(f"{module.prefix!r} ({module.looks_like})" for module in blocking[:8])
        return UnsupportedModelError(
            f"{reason}; not supported: {named}{', ...' if blocking[8:] else ''}\n{found}\n"
            "What runs without these can be loaded: name its layers by layers=, and pass strict=False"
        )
    misfit = chain.misfit(tensors)
    if misfit:
        return CheckpointError(
            f"{reason}; in the file's order they make no chain ({misfit})\n{found}\n"
            "Name those that make one by layers=, in the order in which they run; strict=False leaves out the rest"
        )
    line = chain.suggest(tensors)
    choice = f"{chain.CHOICE}.\n" if "fastgru." in line else ""
    return CheckpointError(
        f"{reason}\n{found}\nName the layers in the order in which they run, for example\n  {line}\n{choice}"
        "Other layers without weights, such as fastgru.Activation('relu'), are not in the file: add them"
    )
