"""Where a Keras file has the tensors of each layer: in groups by path, or in one flat list for each layer of the model.

A layer asks for its weights by what Keras calls them, ``kernel`` or ``bias``, and never learns which it was.

* Groups (``.keras``): a layer's arrays are ``<group>/vars/0``, ``1`` ... in the order in which it made them, what is
  not trained behind what is.
* Lists (``.h5``): one list for each layer of the model, whatever is nested in it: first everything that is trained, in
  the order of the layers, then everything that is not, in the same order: moving statistics, and all weights of layers
  with ``trainable`` false. Keras 3.15 goes by each layer's own flag, Keras 2 by the flags of what is around it too.
  Not every flag is in a config, so what the tensors are called comes first, where that tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ...errors import CheckpointError
from ..tensors import UsedTensors, listed, set_aside, take, take_matrix
from .names import by_names, contradiction
from .slots import NOT_TRAINED, slots
from .tree import Part

__all__ = ["Groups", "Lists", "Source", "Weights"]


class Weights:
    """The weights of one layer, by what Keras calls them."""

    def __init__(self, tensors: Mapping[str, np.ndarray], names: Mapping[str, str], where: str) -> None:
        self._tensors, self.names, self._where = tensors, names, where

    def __contains__(self, slot: str) -> bool:
        return self.names.get(slot) in self._tensors

    def shape(self, slot: str) -> tuple[int, ...]:
        """The shape that it has in the file; of a missing one, and of one that is no weight here, ()."""
        name = self.names.get(slot, "")
        return self._tensors[name].shape if name in self._tensors else ()

    def take(self, slot: str, *shape: int | None) -> np.ndarray:
        """The array, where None is any size."""
        return take(self._tensors, self.names[slot], shape, self._where)

    def matrix(self, slot: str, *shape: int | None) -> Any:
        """The same of a matrix, which may be a ``Matrix``."""
        return take_matrix(self._tensors, self.names[slot], shape, self._where)

    def optional(self, slot: str, *shape: int | None) -> np.ndarray | None:
        """The array, or None where the layer has no such weight."""
        return self.take(slot, *shape) if slot in self.names else None

    def set_aside(self, slots: Sequence[str]) -> None:
        """Count weights as used that only training needs."""
        for slot in slots:
            if slot in self.names:
                set_aside(self._tensors, self.names[slot])


class Source(Protocol):
    """Knows the tensors of the layers of one file."""

    def weights(self, part: Part) -> Weights:
        """Those of a layer without layers in it."""


class Groups:
    """Tensors in groups that are named by the path of the layer."""

    def __init__(self, tensors: UsedTensors) -> None:
        self._tensors = tensors

    def weights(self, part: Part) -> Weights:
        names = self._names(part)
        if part.twin is not None and not any(name in self._tensors for name in names.values()):
            names = self._names(part.twin)  # Keras writes a shared layer where it comes first
        return Weights(self._tensors, names, part.entry.where)

    def _names(self, part: Part) -> dict[str, str]:
        start = f"{part.group}/cell/vars" if part.entry.class_name == "GRU" else f"{part.group}/vars"
        return {slot: f"{start}/{index}" for index, slot in enumerate(slots(part.entry))}


class Lists:
    """Tensors in one list for each layer of the model.

    Parameters
    ----------
    tensors : UsedTensors
    lists : mapping of str to sequence of str
        For each layer of the model the names of its tensors.
    model : Part
        The whole model.

    Raises
    ------
    CheckpointError
        A list has more or fewer names than the layer has weights, or one name is in two.
    """

    def __init__(self, tensors: UsedTensors, lists: Mapping[str, Sequence[str]], model: Part) -> None:
        self._tensors = tensors
        self._lists = lists
        self._names: dict[int, dict[str, str]] = {}
        self._roots = {}
        seen: set[str] = set()
        for name in (name for names in lists.values() for name in names):
            if name in seen:
                raise CheckpointError(f"{model.entry.where}: tensor {name!r} belongs to more than one layer")
            seen.add(name)
        by_place = list(lists.values()) if len(lists) == len(model.inner) else []
        for place, part in enumerate(model.inner):
            # Before Keras 2.2.3 a Sequential within another did not say its name
            unnamed = by_place[place] if by_place and part.entry.class_name == "Sequential" else ()
            names = lists.get(part.entry.name, unnamed)
            self._roots.update({id(leaf): (part, names) for leaf in part.leaves()})

    def weights(self, part: Part) -> Weights:
        if id(part) not in self._names:
            root, names = self._roots[id(part)]
            self._assign(root, names)
        return Weights(self._tensors, self._names[id(part)], part.entry.where)

    def _assign(self, root: Part, names: Sequence[str]) -> None:
        wanted = _of_keras_3(root) if root.entry.era >= 3 else [*_trained(root), *_not_trained(root)]
        if len(wanted) != len(names):
            raise CheckpointError(
                f"{root.entry.where}: the file has {len(names)} tensors of it, wanted {len(wanted)}: "
                f"{listed([slot for _, slot in wanted], 8)}; got {listed(names, 8)}"
            )
        assigned = by_names(root, wanted, names) or wanted
        odd = contradiction(root, assigned, names)
        if odd is not None:
            raise CheckpointError(
                f"{root.entry.where}: its tensors are not in the order of its layers, and their names, such as "
                f"{listed([odd])}, do not say whose each of them is; load the model in Keras, set trainable = True on "
                "every layer and save it again"
            )
        for leaf in root.leaves():
            self._names[id(leaf)] = {}
        for (leaf, slot), name in zip(assigned, names, strict=True):
            self._names[id(leaf)][slot] = name


def _trainable(part: Part) -> bool:
    return part.entry.get("trainable", True) is not False


def _of_keras_3(root: Part) -> list[tuple[Part, str]]:
    """The weights of a layer and all in it, in the order in which Keras 3 writes them."""
    every = [(leaf, slot) for leaf in root.leaves() for slot in slots(leaf.entry)]
    if not _trainable(root):
        return every
    kept = [_trainable(leaf) and slot not in NOT_TRAINED for leaf, slot in every]
    return [each for each, first in zip(every, kept, strict=True) if first] + [
        each for each, first in zip(every, kept, strict=True) if not first
    ]


def _trained(part: Part) -> Iterator[tuple[Part, str]]:
    if _trainable(part):
        if not part.inner:
            yield from ((part, slot) for slot in slots(part.entry) if slot not in NOT_TRAINED)
        for inner in part.inner:
            yield from _trained(inner)


def _not_trained(part: Part) -> Iterator[tuple[Part, str]]:
    trainable = _trainable(part)
    if not part.inner:
        yield from ((part, slot) for slot in slots(part.entry) if not trainable or slot in NOT_TRAINED)
    for inner in part.inner:
        if not trainable:
            yield from _trained(inner)
        yield from _not_trained(inner)
