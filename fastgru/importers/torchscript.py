"""TorchScript files: the model that their code computes where it can be followed, and else their weights.

Owns the choice between the two. The code is followed by ``torchscript_run``; weights alone are for ``pytorch_weights``,
with what the file says of the modules' classes and options.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..checkpoint.contents import Checkpoint
from ..errors import CheckpointError, UnsupportedModelError
from ..spec import GRUSpec, ModelSpec
from . import chain, pytorch_weights
from .aten import first_that_fits, left_over
from .tensors import UsedTensors
from .torchscript_run import MAX_INPUTS, Code, InputKindError, follow

__all__ = ["as_weights", "spec_from"]

MAX_DEPTH = 60  # of the tree of modules that is handed on
# As the code counts them. Half is not among the floats: to take it is to round.
_TYPES = {**dict.fromkeys(range(5), "integer"), **dict.fromkeys((6, 7), "float")}
_GRUS = ("torch.nn.modules.rnn.GRU", "torch.nn.modules.rnn.GRUCell")


def spec_from(
    checkpoint: Checkpoint, layers: Sequence[chain.LayerItem] | None, strict: bool
) -> tuple[GRUSpec | ModelSpec, list[str]]:
    """What is made of the checkpoint, and the tensors of the file that it does not use.

    Without ``layers`` the code is followed from the root's ``forward``. Where that does not succeed nothing else is
    made of the file: its modules may run in another order, and a trace does not say their options.
    """
    config = checkpoint.config or {}
    weights = as_weights(checkpoint)
    root = config["modules"][""]
    if layers is not None or (root["class"] in _GRUS and root["tensors"]):
        return pytorch_weights.spec_from(weights, layers, strict)
    tensors = UsedTensors(checkpoint.tensors)
    try:
        spec = _followed(config, tensors, checkpoint.path)
    except UnsupportedModelError as problem:
        if not any("weight_hh" in name for name in checkpoint):
            raise  # there is no GRU whose weights could be taken by themselves
        try:
            pytorch_weights.spec_from(weights, None, strict)
        except (CheckpointError, UnsupportedModelError) as error:
            raise type(error)(f"{error}\nThe code in the file cannot be followed: {problem}") from problem
        gru = next(name for name in checkpoint if "weight_hh" in name).rpartition(".")[0]
        alone = f"fastgru.load(path, layers={gru!r})" if gru else "fastgru.from_torch(dict(fastgru.read(path)))"
        raise UnsupportedModelError(
            f"{problem}\nThe code in the file cannot be followed further. {alone} is its GRU alone, without that code; "
            'layers=[...] names several modules in their order, for a trace as fastgru.Named("conv", padding=1)'
        ) from problem
    return spec, left_over(tensors)


def as_weights(checkpoint: Checkpoint) -> Checkpoint:
    """The same tensors, with the modules' classes and options as a tree, as of a pickled module, and without code."""
    return checkpoint.replace(config=_tree((checkpoint.config or {})["modules"]))


def _followed(config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], where: str) -> GRUSpec | ModelSpec:
    """The model that the code computes; inputs are sequences of numbers until an operation shows otherwise."""
    code = Code(config, where)
    kinds: dict[str, str | int] = {}
    for _ in range(MAX_INPUTS + 1):
        try:
            return first_that_fits(lambda builder: follow(code, kinds, builder), tensors, where, _TYPES)
        except InputKindError as wrong:
            if wrong.name in kinds:
                break
            kinds[wrong.name] = wrong.kind
    raise UnsupportedModelError(f"{where}: one of its inputs is used as two different things")


def _tree(modules: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The modules as a tree of classes and options; one that is shared stands where it is first met."""
    made: dict[str, dict[str, Any]] = {}
    depth = {"": 0}
    for path, module in modules.items():
        made[path] = {"class_name": module["class"], "options": module["options"], "hooks": [], "children": {}}
        for name, child in module["children"].items():
            own = f"{path}.{name}" if path else name
            depth.setdefault(child, depth[path] + 1 if own == child else MAX_DEPTH + 1)
    for path, module in modules.items():
        for name, child in module["children"].items():
            own = f"{path}.{name}" if path else name
            if own == child and depth[child] <= MAX_DEPTH:
                made[path]["children"][name] = made[child]
    return made[""]
