"""What is in a Keras file, layer by layer, also where the whole cannot be loaded.

Each layer is tried by itself, so that one which is not supported hides no other.
"""

from __future__ import annotations

from typing import NamedTuple

from ...checkpoint.contents import Checkpoint
from ...errors import FastGRUError
from ...layers import Layer
from ..keras import chain as keras_chain
from ..keras.build import Builder
from ..keras.model import builder_of, is_beside, lists_of, version_of
from ..keras.modules import modules_of
from ..keras.operations import is_operation
from ..keras.tree import Part
from ..tensors import UsedTensors

__all__ = ["Found", "layers_found", "suggested"]


class Found(NamedTuple):
    """A layer: its name with those of the models it is in, its class, and why it cannot be loaded."""

    name: str
    kind: str
    layer: Layer | None
    tensors: tuple[str, ...]
    problem: str | None


def layers_found(checkpoint: Checkpoint) -> list[Found]:
    """The layers that the configuration lists, or those that weights without one belong to, in the file's order."""
    tensors = _weights(checkpoint)
    if checkpoint.config is None:
        return [
            Found(
                module.name,
                module.looks_like,
                None,
                module.tensors,
                None if module.kind else f"{module.looks_like} is not supported",
            )
            for module in modules_of(checkpoint, tensors).values()
        ]
    try:
        tree, builder = builder_of(
            checkpoint.config, tensors, checkpoint.path, version_of(checkpoint), lists_of(checkpoint)
        )
    except FastGRUError:  # the file's problem says why
        return []
    return [_found(part, builder, tensors) for part in tree.units() if part.entry.class_name != "InputLayer"]


def suggested(checkpoint: Checkpoint) -> str | None:
    """The ``layers=[...]`` to paste for a file of weights, or None."""
    if checkpoint.config is not None:
        return None
    return keras_chain.suggest(checkpoint, _weights(checkpoint)) or None


def _weights(checkpoint: Checkpoint) -> UsedTensors:
    return UsedTensors({name: tensor for name, tensor in checkpoint.items() if not is_beside(name)})


def _found(part: Part, builder: Builder, tensors: UsedTensors) -> Found:
    layer, problem = None, None
    names: tuple[str, ...] = ()
    try:
        every = (name for leaf in part.leaves() for name in builder.weights(leaf).names.values())
        names = tuple(name for name in every if name in tensors)
        if not is_operation(part.entry):
            layer = builder.made(part).layer
    except FastGRUError as error:
        problem = str(error)
    return Found(part.entry.path, part.entry.class_name, layer, names, problem)
