"""Keras: what a file of any version of Keras holds, as a specification.

A config is data: its class names mean what the table in ``layers`` says. Nothing is ever imported, called or
resolved by a name from a file, and no file is opened here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...checkpoint.contents import Checkpoint
from ...errors import UnsupportedModelError
from ...gru_weights import GRUSpec
from ...layers import ModelSpec
from ..tensors import UsedTensors
from ..weights.chain import LayerItem
from . import chain, excerpt
from .build import Builder
from .config import LATEST
from .dtypes import loses_masks
from .tensors import Groups, Lists, Source
from .tree import DEPENDENCIES, Part, lists_layers, read_tree

__all__ = ["builder_of", "is_beside", "lists_of", "model_spec", "spec_from", "version_of"]

_BESIDE = ("optimizer/", "metrics/", "loss_tracker/", "optimizer_weights/")


def spec_from(
    checkpoint: Checkpoint, layers: Sequence[LayerItem] | None, strict: bool
) -> tuple[GRUSpec | ModelSpec, list[str]]:
    """What is made of the checkpoint, and the tensors of the file that it does not use.

    ``layers`` is for files without a config, and for those whose config is that of a class of the user's own, which
    does not say what its layers are; of any other file it takes a part, as where a layer beside is not supported.
    """
    tensors = UsedTensors({name: tensor for name, tensor in checkpoint.items() if not is_beside(name)})
    if checkpoint.config is None or (layers is not None and not lists_layers(checkpoint.config)):
        return chain.spec_from(checkpoint, tensors, layers, strict), tensors.unused()
    where = checkpoint.path
    tree, builder = builder_of(checkpoint.config, tensors, where, version_of(checkpoint), lists_of(checkpoint))
    if layers is not None:
        return excerpt.spec_from(tree, builder, layers, where), tensors.unused()
    try:
        return builder.model(tree), tensors.unused()
    except UnsupportedModelError as error:
        advice = excerpt.advice(tree, live=checkpoint.metadata.get("live") is True)
        raise UnsupportedModelError(f"{error}{advice}") from error


def model_spec(
    config: Mapping[str, Any],
    tensors: UsedTensors,
    where: str,
    version: str,
    lists: Mapping[str, Sequence[str]] | None = None,
) -> ModelSpec:
    """The model of a config, with its weights.

    Parameters
    ----------
    config : mapping
        class_name and config of the whole model.
    tensors : UsedTensors
        By their path in a ``.keras`` file, such as ``"layers/gru/cell/vars/0"``, or as ``lists`` calls them.
    where : str
        The file, for messages.
    version : str
        The Keras version that wrote it; ``""`` for Keras 1.
    lists : mapping of str to sequence of str, optional
        Of an HDF5 file: for each layer of the model the names of its tensors in their order.

    Raises
    ------
    UnsupportedModelError
        A layer or an option is not supported; the message names it and where it is.
    CheckpointError
        The config is damaged, or does not fit the tensors.
    """
    tree, builder = builder_of(config, tensors, where, version, lists)
    return builder.model(tree)


def builder_of(
    config: Mapping[str, Any],
    tensors: UsedTensors,
    where: str,
    version: str,
    lists: Mapping[str, Sequence[str]] | None,
) -> tuple[Part, Builder]:
    """The layers of a config, and what makes them; the arguments are those of ``model_spec``."""
    twice = lists is None and any(name.startswith(f"{DEPENDENCIES}/") for name in tensors)
    tree = read_tree(config, where, version, sharing=lists is None, twice=twice)
    source: Source = Groups(tensors) if lists is None else Lists(tensors, lists, tree)
    return tree, Builder(source, where, loses_masks=loses_masks(tree))


def version_of(checkpoint: Checkpoint) -> str:
    """The version of Keras that wrote the file: Keras 1 did not say, and only Keras 3 writes ``.keras``."""
    version = str(checkpoint.metadata.get("keras_version") or "")
    return version if version or checkpoint.format == "keras-h5" else LATEST


def lists_of(checkpoint: Checkpoint) -> Mapping[str, Sequence[str]] | None:
    """For each layer of the model the names of its tensors, where the file lists them."""
    return checkpoint.metadata.get("weight_names", {}) if checkpoint.format == "keras-h5" else None


def is_beside(name: str) -> bool:
    """Whether a tensor is not a weight: the state of an optimizer, a metric or a random generator."""
    return name.startswith(_BESIDE) or "/seed_generator/" in name
