"""Weights by PyTorch's names: which modules a state dict holds, and the specification of each.

A state dict says nothing of the order in which its modules run; that is for ``chain``. Nothing here reads a file
or imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import CheckpointError, UnsupportedModelError
from ...gru_weights import GRUSpec, GRUWeights
from ...layers import Dense, Embedding
from ...records.fields import Fields
from ..tensors import indexed, listed, take, take_matrix

__all__ = [
    "OPEN",
    "Known",
    "Module",
    "dense_from_tensors",
    "embedding_from_tensors",
    "full_name",
    "gru_from_tensors",
    "modules_of",
    "refuse_parametrised",
    "without_counters",
]

# nn.GRU names its tensors weight_ih_l0, weight_hh_l0_reverse ...; nn.GRUCell the same without the layer.
_STACKED = re.compile(r"(?:weight|bias)_(?:ih|hh|hr)_l([0-9]{1,4})(_reverse)?")
_CELL = re.compile(r"(?:weight|bias)_(?:ih|hh)")
_FAMILY_OF_ROWS = {4: "LSTM", 1: "RNN"}  # rows of weight_hh for each hidden unit; a GRU has 3


# What tensors alone leave open: the classes that they may belong to, the likeliest first. A person says which.
OPEN = {
    "vector": ("PReLU", "RMSNorm", "LayerNorm"),
    "norm": ("LayerNorm", "GroupNorm", "InstanceNorm1d", "BatchNorm1d"),
    "either_conv": ("Conv1d", "ConvTranspose1d"),
    "own": ("GRU", "Linear", "LayerNorm"),
}

# What can stand in a batch normalisation beside its statistics.
_BATCH_NORM = frozenset(("weight", "bias", "running_mean", "running_var", "num_batches_tracked"))


class Known(Fields):
    """What is known of a module from elsewhere than its tensors: from a pickled module, or from a person.

    ``kind`` is None where only options are known.
    """

    kind: str | None
    looks_like: str
    options: Mapping[str, Any]


class Module(Fields):
    """One module of a state dict, as far as its tensors tell, and what else is known of it.

    ``kind`` is ``"gru"``, ``"linear"``, ``"embedding"``, ``"matrix"`` (one 2-D weight: an Embedding, or a Linear
    without bias), ``"conv"``, ``"batch_norm"``, ``"group_norm"``, ``"layer_norm"``, ``"rms_norm"``, ``"prelu"``,
    ``"one_number"`` (a 1-D weight of one number: a PReLU, unless one feature comes in), one of ``OPEN`` that a person
    must say more of (``"vector"``, one 1-D weight; ``"norm"``, a 1-D weight and bias; ``"either_conv"``, a 3-D weight
    that fits both ways round; ``"own"``, a class that is not PyTorch's), ``"lstm"``, ``"rnn"`` or ``"other"``;
    ``looks_like`` is the name of the PyTorch class for a message.
    """

    prefix: str
    kind: str
    names: tuple[str, ...]
    looks_like: str
    options: Mapping[str, Any]


def modules_of(tensors: Mapping[str, np.ndarray], known: Mapping[str, Known] | None = None) -> dict[str, Module]:
    """The modules by prefix, in the order in which the file first names them; ``known`` goes before what is seen."""
    return {
        prefix: _module(prefix, names, tensors, (known or {}).get(prefix))
        for prefix, names in indexed(tensors).by_module.items()
    }


def without_counters(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors but for ``n_averaged``: how many models ``AveragedModel`` saw, which nothing computes with."""
    return {
        name: tensor
        for name, tensor in tensors.items()
        if name.rpartition(".")[2] != "n_averaged" or tensor.ndim or tensor.dtype.kind not in "iu"
    }


def gru_from_tensors(tensors: Mapping[str, np.ndarray], prefix: str, where: str) -> GRUSpec:
    """The GRU whose tensors start with ``prefix``: an ``nn.GRU`` of any depth, or an ``nn.GRUCell``.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        With PyTorch's names and orientation: ``weight_ih_l{k}`` (3 * hidden, inputs), ``weight_hh_l{k}``
        (3 * hidden, hidden), ``bias_ih_l{k}`` and ``bias_hh_l{k}`` (3 * hidden,) or no biases at all, the same again
        with ``_reverse`` where there are two directions; without ``_l{k}`` in a cell.
    prefix : str
        Of the module, without the last dot; ``""`` where the names have none.
    where : str
        The file, for messages.

    Raises
    ------
    CheckpointError
        A tensor is missing or has the wrong shape or type.
    UnsupportedModelError
        The tensors are those of an LSTM or of a plain RNN, or are parametrised.
    """
    leaves = _leaves(tensors, prefix)
    refuse_parametrised(tensors, prefix, where)
    stacked = [match for leaf in leaves if (match := _STACKED.fullmatch(leaf))]
    if not stacked and not any(_CELL.fullmatch(leaf) for leaf in leaves):
        raise CheckpointError(f"{where}: no GRU is called {prefix!r}; a GRU has tensors such as 'weight_hh_l0'")
    kind, looks_like = _kind(
        prefix, {leaf: tensors[full_name(prefix, leaf)] for leaf in leaves if "hh" in leaf or "hr" in leaf}
    )
    if kind != "gru":
        raise UnsupportedModelError(f"{where}: {prefix!r} is an {looks_like}, not a GRU; fastgru runs only GRUs")
    bias = any(leaf.startswith("bias_") for leaf in leaves)
    if not stacked:
        return GRUSpec(((_direction(tensors, prefix, "", bias, where),),), bias=bias)
    depth = 1 + max(int(match[1]) for match in stacked)
    reverse = ("", "_reverse") if any(match[2] for match in stacked) else ("",)
    layers = []
    for layer in range(depth):  # a file that names layer 9999 alone fails at layer 0
        layers.append(tuple(_direction(tensors, prefix, f"_l{layer}{way}", bias, where) for way in reverse))
    return GRUSpec(tuple(layers), bias=bias)


def dense_from_tensors(tensors: Mapping[str, np.ndarray], prefix: str, where: str) -> Dense:
    """The ``nn.Linear`` called ``prefix``: ``weight`` (outputs, inputs), and ``bias`` (outputs,) or none."""
    refuse_parametrised(tensors, prefix, where)
    weight = take_matrix(tensors, full_name(prefix, "weight"), (None, None), where)
    name = full_name(prefix, "bias")
    return Dense(weight, take(tensors, name, (weight.shape[0],), where) if name in tensors else None)


def embedding_from_tensors(tensors: Mapping[str, np.ndarray], prefix: str, where: str) -> Embedding:
    """The ``nn.Embedding`` called ``prefix``: ``weight`` (vocabulary, features)."""
    refuse_parametrised(tensors, prefix, where)
    return Embedding(take_matrix(tensors, full_name(prefix, "weight"), (None, None), where))


def _direction(tensors: Mapping[str, np.ndarray], prefix: str, end: str, bias: bool, where: str) -> GRUWeights:
    """One direction of one layer, whose names end in ``end``, such as ``_l1_reverse``."""
    name = full_name(prefix, f"weight_hh{end}")
    w_hh = take_matrix(tensors, name, (None, None), where)
    hidden = w_hh.shape[1]
    if w_hh.shape[0] != 3 * hidden:
        raise CheckpointError(
            f"{where}: tensor {name!r} has the wrong shape: got {w_hh.shape}, wanted ({3 * hidden}, {hidden})"
        )
    w_ih = take_matrix(tensors, full_name(prefix, f"weight_ih{end}"), (3 * hidden, None), where)
    if not bias:
        zeros = np.zeros(3 * hidden, dtype=w_hh.dtype)
        return GRUWeights(w_ih, w_hh, zeros, zeros)
    b_ih = take(tensors, full_name(prefix, f"bias_ih{end}"), (3 * hidden,), where)
    b_hh = take(tensors, full_name(prefix, f"bias_hh{end}"), (3 * hidden,), where)
    return GRUWeights(w_ih, w_hh, b_ih, b_hh)


def _module(prefix: str, names: list[str], tensors: Mapping[str, np.ndarray], known: Known | None) -> Module:
    leaves = {name.rpartition(".")[2]: tensors[name] for name in names}
    kind, looks_like = _kind(prefix, leaves)
    if known is not None and known.kind is not None:
        kind, looks_like = known.kind, known.looks_like
    return Module(prefix, kind, tuple(names), looks_like, known.options if known else {})


def _kind(prefix: str, leaves: Mapping[str, np.ndarray]) -> tuple[str, str]:
    """The kind of a module and the class it looks like, from its tensors' names and shapes alone."""
    if "parametrizations" in prefix.split("."):
        return "other", "a parametrisation"
    stacked = any(_STACKED.fullmatch(leaf) for leaf in leaves)
    if stacked or any(_CELL.fullmatch(leaf) for leaf in leaves):
        w_hh = leaves.get("weight_hh_l0" if stacked else "weight_hh")
        projected = any(leaf.startswith("weight_hr") for leaf in leaves)
        family = "LSTM" if projected else _family(w_hh)
        return family.lower(), family if stacked else f"{family}Cell"
    weight = leaves.get("weight")
    if {"running_mean", "running_var"} <= leaves.keys() <= _BATCH_NORM:
        return "batch_norm", "BatchNorm"
    if weight is None or not leaves.keys() <= {"weight", "bias"}:
        return "other", _looks_like(leaves, weight)
    bias = leaves.get("bias")
    if bias is not None and weight.ndim > 1 and bias.shape == weight.shape:
        return "layer_norm", "LayerNorm"  # over several axes
    if weight.ndim == 2:
        return ("matrix", "Embedding or Linear without bias") if bias is None else ("linear", "Linear")
    if weight.ndim == 1:
        return _kind_of_vector(leaves, weight)
    return _kind_of_conv(weight, bias) if weight.ndim == 3 else ("other", _looks_like(leaves, weight))


def _kind_of_vector(leaves: Mapping[str, np.ndarray], weight: np.ndarray) -> tuple[str, str]:
    if "bias" in leaves:
        return "norm", "LayerNorm, GroupNorm, InstanceNorm1d or BatchNorm1d without statistics"
    if weight.shape == (1,):
        return "one_number", "PReLU"
    return "vector", "PReLU, RMSNorm or LayerNorm without bias"


def _kind_of_conv(weight: np.ndarray, bias: np.ndarray | None) -> tuple[str, str]:
    """Conv1d has (outputs, inputs / groups, kernel) and as many biases as outputs; transposed, the first two swap."""
    first, second, _ = weight.shape
    if bias is not None and bias.shape != (first,):
        return "other", "ConvTranspose1d" if bias.ndim == 1 else "unknown"
    if bias is not None and (not second or first % second):
        return "conv", "Conv1d"
    return "either_conv", "Conv1d or ConvTranspose1d"


def _looks_like(leaves: Mapping[str, np.ndarray], weight: np.ndarray | None) -> str:
    """The PyTorch class that unsupported tensors probably belong to."""
    if "running_mean" in leaves:
        return "BatchNorm"
    if "in_proj_weight" in leaves:
        return "MultiheadAttention"
    if weight is not None and weight.ndim == 1:
        return "LayerNorm or PReLU"
    if weight is not None and weight.ndim in (3, 4, 5):
        return f"Conv{weight.ndim - 2}d"
    return "unknown"


def _family(w_hh: np.ndarray | None) -> str:
    """GRU unless the rows of a hidden-to-hidden matrix say otherwise."""
    if w_hh is None or w_hh.ndim != 2 or w_hh.shape[1] == 0 or w_hh.shape[0] % w_hh.shape[1]:
        return "GRU"
    return _FAMILY_OF_ROWS.get(w_hh.shape[0] // w_hh.shape[1], "GRU")


def refuse_parametrised(tensors: Mapping[str, np.ndarray], prefix: str, where: str) -> None:
    """Raise where the module has weights under a parametrisation that ``fold`` does not know, as an orthogonal one."""
    found = indexed(tensors).parametrised.get(prefix)
    if found:
        orthogonal = any(name.endswith(".base") for name in found)
        kind = "an orthogonal parametrisation" if orthogonal else "a parametrisation"
        raise UnsupportedModelError(
            f"{where}: {prefix!r} has weights under {kind}, and only weight_norm and spectral_norm are read: "
            f"{listed(found)}; call torch.nn.utils.parametrize.remove_parametrizations on the module and save it again"
        )


def _leaves(tensors: Mapping[str, np.ndarray], prefix: str) -> list[str]:
    return [name.rpartition(".")[2] for name in indexed(tensors).by_module.get(prefix, ())]


def full_name(prefix: str, leaf: str) -> str:
    """The name of a module's tensor."""
    return f"{prefix}.{leaf}" if prefix else leaf
